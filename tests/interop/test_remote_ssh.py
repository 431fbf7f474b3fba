"""Nodes reached by ssh: one connection to a host, whose ends may die or freeze."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from annexd.errors import Unavailable
from annexd.node import Health
from annexd.remotes.peer import PeerNode
from annexd.sessions.deadlines import Patience
from tests.support.far_ssh import AT_ONCE_S, CALLER, DEADLINE_S, OverSsh
from tests.support.processes import running
from tests.support.store_contract import CONTENT, get, key_of, put


class AskingScene(OverSsh):
    async def ask(self, node: PeerNode | None = None) -> bool:
        return await (node or self.node).store(CALLER).present(key_of(CONTENT))

    async def assert_unavailable(self, node: PeerNode | None = None, *words: str) -> float:
        """Asking fails; the seconds that took."""
        began = self.reactor.seconds()
        try:
            await self.ask(node)
        except Unavailable as error:
            for word in words:
                self.assertIn(word, str(error))
            return float(self.reactor.seconds() - began)
        self.fail("Unavailable expected")

    async def comes_back(self, node: PeerNode | None = None) -> None:
        """In time, by itself."""
        for _ in range(1500):
            try:
                await self.ask(node)
                return
            except Unavailable:
                await self.pause()
        self.fail("the node stays away")


class OneConnection(AskingScene):
    """What all sessions at a host have in common."""

    async def test_many_sessions_one_process(self) -> None:
        store = self.node.store(CALLER)
        await put(store, key_of(CONTENT), CONTENT)
        readers = [await store.read(key_of(CONTENT), 0, b"") for _ in range(8)]
        self.assertEqual(len(self.masters()), 1)
        for reader in readers:
            await reader.close(False)
        self.assertEqual(await get(store, key_of(CONTENT)), CONTENT)
        self.assertEqual(len(self.masters()), 1)

    async def test_requests_that_are_given_up_leave_nothing_behind(self) -> None:
        chance = Random(1)
        store = self.node.store(CALLER)
        await put(store, key_of(CONTENT), CONTENT)

        async def some() -> None:
            for _ in range(5):
                if chance.random() < 0.5:
                    self.assertTrue(await store.present(key_of(CONTENT)))
                else:
                    self.assertEqual(await get(store, key_of(CONTENT)), CONTENT)

        under_way = [Deferred.fromCoroutine(some()) for _ in range(40)]
        for number, one in enumerate(under_way):
            if number % 3:
                await deferLater(self.reactor, chance.random() / 50)
                one.cancel()
        for one in under_way:
            with contextlib.suppress(CancelledError):
                await one
        link = self.node._link
        self.assertEqual((len(link._used), len(link._dials), len(link._queue._waiting)), (0, 0, 0))
        self.assertEqual(self.node.condition.busy, 0)
        self.assertLessEqual(len(link._idle), 8)
        self.assertTrue(await store.present(key_of(CONTENT)))

    async def test_a_host_that_allows_few_sessions(self) -> None:
        settings = self.sshd.directory / "sshd_config"
        self.sshd.stop()
        self.sshd.settings = "MaxSessions 3\n"
        self.sshd.start()
        self.assertIn("MaxSessions 3", settings.read_text())
        self.sshd.client_config("alice")
        store = self.node.store(CALLER)
        await put(store, key_of(CONTENT), CONTENT)
        leases = await gathered([store.lock(key_of(CONTENT)) for _ in range(8)])
        self.assertEqual(len(self.masters()), 3)
        for lease in leases:
            await lease.release()

    async def test_a_connection_that_dies(self) -> None:
        self.assertFalse(await self.ask())
        [master] = self.masters()
        os.kill(master, signal.SIGKILL)
        while running(master):
            await self.pause()
        await self.comes_back()
        self.assertNotEqual(self.masters(), [master])
        self.assertEqual(self.node.condition.health, Health.UP)

    async def test_a_host_that_goes_away_and_comes_back(self) -> None:
        self.assertFalse(await self.ask())
        self.sshd.stop()
        await self.assert_unavailable(None, "cannot be reached")
        self.assertLess(await self.assert_unavailable(None, "cannot be reached"), AT_ONCE_S)
        self.sshd.start()
        self.sshd.client_config("alice")
        await self.comes_back()
        self.assertEqual(self.node.condition.health, Health.UP)

    async def test_what_the_shell_says_of_it(self) -> None:
        self.host.git(self.repo, "config", "annex.uuid", "11111111-2222-3333-4444-555555555555")
        await self.assert_unavailable(None, "expected repository UUID")

    async def test_what_ssh_says_of_it(self) -> None:
        (self.sshd.directory / "authorized_keys").write_text("")
        await self.assert_unavailable(None, "Permission denied")

    async def test_content_that_is_locked(self) -> None:
        store = self.node.store(CALLER)
        await put(store, key_of(CONTENT), CONTENT)
        lease = await store.lock(key_of(CONTENT))
        try:
            await store.remove(key_of(CONTENT))
        except Unavailable as error:
            self.assertIn("content is locked", str(error))
        else:
            self.fail("it cannot be removed")
        await lease.release()
        self.assertEqual(self.node.condition.health, Health.UP)


class Freezing(AskingScene):
    patience = Patience(connect=6, answer=DEADLINE_S, stall=DEADLINE_S, idle=30)

    async def test_a_connection_that_freezes(self) -> None:
        self.assertFalse(await self.ask())
        [master] = self.masters()
        os.kill(master, signal.SIGSTOP)
        self.addCleanup(_continue, master)
        took = await self.assert_unavailable(None, "deadline")
        self.assertTrue(DEADLINE_S - 0.5 < took < DEADLINE_S + AT_ONCE_S, took)
        self.assertLess(await self.assert_unavailable(None, "deadline"), AT_ONCE_S)
        await self.comes_back()
        self.assertEqual(self.node.condition.health, Health.SLOW)

    async def test_a_server_that_freezes_and_goes_on(self) -> None:
        self.assertFalse(await self.ask())
        shells = self.shells()
        for pid in shells:
            os.kill(pid, signal.SIGSTOP)
        took = await self.assert_unavailable(None, "deadline")
        self.assertTrue(DEADLINE_S - 0.5 < took < DEADLINE_S + AT_ONCE_S, took)
        self.assertLess(await self.assert_unavailable(), AT_ONCE_S)
        for pid in shells:
            os.kill(pid, signal.SIGCONT)
        await self.comes_back()
        self.assertEqual(len(self.masters()), 1, "ssh was well all the time")


class Ends(OverSsh):
    patience = Patience(connect=20, answer=20, stall=20, idle=0.1)
    idle_s = 0.1

    async def test_a_connection_that_nobody_needs_is_closed(self) -> None:
        self.assertFalse(await self.node.store(CALLER).present(key_of(CONTENT)))
        [master] = self.masters()
        while running(master):
            await self.pause()
        self.assertFalse(await self.node.store(CALLER).present(key_of(CONTENT)))

    async def test_it_does_not_outlive_a_daemon_that_is_killed(self) -> None:
        script = [sys.executable, "-c", _DAEMON, str(self.repo), self.uuid.decode()]
        with subprocess.Popen(script, env=self.gateway.env, stdout=subprocess.PIPE) as daemon:
            assert daemon.stdout is not None
            self.assertEqual(daemon.stdout.readline(), b"False\n")
            masters = self.masters()
            self.assertEqual(len(masters), 1)
            daemon.kill()
        while any(map(running, masters)):
            await self.pause()


_DAEMON = """
import os, sys
from twisted.internet import defer, reactor
from annexd.remotes.link import Link
from annexd.remotes.peer import PeerNode
from annexd.remotes.ssh import SshDialer, SshHosts
from annexd.remotes.url import Ssh
from annexd.store import Caller
from tests.support.store_contract import CONTENT, key_of

async def main():
    place, uuid = Ssh("gateway", None, "", os.fsencode(sys.argv[1])), os.fsencode(sys.argv[2])
    link = Link("far", uuid, SshDialer(SshHosts(reactor, os.environ), place, uuid, b"me"), reactor)
    store = PeerNode(link, 1, reactor.seconds).store(Caller(b"me", "me"))
    print(await store.present(key_of(CONTENT)), flush=True)

defer.Deferred.fromCoroutine(main())
reactor.run()
"""


async def gathered(coroutines: list[Any]) -> list[Any]:
    return [await started for started in [Deferred.fromCoroutine(one) for one in coroutines]]


def _continue(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
