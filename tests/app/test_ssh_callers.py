"""Who comes to the SSH listener by an onion, before it is known by which circuit."""

from __future__ import annotations

import socket

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.anteroom import Anteroom
from annexd.app.ssh_callers import Callers
from tests.support.hand_reactor import HandReactor

CIRCUIT = "fc00:dead:beef:4dad::1b4"


class Coming(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = HandReactor()
        self.anteroom = Anteroom(lambda: 4)
        self.came: list[tuple[str, bytes]] = []
        self.callers = Callers(self.reactor, self.anteroom, lambda: 30, self.let_in)

    def let_in(self, sock: socket.socket, address: str) -> None:
        """With what is left to be read."""
        self.came.append((address, sock.recv(100)))

    def come(self, said: bytes, announced: bool = True) -> socket.socket:
        near, far = socket.socketpair()
        self.addCleanup(far.close)
        near.setblocking(False)
        far.sendall(said)
        self.callers.arrived(near, announced)
        self.reactor.turns(3)
        return far

    def test_by_a_circuit(self) -> None:
        """What comes behind the header is left for the SSH server."""
        self.come(b"PROXY TCP6 fc00:dead:beef:4dad::0:1b4 ::1 436 22\r\nSSH-2.0-x\r\n")
        self.assertEqual(self.came, [(CIRCUIT, b"SSH-2.0-x\r\n")])
        self.assertEqual((len(self.anteroom), self.reactor.getDelayedCalls()), (0, []))

    def test_without_a_word_of_tor(self) -> None:
        self.come(b"SSH-2.0-x\r\n", announced=False)
        self.assertEqual(self.came, [("", b"SSH-2.0-x\r\n")])

    def test_an_address_that_is_none_of_tor_s(self) -> None:
        """Whoever may use the socket could have it that ``from=`` in a line of keys is true."""
        self.come(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 22\r\nSSH-2.0-x\r\n")
        self.assertEqual(self.came, [("", b"SSH-2.0-x\r\n")])

    def test_another_protocol(self) -> None:
        with capturedLogs() as events:
            self.come(b"SSH-2.0-x\r\n")
        self.assertEqual((self.came, len(self.anteroom)), ([], 0))
        self.assertIn("PROXY header", str(formatEvent(events[-1])))

    def test_silence(self) -> None:
        far = self.come(b"PROXY TC")
        self.assertEqual(len(self.anteroom), 1)
        self.reactor.advance(30)
        self.assertEqual((self.came, far.recv(1), len(self.anteroom)), ([], b"", 0))

    def test_the_end(self) -> None:
        far = self.come(b"")
        self.callers.close()
        self.assertEqual((far.recv(1), len(self.anteroom)), (b"", 0))
        self.assertEqual((self.reactor.getReaders(), self.reactor.getDelayedCalls()), ([], []))
