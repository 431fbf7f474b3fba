"""A repository that git-annex-shell serves behind an sshd, as a node of a gateway."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from annexd.errors import Refused, Unavailable
from annexd.protocol.keys import Key
from annexd.remotes.link import Link
from annexd.remotes.peer import PeerNode
from annexd.remotes.ssh import SshDialer, SshHosts
from annexd.remotes.url import Ssh, place_of
from annexd.repo.parts import boot_seconds
from annexd.sessions.deadlines import Patience
from annexd.store import Caller, Outcome, Store
from tests.support.annex import Machine
from tests.support.processes import descendants, running
from tests.support.programs import NEWEST
from tests.support.servers import GitAnnexShell, forced_command
from tests.support.sshd import Sshd
from tests.support.store_contract import StoreContract

PATIENCE = Patience(connect=20, answer=20, stall=20, idle=30)
DEADLINE_S = 4.0
"""Where it is waited for."""

AT_ONCE_S = 3.0
"""Without waiting for a deadline, on a busy machine."""

CALLER = Caller(b"client", "alice")


class OverSsh(TestCase):
    """``node`` is a repository that git-annex-shell of a version serves behind an sshd."""

    version = NEWEST
    patience = PATIENCE
    idle_s = 60.0
    timeout = 300

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        scratch = tempfile.TemporaryDirectory(prefix="annexd-far-", ignore_cleanup_errors=True)
        self.addCleanup(scratch.cleanup)
        self.directory = Path(scratch.name)
        self.host = Machine(self.directory / "host", self.version)
        self.repo = self.host.new("served", bare=True)
        self.uuid = self.host.uuid(self.repo)
        self.sshd = Sshd(self.directory / "sshd")
        self.sshd.start()
        self.addCleanup(self.sshd.stop)
        shell = GitAnnexShell(Path(self.host.env["HOME"]), self.version)
        self.gateway = Machine(
            self.directory / "gateway", NEWEST, self.sshd.admit("alice", forced_command(shell))
        )
        self.hosts = SshHosts(reactor, self.gateway.env, idle_s=self.idle_s)
        self.nodes: list[PeerNode] = []
        self.node = self.new_node()

    def new_node(self, most: int = 8) -> PeerNode:
        place = place_of(f"ssh://gateway{self.repo}".encode(), b"/", b"/")
        assert isinstance(place, Ssh)
        dialer = SshDialer(self.hosts, place, self.uuid, b"client")
        link = Link("far", self.uuid, dialer, self.reactor, patience=self.patience, most=most)
        self.nodes.append(PeerNode(link, 200.0, boot_seconds))
        return self.nodes[-1]

    async def tearDown(self) -> None:
        for node in self.nodes:
            node.close()
        await self.hosts.close()
        self.assertEqual(self.masters(), [])

    def masters(self) -> list[int]:
        """The processes of ssh that this one has started."""
        return [
            pid
            for pid in descendants(os.getpid())
            if running(pid) and _command_line(pid).split(b"\0")[0].endswith(b"/ssh")
        ]

    def shells(self) -> list[int]:
        """The processes of git-annex-shell that serve sessions."""
        return [pid for pid in self.sshd.sessions() if _is_shell(pid)]

    async def pause(self) -> None:
        await deferLater(self.reactor, 0.02)


class Contract(OverSsh, StoreContract):
    """Run from modules that import this one, not the class: each takes its time."""

    one_upload_at_a_time = False  # the second one is told only when it sends its data
    keeps_partials = False  # what was announced here comes whole: then it is wrong, not unfinished

    async def make_store(self) -> Store:
        await self.locks_are_free()
        return self.node.store(CALLER)

    async def interrupted(self, store: Store, key: Key, content: bytes) -> None:
        await super().interrupted(store, key, content)
        await self.locks_are_free()

    async def locks_are_free(self) -> None:
        """Servers that were left still hold their locks for a moment."""
        while self.left_servers():
            await self.pause()

    def left_servers(self) -> bool:
        sessions = len(self.node._link._used) + len(self.node._link._idle)
        return len(self.shells()) > sessions

    async def assert_not_done(self, awaitable: Awaitable[Outcome]) -> None:
        """git-annex-shell dies of being asked to remove what is locked."""
        try:
            self.assertFalse((await awaitable).ok)
        except (Refused, Unavailable):
            pass


def _is_shell(pid: int) -> bool:
    line = _command_line(pid)
    return running(pid) and b"p2pstdio" in line and b"git-annex" in line.split(b"\0")[0]


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""  # it is gone
