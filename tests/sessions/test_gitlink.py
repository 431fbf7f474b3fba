"""CONNECT with the real git, whose processes need the real reactor."""

from __future__ import annotations

import subprocess
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from annexd.errors import Denied, Refused
from annexd.sessions.activity import Activity
from annexd.sessions.deadlines import Deadlines
from annexd.sessions.gitlink import GitAccess
from annexd.sessions.serve import Server
from annexd.sessions.wire import Wire
from tests.support.duplex import Script, duplex
from tests.support.memory_store import MemoryStore


class ConnectTests(TestCase):
    timeout = 20

    def start(self, write_refusal: Refused | None = None) -> None:
        git_dir = self.mktemp()
        subprocess.run(["git", "init", "-q", "--bare", git_dir], check=True)
        self.peer = Script()
        wire = Wire(Clock(), Deadlines())
        duplex(self.peer, wire)
        from twisted.internet import reactor

        self.reactor: Any = reactor
        git = GitAccess(self.reactor, git_dir.encode(), write_refusal)
        server = Server(wire, MemoryStore(), Activity(Clock(), 1, "", b""), git=git)
        self.done = Deferred.fromCoroutine(server.run())

    async def heard(self, text: bytes) -> bytes:
        while text not in self.peer.heard:
            await deferLater(self.reactor, 0.01)
        return self.peer.hear()

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

    async def test_a_vanished_peer_stops_git(self) -> None:
        self.start()
        self.peer.say(b"CONNECT git-upload-pack\n")
        await self.heard(b"DATA ")
        self.peer.transport.loseConnection()
        await self.done

    async def test_nonsense_stops_git(self) -> None:
        self.start()
        self.peer.say(b"CONNECT git-upload-pack\n")
        await self.heard(b"DATA ")
        heard = self.peer.say(b"VERSION 1\n")
        self.assertIn(b"ERROR expected DATA or CONNECTDONE\n", heard)
        await self.heard(b"CONNECTDONE ")
        await self.done

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
        await self.done
