"""TCP connections to others, on the loopback."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import TestCase

from annexd.errors import Unavailable
from annexd.transports.outgoing import connected


class Outgoing(TestCase):
    timeout = 120

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.server.close)
        self.port: int = self.server.getsockname()[1]

    async def test_to_an_address_and_to_a_name(self) -> None:
        for host in "127.0.0.1", "localhost":
            sock = await connected(self.reactor, host, self.port)
            peer, _ = self.server.accept()
            with sock, peer:
                self.assertFalse(sock.getblocking())
                self.assertTrue(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
                self.assertTrue(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    async def test_nobody_listens(self) -> None:
        self.server.close()
        await self.assert_unavailable("127.0.0.1", f"nothing listens on port {self.port}")

    async def test_a_name_that_nobody_has(self) -> None:
        await self.assert_unavailable("no-such-host.invalid", "no-such-host.invalid cannot be looked up")
        await self.assert_unavailable("x" * 300, "cannot be looked up")

    async def assert_unavailable(self, host: str, words: str) -> None:
        try:
            await connected(self.reactor, host, self.port)
        except Unavailable as error:
            self.assertIn(words, str(error))
        else:
            self.fail("Unavailable expected")

    async def test_a_host_that_says_nothing_is_given_up_when_it_is_told(self) -> None:
        full = socket.socket()
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        attempt = Deferred.fromCoroutine(connected(self.reactor, "127.0.0.1", port))
        self.assertNoResult(attempt)
        attempt.cancel()
        self.failureResultOf(attempt, CancelledError)
        self.assertEqual(self.reactor.getWriters(), [])
        for sock in [full, *fillers]:
            sock.close()
