"""Dialling by a SOCKS port."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import Unavailable
from annexd.transports.socks import dial

ASKED = b"\x05\x01\x00\x05\x01\x00\x03\x07x.onion\x1b\x59"


class Dials(SynchronousTestCase):
    def setUp(self) -> None:
        reactor = MemoryReactorClock()
        self.dialling: Deferred[None] = Deferred.fromCoroutine(
            dial(UNIXClientEndpoint(reactor, "/socks"), "x.onion", 7001)
        )
        self.protocol: Any = reactor.unixClients[0][1].buildProtocol(None)
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)

    def test_answered(self) -> None:
        for byte in b"\x05\x00\x05":
            self.protocol.dataReceived(bytes([byte]))
            self.assertNoResult(self.dialling)
        self.assertEqual(self.transport.value(), ASKED)
        self.protocol.dataReceived(b"\x00")
        self.successResultOf(self.dialling)
        self.assertTrue(self.transport.disconnected)
        self.protocol.dataReceived(b"\x00\x01" + b"\0" * 6)

    def test_all_at_once(self) -> None:
        self.protocol.dataReceived(b"\x05\x00\x05\x00\x00\x01" + b"\0" * 6)
        self.successResultOf(self.dialling)

    def test_refused(self) -> None:
        for code, words in ((1, "did not take the connection"), (0xF0, "descriptor"), (99, "SOCKS error 99")):
            self.setUp()
            self.protocol.dataReceived(b"\x05\x00\x05" + bytes([code]))
            self.assertIn(words, str(self.failureResultOf(self.dialling, Unavailable).value))
            self.assertTrue(self.transport.disconnected)

    def test_wants_a_password(self) -> None:
        self.protocol.dataReceived(b"\x05\xff")
        self.assertIn("who we are", str(self.failureResultOf(self.dialling, Unavailable).value))

    def test_hung_up(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertIn("hung up", str(self.failureResultOf(self.dialling, Unavailable).value))

    def test_given_up(self) -> None:
        self.dialling.cancel()
        self.failureResultOf(self.dialling)
        self.assertTrue(self.transport.disconnected)
        self.protocol.connectionLost(Failure(ConnectionDone()))
