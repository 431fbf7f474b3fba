"""Nodes behind an annexd, over TLS and by the helper program of the network, in good and bad days."""

from __future__ import annotations

import os
import signal
from typing import Any

from annexd.node import Health
from annexd.protocol.messages import Auth
from annexd.remotes.dialing import Dialer
from annexd.remotes.helper import HelperDialer
from annexd.remotes.url import P2PAnnex
from annexd.sessions.deadlines import Patience
from annexd.store import Outcome
from tests.support.far_tls import AT_ONCE_S, CALLER, DEADLINE_S, OverTls, given
from tests.support.programs import annexd_program, path_with
from tests.support.store_contract import get, key_of, put

SOME = b"a little of everything" * 100_000


class ThroughTheHelper(OverTls):
    def dialer(self) -> Dialer:
        environ = {**self.host.env, "PATH": path_with(annexd_program("annexd").parent)}
        place = P2PAnnex("annexd", str(self.far_address()))
        return HelperDialer(self.reactor, place, given(Auth(b"gateway", self.secret.encode())), environ)

    async def test_in_and_out(self) -> None:
        store = self.node.store(CALLER)
        self.assertTrue((await put(store, key_of(SOME), SOME)).ok)
        self.assertEqual(await get(store, key_of(SOME)), SOME)
        self.assertTrue((await store.remove(key_of(SOME), await store.timestamp() + 60)).ok)

    async def test_what_the_helper_says_of_it(self) -> None:
        self.server.stop()
        await self.assert_unavailable(None, "nothing listens on port")

    async def test_a_network_that_nobody_knows(self) -> None:
        dialer = HelperDialer(self.reactor, P2PAnnex("nowhere", "x"), given(Auth(b"", b"")), self.host.env)
        await self.assert_unavailable(self.new_node(dialer), "git-annex-p2p-nowhere is not installed")


class Trouble(OverTls):
    patience = Patience(connect=DEADLINE_S, answer=DEADLINE_S, stall=DEADLINE_S, idle=30)

    async def test_a_lot(self) -> None:
        store = self.node.store(CALLER)
        self.assertTrue((await put(store, key_of(SOME), SOME)).ok)
        self.assertEqual(await get(store, key_of(SOME)), SOME)
        condition = self.node.condition
        self.assertEqual(condition.health, Health.UP)
        self.assertGreater(condition.bytes_per_s or 0, 1e6)

    async def test_frozen_it_costs_one_deadline_once(self) -> None:
        self.assertFalse(await self.ask())
        daemon = self.annexd().daemon.pid
        os.kill(daemon, signal.SIGSTOP)
        try:
            took = await self.assert_unavailable(None, "deadline")
            self.assertTrue(DEADLINE_S - 0.5 < took < DEADLINE_S + AT_ONCE_S, took)
            for _ in range(20):
                self.assertLess(await self.assert_unavailable(), AT_ONCE_S)
        finally:
            os.kill(daemon, signal.SIGCONT)
        await self.comes_back()
        self.assertEqual(self.node.condition.health, Health.SLOW)

    async def test_frozen_before_anybody_came(self) -> None:
        daemon = self.annexd().daemon.pid
        os.kill(daemon, signal.SIGSTOP)
        try:
            took = await self.assert_unavailable(None, "no answer within 4 seconds")
            self.assertTrue(DEADLINE_S - 0.5 < took < DEADLINE_S + AT_ONCE_S, took)
            self.assertLess(await self.assert_unavailable(), AT_ONCE_S)
        finally:
            os.kill(daemon, signal.SIGCONT)
        await self.comes_back()

    async def test_killed_and_started_again(self) -> None:
        self.assertFalse(await self.ask())
        self.annexd().daemon.kill()
        await self.assert_unavailable(None, "nothing listens on port")
        self.assertLess(await self.assert_unavailable(), AT_ONCE_S)
        self.assertEqual(self.node.condition.health, Health.DOWN)
        self.config.write_text(self.config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{self.port}"))
        self.annexd().daemon.start()
        await self.comes_back()
        self.assertEqual(self.node.condition.health, Health.UP)

    async def test_killed_in_the_middle_of_an_upload(self) -> None:
        writer = await self.node.store(CALLER).write(key_of(SOME), b"")
        assert not isinstance(writer, Outcome)
        writer.announce(len(SOME))
        await writer.sink.write(SOME[:1000])
        self.annexd().daemon.kill()
        await self.assert_lost(writer)
        await writer.close()
        self.assertEqual(self.node.condition.busy, 0)

    async def assert_lost(self, writer: Any) -> None:
        try:
            await writer.sink.write(SOME[1000:])
            await writer.commit(True)
        except Exception as error:
            self.assertRegex(str(error), "closed|hung up|lost")
        else:
            self.fail("there was nobody to take it")

    async def test_another_certificate(self) -> None:
        node = self.new_node(self.tls(self.far_address(sha256="0" * 64), self.secret))
        await self.assert_unavailable(node, "not the one that its address says")

    async def test_a_certificate_that_nobody_vouches_for(self) -> None:
        node = self.new_node(self.tls(self.far_address(sha256=""), self.secret))
        await self.assert_unavailable(node, "certificate is not trusted")

    async def test_another_token(self) -> None:
        node = self.new_node(self.tls(self.far_address(), "0" * 64))
        await self.assert_unavailable(node, "does not accept our token")

    async def test_another_repository(self) -> None:
        node = self.new_node(self.dialer(), b"somebody-else")
        await self.assert_unavailable(node, "not somebody-else")

    async def test_a_name_that_does_not_exist(self) -> None:
        node = self.new_node(self.tls(self.far_address(host="no-such-host.invalid"), self.secret))
        await self.assert_unavailable(node, "no-such-host.invalid")
