"""The P2P protocol spoken by hand, over a program's stdin and stdout."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tests.support.processes import Failed, stop_group

_SECONDS = 60.0
"""For what takes milliseconds; longer than annexd-shell waits for its daemon."""

_CHUNK = 1 << 16


def shell_command(repo: Path, uuid: str, client: str = "client", program: str = "git-annex-shell") -> str:
    """The command that a client gives to ssh."""
    return f"{program} 'p2pstdio' '{repo}' '{client}' --uuid {uuid}"


class Dialogue:
    """
    One session; every wait has a limit.

    ``trace`` is what went over the wire, in order: ``> `` what was sent,
    ``< `` what was received, long bodies shortened.
    """

    def __init__(
        self, argv: list[str], env: Mapping[str, str], command: str, seconds: float = _SECONDS
    ) -> None:
        self._seconds = seconds
        self._received = bytearray()
        self._eof = False
        self.trace: list[str] = []
        self.process = subprocess.Popen(
            [*argv, "-c", command],
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self._to = self.process.stdin.fileno()
        self._from = self.process.stdout.fileno()
        os.set_blocking(self._to, False)

    def send(self, data: bytes) -> None:
        """Write all of it, taking in what comes meanwhile; a closed pipe is no error."""
        self._note(">", data)
        view = memoryview(data)
        end = time.monotonic() + self._seconds
        while view:
            readers, writers, _ = select.select(
                [self._from] * (not self._eof), [self._to], [], self._left(end)
            )
            if readers:
                self._take()
            if writers:
                try:
                    view = view[os.write(self._to, view[: 1 << 20]) :]
                except BrokenPipeError:
                    return

    def has_come(self, seconds: float) -> bool:
        """Whether there is something to read, or will be in time."""
        return bool(self._received) or bool(select.select([self._from], [], [], seconds)[0])

    def line(self) -> bytes:
        """The next line, without its LF; fails at the end of the stream."""
        while b"\n" not in self._received:
            self._more("a line")
        line, _, rest = bytes(self._received).partition(b"\n")
        self._received[:] = rest
        self._note("<", line + b"\n")
        return line

    def lines(self, count: int) -> list[bytes]:
        return [self.line() for _ in range(count)]

    def body(self, length: int) -> bytes:
        while len(self._received) < length:
            self._more(f"{length} bytes")
        body = bytes(self._received[:length])
        del self._received[:length]
        self._note("<", body)
        return body

    def ask(self, request: bytes) -> bytes:
        """Send one line, return one line."""
        self.send(request + b"\n")
        return self.line()

    def hello(self, version: int | None = None) -> bytes:
        """Take the greeting; agree on a version, if any.  The greeting."""
        greeting = self.line()
        if version is not None and self.ask(b"VERSION %d" % version) != b"VERSION %d" % version:
            raise Failed(f"the server does not speak version {version}: {self.trace}")
        return greeting

    def put(self, key: bytes, content: bytes, file: bytes = b"", *, verdict: bytes = b"VALID\n") -> bytes:
        """A whole upload from whatever offset the server names; its last reply."""
        reply = self.ask(b"PUT " + file + b" " + key)
        if not reply.startswith(b"PUT-FROM "):
            return reply
        rest = content[int(reply.split()[1]) :]
        self.send(b"DATA %d\n" % len(rest) + rest + verdict)
        return self.line()

    def get(self, key: bytes, offset: int = 0, *, verdict: bytes = b"SUCCESS\n") -> tuple[bytes, bytes]:
        """A whole download; the content and the server's VALID or INVALID."""
        reply = self.ask(b"GET %d  " % offset + key)
        if not reply.startswith(b"DATA "):
            raise Failed(f"GET was answered with {reply!r}")
        content = self.body(int(reply.split()[1]))
        valid = self.line()
        self.send(verdict)
        return content, valid

    def finish(self) -> tuple[bytes, bytes, int]:
        """Close the input; what else came on stdout, all of stderr, and the exit code."""
        assert self.process.stdin is not None and self.process.stderr is not None
        self.process.stdin.close()
        try:
            while not self._eof:
                self._more("the end")
        except Failed:
            stop_group(self.process)
            raise
        try:
            code = self.process.wait(self._seconds)
        except subprocess.TimeoutExpired:
            stop_group(self.process)
            raise Failed(f"the session closed its output but did not end: {self.trace}") from None
        said = self.process.stderr.read()
        rest = bytes(self._received)
        self._note("<", rest)
        self.close()
        return rest, said, code

    def close(self) -> None:
        """Kill what still runs; for the end of a test."""
        stop_group(self.process)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None and not stream.closed:
                stream.close()

    def _more(self, wanted: str) -> None:
        if self._eof:
            assert self.process.stderr is not None
            said = self.process.stderr.read(4000) if self.process.poll() is not None else b""
            raise Failed(
                f"the session ended instead of sending {wanted}: "
                f"{self.trace} {bytes(self._received)!r} {said!r}"
            )
        if not select.select([self._from], [], [], self._seconds)[0]:
            raise Failed(
                f"waited {self._seconds:g} seconds for {wanted}: {self.trace} {bytes(self._received)!r}"
            )
        self._take()

    def _take(self) -> None:
        data = os.read(self._from, _CHUNK)
        self._received += data
        self._eof = not data

    def _left(self, end: float) -> float:
        left = end - time.monotonic()
        if left <= 0:
            raise Failed(f"the server took nothing for {self._seconds:g} seconds: {self.trace}")
        return left

    def _note(self, direction: str, data: bytes) -> None:
        if data:
            shown = data if len(data) <= 200 else data[:80] + b"...%d bytes..." % len(data) + data[-80:]
            self.trace.append(f"{direction} {shown!r}")
