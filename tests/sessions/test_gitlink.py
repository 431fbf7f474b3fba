"""CONNECT with the real git, whose processes need the real reactor."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.task import Clock, deferLater
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from annexd.errors import Denied, FramingError, PeerLost, Refused, Stalled
from annexd.sessions.activity import Activity
from annexd.sessions.deadlines import Deadlines
from annexd.sessions.gitlink import GitAccess
from annexd.sessions.serve import Server
from annexd.sessions.wire import Wire
from tests.support.duplex import Script, duplex
from tests.support.memory_store import MemoryStore


class ConnectTests(TestCase):
    timeout = 120

    def start(self, write_refusal: Refused | None = None, branches: int = 0) -> None:
        git_dir = self.mktemp()
        subprocess.run(["git", "init", "-q", "--bare", git_dir], check=True)
        if branches:
            make_branches(git_dir, branches)
        self.peer = Script()
        self.clock = Clock()
        self.wire = Wire(self.clock, Deadlines(stall=10))
        duplex(self.peer, self.wire)
        from twisted.internet import reactor

        self.reactor: Any = reactor
        git = GitAccess(self.reactor, git_dir.encode(), write_refusal)
        server = Server(self.wire, MemoryStore(), Activity(Clock(), 1, "", b""), git=git)
        self.done = Deferred.fromCoroutine(server.run())

    async def until(self, there: Callable[[], bool]) -> None:
        while not there():
            await deferLater(self.reactor, 0.01)

    async def heard(self, text: bytes) -> bytes:
        await self.until(lambda: text in self.peer.heard)
        return self.peer.hear()

    async def ask_and_listen_no_more(self) -> None:
        """git has more to say than there is room for."""
        self.start(branches=20_000)
        self.peer.transport.pauseProducing()
        self.peer.say(b"CONNECT git-upload-pack\n")
        await self.until(lambda: bool(self.peer.transport.other.unsent))

    async def test_a_dialogue_with_git(self) -> None:
        self.start()
        self.peer.say(b"CONNECT git-receive-pack\n")
        heard = await self.heard(b"report-status")
        self.assertTrue(heard.startswith(b"DATA "))
        self.peer.say(b"DATA 4\n0000")
        await self.heard(b"CONNECTDONE 0\n")
        await self.done

    async def test_the_peer_stops_git(self) -> None:
        self.start()
        self.peer.say(b"CONNECT git-receive-pack\n")
        await self.heard(b"report-status")
        self.peer.say(b"CONNECTDONE 0\n")
        await self.heard(b"CONNECTDONE ")
        await self.done

    async def test_both_talk_at_once(self) -> None:
        await self.ask_and_listen_no_more()
        for piece in b"DATA 4\n00", b"00":
            self.peer.say(piece)
        self.peer.transport.resumeProducing()
        await self.heard(b"CONNECTDONE 0\n")
        await self.done

    async def test_a_vanished_peer_stops_git(self) -> None:
        self.start()
        self.peer.say(b"CONNECT git-upload-pack\n")
        await self.heard(b"DATA ")
        self.peer.transport.loseConnection()
        await self.assertFailure(self.done, PeerLost)

    async def test_so_does_one_that_had_not_listened(self) -> None:
        await self.ask_and_listen_no_more()
        self.peer.transport.abortConnection()
        await self.assertFailure(self.done, PeerLost)

    async def test_a_peer_that_does_not_listen_is_given_up(self) -> None:
        await self.ask_and_listen_no_more()
        self.clock.advance(11)
        await self.assertFailure(self.done, Stalled)

    async def test_nonsense_stops_git(self) -> None:
        self.start()
        self.peer.say(b"CONNECT git-upload-pack\n")
        await self.heard(b"DATA ")
        heard = self.peer.say(b"VERSION 1\n")
        self.assertIn(b"ERROR expected DATA or CONNECTDONE\n", heard)
        await self.heard(b"CONNECTDONE ")
        await self.done

    async def test_nonsense_from_a_peer_that_does_not_listen(self) -> None:
        await self.ask_and_listen_no_more()
        self.peer.say(b"VERSION 1\n")
        await self.done

    async def test_a_line_without_end_stops_git(self) -> None:
        self.start()
        self.peer.say(b"CONNECT git-upload-pack\n")
        await self.heard(b"DATA ")
        self.peer.say(b"x" * 40_000)
        await self.assertFailure(self.done, FramingError)

    async def test_pushing_may_be_refused(self) -> None:
        self.start(Denied("this repository is read-only (f:1)", "this repository is read-only (/etc/f:1)"))
        with capturedLogs() as events:
            heard = self.peer.say(b"CONNECT git-receive-pack\n")
        self.assertIn(b"ERR this repository is read-only (f:1)", heard)
        self.assertTrue(heard.endswith(b"CONNECTDONE 1\n"))
        self.assertEqual(
            [("refused", "this repository is read-only (/etc/f:1)")],
            [(event["result"], event["reason"]) for event in events],
        )
        await self.done

    async def test_fetching_is_not_pushing(self) -> None:
        self.start(Refused("no"))
        self.peer.say(b"CONNECT git-upload-pack\n")
        await self.heard(b"DATA ")
        self.peer.transport.loseConnection()
        await self.assertFailure(self.done, PeerLost)


class Stdin:
    """git's standard input, which takes nothing."""

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None


class BusyGit:
    """A spawner whose git is in a hook, and neither reads nor writes nor ends before it is told to."""

    def __init__(self) -> None:
        self.pipes: dict[int, Any] = {0: Stdin()}
        self.told: list[str] = []

    def spawnProcess(self, protocol: Any, *_: object, **__: object) -> None:
        self.protocol = protocol
        protocol.makeConnection(self)

    def writeToChild(self, _: int, data: bytes) -> None:
        self.protocol.pauseProducing()

    def closeStdin(self) -> None:
        self.told.append("no more input")

    def loseConnection(self) -> None:
        self.told.append("nobody listens")

    def signalProcess(self, name: str) -> None:
        self.told.append(name)


class BusyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.peer, self.git = Script(), BusyGit()
        self.wire = Wire(Clock(), Deadlines())
        duplex(self.peer, self.wire)
        access = GitAccess(self.git, b"/srv/x")  # type: ignore[arg-type]
        activity = Activity(Clock(), 1, "", b"")
        self.done = Deferred.fromCoroutine(Server(self.wire, MemoryStore(), activity, git=access).run())

    def test_a_peer_that_vanishes_while_git_takes_nothing(self) -> None:
        self.peer.say(b"CONNECT git-receive-pack\nDATA 4\n0000")
        self.peer.transport.abortConnection()
        self.failureResultOf(self.done, PeerLost)
        self.assertIn("TERM", self.git.told)

    def test_a_peer_that_vanishes_after_its_last_word(self) -> None:
        self.peer.say(b"CONNECT git-receive-pack\nCONNECTDONE 0\n")
        self.assertEqual(["no more input"], self.git.told)
        self.peer.transport.abortConnection()
        self.failureResultOf(self.done, PeerLost)
        self.assertIn("TERM", self.git.told)
        self.git.protocol.processEnded(Failure(ProcessDone(0)))  # type: ignore[no-untyped-call]

    def test_stopping_the_session_stops_git(self) -> None:
        self.peer.say(b"CONNECT git-receive-pack\nCONNECTDONE 0\n")
        self.wire.abort(PeerLost("annexd stops"))
        self.assertEqual("annexd stops", str(self.failureResultOf(self.done, PeerLost).value))
        self.assertIn("TERM", self.git.told)


def make_branches(git_dir: str, count: int) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", git_dir, "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(command, input="", check=True, capture_output=True, text=True).stdout.strip()

    commit = git("commit-tree", "-m", "x", git("mktree"))
    with open(os.path.join(git_dir, "packed-refs"), "w") as file:
        file.writelines(f"{commit} refs/heads/b{number}\n" for number in range(count))
