"""The PROXY protocol: what front ends say, however it is cut, and not a byte more is taken."""

from __future__ import annotations

import ipaddress
import socket
import struct

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import Refused
from annexd.transports.proxied import proxied
from tests.support.hand_reactor import HandReactor

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def binary(body: bytes, family: int = 0x11, command: int = 0x21) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


INET = (
    ipaddress.ip_address("203.0.113.7").packed + ipaddress.ip_address("10.0.0.1").packed + b"\x10\x00\x1b\x59"
)
INET6 = ipaddress.ip_address("2001:db8::7").packed + bytes(16) + b"\x10\x00\x1b\x59"

GOOD = {
    b"PROXY TCP4 203.0.113.7 10.0.0.1 4096 7001\r\n": "203.0.113.7",
    b"PROXY TCP6 2001:db8:0::7 ::1 4096 7001\r\n": "2001:db8::7",
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN 203.0.113.7 10.0.0.1 4096 7001\r\n": None,
    binary(INET): "203.0.113.7",
    binary(INET + b"\x04\x00\x03abc"): "203.0.113.7",
    binary(INET6, 0x21): "2001:db8::7",
    binary(bytes(216), 0x31): None,
    binary(b"", 0x00): None,
    binary(b"", 0x00, 0x20): None,
    binary(INET, 0x11, 0x20): None,
}
BAD = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01",
    b"AUTH uuid token\n",
    b"POST / HTTP/1.1\r\n",
    b"PROXY\r\n",
    b"PROXY \r\n",
    b"PROXY TCP4 203.0.113.7\r\n",
    b"PROXY TCP4 2001:db8::7 ::1 4096 7001\r\n",
    b"PROXY TCP4 somewhere 10.0.0.1 4096 7001\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 4096 7001\n",
    b"PROXY TCP4 " + b"x" * 100,
    SIGNATURE[:-1] + b"X" + bytes(4),
    binary(INET, 0x11, 0x31),
    binary(INET, 0x11, 0x22),
    binary(INET[:-1]),
    binary(INET, 0x21),
    binary(bytes(2049)),
)


class Proxied(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = HandReactor()
        self.near, self.front = socket.socketpair()
        self.near.setblocking(False)
        self.addCleanup(self.near.close)
        self.addCleanup(self.front.close)

    def start(self) -> Deferred[str | None]:
        return Deferred.fromCoroutine(proxied(self.reactor, self.near))

    def test_good(self) -> None:
        for header, address in GOOD.items():
            for step in (1, len(header) + 1):
                with self.subTest(header=header, step=step):
                    done = self.start()
                    data = header + b"the rest"
                    for start in range(0, len(data), step):
                        self.front.send(data[start : start + step])
                        self.reactor.turns(2)
                    self.assertEqual(self.successResultOf(done), address)
                    self.assertEqual(self.near.recv(100), b"the rest")

    def test_bad(self) -> None:
        for header in BAD:
            with self.subTest(header):
                self.setUp()
                done = self.start()
                self.front.send(header)
                self.reactor.turns()
                self.failureResultOf(done, Refused)

    def test_hung_up(self) -> None:
        for header in (b"", b"PRO", SIGNATURE, binary(INET)[:20]):
            with self.subTest(header):
                self.setUp()
                done = self.start()
                self.front.send(header)
                self.front.close()
                self.reactor.turns()
                reason = str(self.failureResultOf(done, Refused).value)
                self.assertEqual(reason, "it hung up within the PROXY header")

    @given(st.one_of(st.binary(max_size=60), st.builds(binary, st.binary(max_size=60), st.integers(0, 255))))
    def test_anything(self, header: bytes) -> None:
        """Read or refused, or more is wanted; and never anything else."""
        self.setUp()
        done = self.start()
        done.addErrback(lambda failure: failure.trap(Refused))
        self.front.send(header)
        self.reactor.turns()
        self.front.close()
        self.reactor.turns()
        self.successResultOf(done)
        self.near.close()
