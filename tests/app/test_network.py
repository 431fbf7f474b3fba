"""The listeners as a part of the daemon, with real sockets."""

from __future__ import annotations

import os
import socket
import tempfile
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.certificates import Certificates
from annexd.app.listen import Address, FrontEnds, Listen, Plain, Tls
from annexd.app.network import Network
from annexd.errors import ConfigError
from tests.support.hand_reactor import HandReactor

HERE = Address("127.0.0.1", 0)
ALSO = Address("127.0.0.2", 0)


class Reception:
    """Whom it was told of."""

    def __init__(self) -> None:
        self.came: list[tuple[str, bool, FrontEnds]] = []
        self.told: list[str] = []

    def arrived(self, entrance: Any, sock: socket.socket, address: Any) -> None:
        sock.close()
        self.came.append((entrance.transport, entrance.identity is not None, entrance.front_ends()))

    def make_room(self) -> None:
        self.told.append("make room")

    def send_all_away(self) -> None:
        self.told.append("send all away")

    async def close(self) -> None:
        self.told.append("close")


class Networks(SynchronousTestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = scratch.name
        self.reactor = HandReactor()
        self.reception: Any = Reception()
        self.path = os.path.join(scratch.name, "s")
        self.unix = FrontEnds((), True)
        self.current: Any = SimpleNamespace(config=SimpleNamespace(listen=Listen()))
        self.certificates = Certificates(self.reactor, os.path.join(scratch.name, "state"))
        self.network = Network(self.reactor, self.current, self.certificates, self.reception)
        self.addCleanup(self.stop)

    def configure(self, tls: Tls | None, plain: Plain | None = None) -> None:
        self.current.config.listen = Listen(tls, plain)

    def stop(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.network.stop()))

    def reload(self) -> None:
        self.network.prepare(self.current.config.listen).commit()

    def test_everything(self) -> None:
        self.configure(Tls((HERE, ALSO)), Plain((HERE, self.path), self.unix))
        self.network.start()
        first, second, third, fourth = self.network.addresses
        self.assertEqual(fourth, f"plain:unix:{self.path}")
        for text, expected in (
            (first, "tls:127.0.0.1"),
            (second, "tls:127.0.0.2"),
            (third, "plain:127.0.0.1"),
        ):
            where, _, port = text.rpartition(":")
            self.assertEqual(where, expected)
            host = where.partition(":")[2]
            socket.create_connection((host, int(port))).close()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.path)
        self.reactor.turn()
        tls, plain = ("tls", True, FrontEnds()), ("plain", False, self.unix)
        self.assertEqual(sorted(self.reception.came, key=str), sorted([tls, tls, plain, plain], key=str))

    def test_nothing(self) -> None:
        self.network.start()
        self.assertEqual((self.network.addresses, self.reactor.getReaders()), ([], []))
        self.reload()
        self.assertEqual((self.network.addresses, self.reactor.getReaders()), ([], []))

    def test_fingerprint_is_told(self) -> None:
        self.configure(Tls((HERE,), Address("annex.example.org", 7001)))
        with capturedLogs() as events:
            self.network.start()
        [event] = events
        self.assertEqual(event["address"], "annex.example.org:7001")
        self.assertEqual(event["fingerprint"], self.certificates.identity().fingerprint)

    def test_stop(self) -> None:
        self.configure(Tls((HERE,)), Plain((self.path,)))
        self.network.start()
        self.stop()
        self.assertEqual((self.network.addresses, self.reactor.getReaders()), ([], []))
        self.assertFalse(os.path.exists(self.path))
        self.successResultOf(Deferred.fromCoroutine(self.network.close()))
        self.assertEqual(self.reception.told, ["send all away", "close"])

    def test_one_that_cannot_be_had(self) -> None:
        """None is left open, and it could be tried again."""
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        self.configure(None, Plain((self.path, Address("127.0.0.1", taken.getsockname()[1]))))
        self.assertRaises(ConfigError, self.network.start)
        self.assertEqual((self.network.addresses, self.reactor.getReaders()), ([], []))
        self.configure(None, Plain((self.path,)))
        self.network.start()

    def test_no_certificate(self) -> None:
        self.configure(Tls((HERE,), certificate="/nonexistent", key="/nonexistent"))
        self.assertRaises(ConfigError, self.network.start)

    def test_reload(self) -> None:
        """What a certificate is, and who is a front end; a certificate that is none changes nothing."""
        self.configure(Tls((HERE,)))
        self.network.start()
        before = self.certificates.identity()
        tls = Tls((HERE,), minimum_version="1.2", proxy_from=self.unix)
        self.configure(tls)
        self.reload()
        after = self.certificates.identity()
        self.assertIsNot(after, before)
        self.configure(replace(tls, certificate="/nonexistent", key="/nonexistent"))
        error = self.assertRaises(ConfigError, self.reload)
        self.assertEqual("/nonexistent: No such file or directory", str(error))
        self.configure(tls)
        self.assertIs(self.certificates.identity(), after)
        number = int(self.network.addresses[0].rpartition(":")[2])
        socket.create_connection(("127.0.0.1", number)).close()
        self.reactor.turn()
        self.assertEqual(self.reception.came, [("tls", True, self.unix)])

    def test_moving(self) -> None:
        """From nothing to both, from place to place, and away again; who is told is told once."""
        self.network.start()
        self.configure(Tls((HERE,)), Plain((self.path,)))
        with capturedLogs() as events:
            self.reload()
            self.reload()
        self.assertEqual(1, len([event for event in events if "fingerprint" in event]))
        [tls, plain] = self.network.addresses
        self.configure(Tls((HERE, ALSO)), Plain((HERE,)))
        self.reload()
        self.assertEqual(3, len(self.network.addresses))
        self.assertIn(tls, self.network.addresses)
        self.assertFalse(os.path.exists(self.path))
        self.configure(None)
        self.reload()
        self.assertEqual((self.network.addresses, self.reactor.getReaders()), ([], []))
        self.assertEqual([], self.reception.told)

    def test_moving_to_a_taken_place(self) -> None:
        """Nothing changes, the certificate included."""
        self.configure(Tls((HERE,)))
        self.network.start()
        before, identity = self.network.addresses, self.certificates.identity()
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        self.configure(Tls((ALSO, Address("127.0.0.1", taken.getsockname()[1])), minimum_version="1.2"))
        self.assertRaises(ConfigError, self.reload)
        self.assertEqual(before, self.network.addresses)
        self.assertIs(identity, self.certificates.identity())
        self.assertEqual(1, len(self.reactor.getReaders()))
