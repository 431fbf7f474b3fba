"""Clients that keep a server busy, by hand and in threads, until told to stop."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.p2p import Dialogue
from tests.support.processes import Failed, until


def content_of(number: int, size: int) -> bytes:
    """Content that differs for each number."""
    piece = hashlib.sha256(b"%d" % number).digest()
    return (piece * (size // len(piece) + 1))[:size]


def key_of(content: bytes) -> bytes:
    return b"SHA256-s%d--%s" % (len(content), hashlib.sha256(content).hexdigest().encode())


@dataclass
class Load:
    """
    Some threads that PUT, GET, LOCK, CHECK and REMOVE keys of a pool.

    A session that is lost is opened anew when ``forgiving``; every other
    surprise is in ``problems``, with the trace of its session.
    """

    open_session: Callable[[], Dialogue]
    size: int = 100_000
    pool: int = 30
    threads: int = 3
    forgiving: bool = False
    problems: list[str] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _running: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        for number in range(self.threads):
            thread = threading.Thread(target=self._work, args=(random.Random(number),), daemon=True)
            thread.start()
            self._running.append(thread)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._running:
            thread.join(150)  # longer than a session waits
            if thread.is_alive():
                self.problems.append("a session hangs")

    def until_all_done(self) -> None:
        """Each of the things that it does, once at least."""
        every = {"put", "get", "lock", "remove", "check"}
        until(lambda: self.problems or every <= self.done.keys(), f"they have done {every}", 120)

    def keys(self) -> list[bytes]:
        return [key_of(content_of(number, self.size)) for number in range(self.pool)]

    def _work(self, chance: random.Random) -> None:
        while not self._stop.is_set():
            dialogue = self.open_session()
            try:
                dialogue.hello(4)
                for _ in range(20):
                    if self._stop.is_set():
                        break
                    self._step(dialogue, chance)
                dialogue.finish()
            except Failed as error:
                if not self.forgiving:
                    self.problems.append(str(error))
                    return
                self._stop.wait(0.05)
            finally:
                dialogue.close()

    def _step(self, dialogue: Dialogue, chance: random.Random) -> None:
        content = content_of(chance.randrange(self.pool), self.size)
        act = chance.choice((self._put, self._put, self._get, self._lock, self._remove, self._check))
        dialogue.trace.clear()
        act(dialogue, key_of(content), content)
        name = act.__name__.strip("_")
        self.done[name] = self.done.get(name, 0) + 1

    def _put(self, dialogue: Dialogue, key: bytes, content: bytes) -> None:
        reply = dialogue.put(key, content)
        self._expect(dialogue, reply, b"SUCCESS", b"ALREADY-HAVE", b"FAILURE", b"ERROR")

    def _get(self, dialogue: Dialogue, key: bytes, content: bytes) -> None:
        received, valid = dialogue.get(key)
        if valid == b"VALID" and received != content:
            self.problems.append(f"wrong content for {key!r}: {len(received)} bytes")

    def _lock(self, dialogue: Dialogue, key: bytes, content: bytes) -> None:
        reply = dialogue.ask(b"LOCKCONTENT " + key)
        self._expect(dialogue, reply, b"SUCCESS", b"FAILURE")
        if reply == b"SUCCESS":
            self._expect(
                dialogue, dialogue.ask(b"UNLOCKCONTENT\nCHECKPRESENT " + key), b"SUCCESS", b"FAILURE"
            )

    def _remove(self, dialogue: Dialogue, key: bytes, content: bytes) -> None:
        reply = dialogue.ask(b"REMOVE " + key)
        self._expect(dialogue, reply, b"SUCCESS", b"FAILURE", b"ERROR")

    def _check(self, dialogue: Dialogue, key: bytes, content: bytes) -> None:
        self._expect(dialogue, dialogue.ask(b"CHECKPRESENT " + key), b"SUCCESS", b"FAILURE")

    def _expect(self, dialogue: Dialogue, reply: bytes, *words: bytes) -> None:
        if not reply.startswith(words):
            self.problems.append(f"{reply!r} in {dialogue.trace}")
