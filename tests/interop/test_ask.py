"""The asking half against git-annex's own server: it, too, is a store."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from annexd.errors import Refused, Unavailable
from annexd.sessions.ask import Peer
from annexd.sessions.deadlines import Deadlines
from annexd.sessions.handshake import introduce
from annexd.sessions.wire import Wire
from annexd.store import Outcome, Store
from annexd.transports.pipes import PipeTransport
from tests.support.annex import Machine
from tests.support.fresh_peers import FreshPeers
from tests.support.programs import NEWEST, git_annex_bin
from tests.support.store_contract import StoreContract

OLD = "10.20230126"


class GitAnnexShell(StoreContract, TestCase):
    """Each request in a session of its own with the newest git-annex-shell."""

    version = NEWEST
    speaks = 4
    timeout = 300
    one_upload_at_a_time = False  # the second one is told only when it sends its data
    keeps_partials = False  # what was announced here comes whole: then it is wrong, not unfinished

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        scratch = tempfile.TemporaryDirectory(prefix="annexd-ask-", ignore_cleanup_errors=True)
        self.addCleanup(scratch.cleanup)
        self.machine = Machine(Path(scratch.name) / "host", self.version)
        self.repo = self.machine.new("served", bare=True)
        self.uuid = self.machine.uuid(self.repo)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.wires: list[Wire] = []

    async def make_store(self) -> Store:
        return FreshPeers(self.dial)  # type: ignore[return-value]

    async def dial(self) -> Peer:
        await self.ended_ones()
        shell = str(git_annex_bin(self.version) / "git-annex-shell")
        process = subprocess.Popen(
            [shell, "p2pstdio", str(self.repo), "client", "--uuid", self.uuid.decode()],
            env=self.machine.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdin is not None and process.stdout is not None
        self.processes.append(process)
        wire = Wire(self.reactor, Deadlines(handshake=60, stall=60))
        self.wires.append(wire)
        fds = os.dup(process.stdout.fileno()), os.dup(process.stdin.fileno())
        process.stdout.close()
        process.stdin.close()
        PipeTransport(self.reactor, *fds).connect(wire)
        uuid = await introduce(wire, self.uuid)
        self.assertEqual(wire.version, self.speaks)
        return Peer(wire, uuid)

    async def ended_ones(self) -> None:
        """Servers that were left still hold their locks for a moment."""
        for process, wire in zip(self.processes, self.wires, strict=True):
            while wire.lost and process.poll() is None:
                await deferLater(self.reactor, 0.01)

    async def tearDown(self) -> None:
        for wire in self.wires:
            wire.hang_up()
        for process in self.processes:
            while process.poll() is None:
                await deferLater(self.reactor, 0.01)

    async def assert_not_done(self, awaitable: Awaitable[Outcome]) -> None:
        """git-annex-shell dies of being asked to remove what is locked."""
        try:
            self.assertFalse((await awaitable).ok)
        except (Refused, Unavailable):
            pass


class OldGitAnnexShell(GitAnnexShell):
    """Version 1 of the protocol."""

    version = OLD
    speaks = 1

    async def test_time_does_not_go_back(self) -> None:
        store = await self.make_store()
        with self.assertRaises(Refused):
            await store.timestamp()

    test_remove_in_time = test_remove_too_late = test_time_does_not_go_back
    test_absent_content_is_gone_at_any_time = test_time_does_not_go_back
