"""Sockets that move, with real ones and a reactor turned by hand."""

from __future__ import annotations

import os
import socket
import tempfile
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from annexd.app.listen import Address
from annexd.app.ports import Place, Ports
from annexd.errors import ConfigError
from annexd.transports.port import bind
from tests.support.hand_reactor import HandReactor
from tests.support.ports import free_port


class Moves(SynchronousTestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.path = os.path.join(scratch.name, "s")
        self.reactor = HandReactor()
        self.ports = Ports(self.reactor, lambda: None)
        self.addCleanup(self.ports.close)
        self.came: list[Place] = []
        self.first, self.second = (("tls", Address("127.0.0.1", free_port())) for _ in range(2))

    def wanted(self, *places: Place) -> dict[Place, Any]:
        return {place: self.arrived(place) for place in places}

    def arrived(self, place: Place) -> Any:
        def arrived(sock: socket.socket, address: Any) -> None:
            sock.close()
            self.came.append(place)

        return arrived

    def move(self, *places: Place) -> None:
        self.ports.move(self.wanted(*places)).commit()

    def knock(self, place: Place) -> bool:
        """Whether somebody listens there."""
        _, where = place
        assert isinstance(where, Address)
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", where.port)) == 0

    def test_from_one_to_another(self) -> None:
        self.move(self.first)
        change = self.ports.move(self.wanted(self.second))
        self.assertEqual([f"tls:{self.first[1]}"], self.ports.addresses)
        with socket.create_connection(("127.0.0.1", self.second[1].port)):
            self.reactor.turn()
            self.assertEqual([], self.came)
            change.commit()
            self.reactor.turn()
        self.assertEqual([self.second], self.came)
        self.assertEqual([f"tls:{self.second[1]}"], self.ports.addresses)
        self.assertEqual((False, True), (self.knock(self.first), self.knock(self.second)))

    def test_dropped(self) -> None:
        self.move(self.first)
        self.ports.move(self.wanted(self.second, ("plain", self.path))).drop()
        self.assertEqual((True, False), (self.knock(self.first), self.knock(self.second)))
        self.assertFalse(os.path.exists(self.path))
        self.assertEqual([f"tls:{self.first[1]}"], self.ports.addresses)

    def test_what_stays_is_not_touched(self) -> None:
        self.move(self.first)
        [reader] = self.reactor.getReaders()
        self.move(self.first, self.second)
        self.assertIn(reader, self.reactor.getReaders())
        self.move(self.first)
        self.assertEqual([reader], self.reactor.getReaders())

    def test_one_that_cannot_be_had(self) -> None:
        self.move(self.first)
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        other = ("tls", Address("127.0.0.1", taken.getsockname()[1]))
        wanted = self.wanted(("plain", self.path), self.second, other)
        error = self.assertRaises(ConfigError, self.ports.move, wanted)
        self.assertEqual(f"cannot listen on {other[1]}: Address already in use", str(error))
        self.assertEqual((True, False), (self.knock(self.first), self.knock(self.second)))
        self.assertFalse(os.path.exists(self.path))

    def test_wider_and_narrower(self) -> None:
        """The same port, of which one address is in the way of all, and the other way round."""
        _, narrow = self.first
        wide = ("tls", Address("::", narrow.port))
        self.move(self.first)
        for place in (wide, self.first, ("plain", narrow), wide):
            self.move(place)
            self.came.clear()
            self.assertTrue(self.knock(place))
            self.reactor.turn()
            self.assertEqual([place], self.came)
            # Another daemon cannot put itself beside this one.
            self.assertRaises(ConfigError, bind, "127.0.0.1", narrow.port)

    def test_unix(self) -> None:
        other = self.path + "2"
        self.move(("plain", self.path))
        self.move(("plain", other))
        self.assertEqual(([f"plain:unix:{other}"], False), (self.ports.addresses, os.path.exists(self.path)))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(other)
            self.reactor.turn()
        self.assertEqual([("plain", other)], self.came)
        self.ports.close()
        self.assertEqual(
            ([], [], False), (self.ports.addresses, self.reactor.getReaders(), os.path.exists(other))
        )
