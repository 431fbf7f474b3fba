"""An SSH connection by hand: what is sent is kept, what comes is said by the test."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from twisted.conch.ssh.common import NS, getNS
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import Clock
from zope.interface import implementer

from annexd.transports.ssh.channel import Channel
from annexd.transports.ssh.connection import Connection

OPEN, CONFIRMED, FAILED, ADJUST, DATA, EXTENDED, EOF, CLOSE, REQUEST, SUCCESS, FAILURE = range(90, 101)
FAR = 7
"""The number that the client has for its first channel; further ones count on from there."""


class Link:
    """A `Connection` and the client at the other end of it."""

    def __init__(self, most: int = 100, stall: float = 300.0, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.sent: list[tuple[int, bytes]] = []
        self.disconnected: list[bytes] = []
        self.performed: list[tuple[Channel, bytes]] = []
        self.connection = Connection(
            self.clock, lambda channel, line: self.performed.append((channel, line)), most, stall
        )
        link: Any = self
        self.connection.transport = link

    # as a transport

    def sendPacket(self, kind: int, payload: bytes) -> None:
        self.sent.append((kind, payload))

    def sendDisconnect(self, code: int, sentence: bytes) -> None:
        self.disconnected.append(sentence)

    # as a client

    def say(self, kind: int, payload: bytes) -> None:
        self.connection.packetReceived(kind, payload)  # type: ignore[no-untyped-call]
        self.connection.deliver()

    def open(self, window: int = 1 << 21, packet: int = 32768, kind: bytes = b"session") -> int | None:
        """The number of the channel, unless it is refused."""
        number = FAR + self.connection.localChannelID
        self.say(OPEN, NS(kind) + struct.pack(">3L", number, window, packet))
        answer, payload = self.sent.pop()
        return int(struct.unpack_from(">2L", payload)[1]) if answer == CONFIRMED else None

    def channel(self, window: int = 1 << 21, packet: int = 32768) -> Channel:
        number = self.open(window, packet)
        channel: Channel = self.connection.channels[number]
        return channel

    def data(self, channel: Channel, data: bytes) -> None:
        self.say(DATA, struct.pack(">L", channel.id) + NS(data))

    def tell(self, channel: Channel, kind: int, rest: bytes = b"") -> None:
        self.say(kind, struct.pack(">L", channel.id) + rest)

    def adjust(self, channel: Channel, count: int) -> None:
        self.tell(channel, ADJUST, struct.pack(">L", count))

    def request(self, channel: Channel, name: bytes, data: bytes = b"", reply: bool = True) -> bool:
        """Whether it was granted."""
        self.sent.clear()
        self.tell(channel, REQUEST, NS(name) + bytes((reply,)) + data)
        return [kind for kind, _ in self.sent] == [SUCCESS]

    # what was heard

    def written(self, channel: Channel, stream: int = 0) -> bytes:
        """All that came on standard output (0) or error (1)."""
        return b"".join(data for kind, data in self.packets(channel) if kind == stream)

    def packets(self, channel: Channel) -> Iterator[tuple[int, bytes]]:
        """Data in the order in which it came, each with its stream."""
        for kind, payload in self.sent:
            (number,) = struct.unpack_from(">L", payload)
            if number == FAR + (channel.id or 0) and kind in (DATA, EXTENDED):
                stream = 0 if kind == DATA else struct.unpack_from(">2L", payload)[1]
                yield stream, getNS(payload[4 if kind == DATA else 8 :])[0]

    def granted(self) -> int:
        """Bytes that the client was told to have room for, beyond the first window."""
        return sum(struct.unpack(">2L", payload)[1] for kind, payload in self.sent if kind == ADJUST)

    def kinds(self) -> list[int]:
        return [kind for kind, _ in self.sent]


class Sink:
    """A protocol that takes what comes, or sleeps."""

    def __init__(self, asleep: bool = False) -> None:
        self.asleep = asleep
        self.heard = bytearray()
        self.input_over = False
        self.lost: str | None = None
        self.transport: Any = None

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        if self.asleep:
            self.transport.pauseProducing()

    def connectionLost(self, reason: Any) -> None:
        self.lost = type(reason.value).__name__


@implementer(IHalfCloseableProtocol)
class HalfSink(Sink):
    def readConnectionLost(self) -> None:
        self.input_over = True

    def writeConnectionLost(self) -> None:
        pass
