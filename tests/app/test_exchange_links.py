"""git with a neighbour over a connection that is made here; the real git, which needs the real reactor."""

from __future__ import annotations

import os
import socket
import subprocess
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from annexd.app.exchange_git import ExchangeGit, Passage, git_in
from annexd.app.exchange_links import Linked, opened
from annexd.errors import PeerLost, Refused, Unavailable
from annexd.protocol.messages import Auth
from annexd.remotes.dialing import Explain, nothing_said
from annexd.sessions.activity import Activity
from annexd.sessions.deadlines import Deadlines, Patience
from annexd.sessions.gitlink import GitAccess
from annexd.sessions.handshake import greet
from annexd.sessions.serve import Server
from annexd.sessions.wire import Wire
from annexd.transports.pipes import PipeTransport
from tests.support.memory_store import MemoryStore

URL = f"tor-annex::other.{'a' * 56}.onion:7001"
UUID = b"11111111-2222-3333-4444-555555555555"


class Neighbour:
    """A `Dialer` to the repository ``git_dir``."""

    auth: Auth | None = None

    def __init__(self, reactor: Any, git_dir: str) -> None:
        self._reactor = reactor
        self._git_dir = os.fsencode(git_dir)
        self.refusal: Refused | None = None
        self.silent = False
        self.uuid = UUID
        self.wires: list[Wire] = []
        self.sessions: list[Deferred[None]] = []

    async def connect(self, wire: Wire) -> Explain:
        near, far = socket.socketpair()
        there = Wire(self._reactor, Deadlines())
        for sock, one in ((near, wire), (far, there)):
            fd = sock.detach()
            PipeTransport(self._reactor, fd, os.dup(fd)).connect(one)
        self.wires.append(there)
        if not self.silent:
            greet(there, self.uuid)
            git = GitAccess(self._reactor, self._git_dir, self.refusal)
            server = Server(there, MemoryStore(), Activity(self._reactor, 1, "", b""), git=git)
            self.sessions.append(Deferred.fromCoroutine(server.run()).addErrback(lambda _: None))
        return nothing_said


class Links(TestCase):
    connect_s = 60.0
    timeout = 120

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.here, self.there = (os.path.abspath(self.mktemp()) for _ in range(2))
        for directory in (self.here, self.there):
            self.run_git("init", "-q", "--bare", directory)
        self.neighbour = Neighbour(reactor, self.there)
        environ = {name: value for name, value in os.environb.items() if name in (b"PATH", b"HOME")}
        self.run_git("-C", self.here, "remote", "add", "other", URL)
        self.git = ExchangeGit(git_in(reactor, os.fsencode(self.here), environ, {}), self.passage)

    async def passage(self, name: str, push: bool) -> Passage | None:
        if name != "other":
            return None
        linked = Linked(UUID, self.neighbour, Patience(connect=self.connect_s))
        return Passage(await opened(self.reactor, linked, push), URL.encode())

    async def tearDown(self) -> None:
        for wire in self.neighbour.wires:
            wire.abort(PeerLost("the test is over"))
        for session in self.neighbour.sessions:
            await session

    def run_git(self, *argv: str) -> str:
        return subprocess.run(["git", *argv], check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, git_dir: str, size: int = 10) -> str:
        blob = subprocess.run(
            ["git", "-C", git_dir, "hash-object", "-w", "--stdin"],
            input=os.urandom(size),
            check=True,
            capture_output=True,
        )
        line = f"100644 blob {blob.stdout.decode().strip()}\tfile\n"
        tree = subprocess.run(
            ["git", "-C", git_dir, "mktree"], input=line.encode(), check=True, capture_output=True
        )
        who = ("-c", "user.name=x", "-c", "user.email=x")
        made = self.run_git(*who, "-C", git_dir, "commit-tree", "-m", "x", tree.stdout.decode().strip())
        self.run_git("-C", git_dir, "update-ref", "refs/heads/git-annex", made)
        return made

    def tip(self, git_dir: str, ref: str) -> str:
        return self.run_git("-C", git_dir, "rev-parse", ref)

    async def fetch(self) -> None:
        await self.git.fetch("other", b"+refs/heads/git-annex:refs/remotes/o/git-annex")

    async def push(self) -> None:
        await self.git.push("other", b"refs/heads/git-annex:refs/heads/synced/git-annex")

    async def test_fetch(self) -> None:
        """More than any buffer holds; and again when there is nothing to be had."""
        made = self.commit(self.there, 3_000_000)
        await self.fetch()
        self.assertEqual(self.tip(self.here, "refs/remotes/o/git-annex"), made)
        await self.fetch()

    async def test_push(self) -> None:
        made = self.commit(self.here, 3_000_000)
        await self.push()
        self.assertEqual(self.tip(self.there, "refs/heads/synced/git-annex"), made)
        await self.push()

    async def test_who_may_not_push(self) -> None:
        self.commit(self.here)
        self.neighbour.refusal = Refused("this repository is read-only")
        error = await self.assertFailure(Deferred.fromCoroutine(self.push()), Unavailable)
        self.assertIn("this repository is read-only", str(error))

    async def test_another_repository(self) -> None:
        self.neighbour.uuid = b"x" * 36
        error = await self.assertFailure(Deferred.fromCoroutine(self.fetch()), Unavailable)
        self.assertIn("the peer is repository", str(error))

    async def test_silence(self) -> None:
        self.neighbour.silent = True
        self.connect_s = 0.5
        error = await self.assertFailure(Deferred.fromCoroutine(self.fetch()), Unavailable)
        self.assertIn("0.5 seconds", str(error))

    async def test_cut(self) -> None:
        """Git ends, and what comes out says why."""
        self.commit(self.there, 3_000_000)
        fetching = Deferred.fromCoroutine(self.fetch())
        self.neighbour.wires[0].abort(PeerLost("cut"))
        error = await self.assertFailure(fetching, Unavailable)
        self.assertIn("closed", str(error))

    async def test_called_off(self) -> None:
        self.commit(self.there, 3_000_000)
        fetching = Deferred.fromCoroutine(self.fetch())
        fetching.addErrback(lambda _: None)
        fetching.cancel()
        await fetching

    async def test_by_git_itself(self) -> None:
        """Where there is no passage, git goes as it always does."""
        made = self.commit(self.there)
        self.run_git("-C", self.here, "remote", "add", "plain", self.there)
        await self.git.fetch("plain", b"+refs/heads/*:refs/remotes/plain/*")
        self.assertEqual(self.tip(self.here, "refs/remotes/plain/git-annex"), made)
        self.assertEqual(self.neighbour.wires, [])
