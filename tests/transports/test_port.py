"""Sockets that listen, with real ones and a reactor turned by hand."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from typing import Any

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import ConfigError
from annexd.transports.port import Port, bind, bind_unix
from tests.support.hand_reactor import HandReactor
from tests.support.processes import until


class Full:
    """A socket for whose connections there is no file descriptor left, at first."""

    def __init__(self, sock: socket.socket, times: int) -> None:
        self._socket = sock
        self._times = times
        self.fileno = sock.fileno
        self.close = sock.close
        self.listen = sock.listen
        self.setblocking = sock.setblocking

    def accept(self) -> Any:
        if self._times:
            self._times -= 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return self._socket.accept()


class Ports(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = HandReactor()
        self.came: list[Any] = []
        self.no_room = 0

    def arrived(self, sock: socket.socket, address: Any) -> None:
        self.addCleanup(sock.close)
        self.came.append((sock.getblocking(), address))

    def crowded(self) -> None:
        self.no_room += 1

    def start(self, sock: Any) -> Port:
        port = Port(self.reactor, sock, self.arrived, self.crowded)
        port.start()
        self.addCleanup(port.stop)
        return port

    def connect(self, number: int, host: str = "127.0.0.1") -> socket.socket:
        client = socket.create_connection((host, number))
        self.addCleanup(client.close)
        return client

    def turned(self) -> bool:
        self.reactor.turn()
        return True

    def await_arrivals(self, count: int) -> None:
        """A client may be connected a moment before there is something to accept."""
        until(lambda: self.turned() and len(self.came) == count, f"{count} have come")

    def test_accepts(self) -> None:
        port = self.start(bind("127.0.0.1", 0))
        clients = [self.connect(port.number) for _ in range(3)]
        self.await_arrivals(3)
        self.assertEqual(self.came, [(False, client.getsockname()) for client in clients])

    def test_both_families(self) -> None:
        port = self.start(bind("::", 0))
        self.connect(port.number)
        self.connect(port.number, "::1")
        self.await_arrivals(2)
        self.assertEqual([address[0] for _, address in self.came], ["::ffff:127.0.0.1", "::1"])

    def test_stopped(self) -> None:
        port = self.start(bind("127.0.0.1", 0))
        number = port.number
        port.stop()
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertRaises(ConnectionRefusedError, self.connect, number)

    def test_no_descriptors(self) -> None:
        """It waits a moment, lets others make room, and goes on."""
        sock = bind("127.0.0.1", 0)
        number = sock.getsockname()[1]
        self.start(Full(sock, 1))
        self.connect(number)
        with capturedLogs() as events:
            until(lambda: self.turned() and self.no_room, "the connection is there")
            self.reactor.turns()
        self.assertEqual((self.came, self.no_room, len(events)), ([], 1, 1))
        self.reactor.advance(0.3)
        self.reactor.turn()
        self.assertEqual(len(self.came), 1)

    def test_taken(self) -> None:
        number = self.start(bind("127.0.0.1", 0)).number
        error = self.assertRaises(ConfigError, bind, "127.0.0.1", number)
        self.assertEqual(str(error), f"cannot listen on 127.0.0.1:{number}: Address already in use")

    def test_no_such_address(self) -> None:
        error = self.assertRaises(ConfigError, bind, "2001:db8::1", 7001)
        self.assertIn("cannot listen on [2001:db8::1]:7001: ", str(error))


class UnixPorts(SynchronousTestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.path = os.path.join(scratch.name, "s")

    def bind(self) -> socket.socket:
        sock = bind_unix(self.path)
        self.addCleanup(sock.close)
        return sock

    def test_not_for_everybody(self) -> None:
        self.bind()
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o660)

    def test_one_that_was_left_behind(self) -> None:
        self.bind().close()
        self.bind()

    def test_one_in_use(self) -> None:
        self.bind().listen()
        self.assertRaises(ConfigError, self.bind)

    def test_something_else(self) -> None:
        with open(self.path, "w"):
            pass
        self.assertRaises(ConfigError, self.bind)
        self.assertTrue(os.path.isfile(self.path))
