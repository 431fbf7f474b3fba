"""
Two ends of a connection in memory, with a window: what the reader does not
take stays with the writer, as in a socket, so that back-pressure can be seen.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import error
from twisted.python.failure import Failure


class End:
    """A Twisted transport; `window` is how many bytes may be under way to the other side."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.other: End
        self.protocol: Any = None
        self.unsent = bytearray()
        self.arrived = bytearray()
        self.reading_paused = False
        self.producer: Any = None
        self.producer_paused = False
        self.closing = False
        self.closed = False
        self.sent = 0
        self.most_unsent = 0

    # what a protocol calls

    def write(self, data: bytes) -> None:
        if self.closed or self.closing:
            return
        self.sent += len(data)
        self.unsent += data
        self._move()
        self.most_unsent = max(self.most_unsent, len(self.unsent))
        if self.unsent and self.producer is not None and not self.producer_paused:
            self.producer_paused = True
            self.producer.pauseProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming and self.producer is None
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.reading_paused = True

    def resumeProducing(self) -> None:
        self.reading_paused = False
        self.other._move()

    def loseConnection(self) -> None:
        if not self.closed:
            self.closing = True
            self._move()

    def abortConnection(self) -> None:
        self.unsent.clear()
        self._close(error.ConnectionAborted())
        self.other._ended()

    # what a test calls

    def end_input_of_other(self) -> None:
        """Half-close: the other side sees the end of its input and may still write."""
        self.other.protocol.readConnectionLost()

    # inside

    def _move(self) -> None:
        """Hand over what the other side's window has room for, and what it is ready to take."""
        while True:
            room = self.other.window - len(self.other.arrived)
            piece = bytes(self.unsent[:room])
            del self.unsent[: len(piece)]
            self.other.arrived += piece
            if not self.other._deliver() and not piece:
                break
        if not self.unsent and self.producer_paused:
            self.producer_paused = False
            if self.producer is not None:
                self.producer.resumeProducing()
        if self.closing and not self.unsent and not self.closed:
            self._close(error.ConnectionDone())
            self.other._ended()

    def _deliver(self) -> bool:
        if self.reading_paused or self.closed or not self.arrived:
            return False
        data = bytes(self.arrived)
        self.arrived.clear()
        self.protocol.dataReceived(data)
        return True

    def _ended(self) -> None:
        if not self.closed:
            self._deliver()
            self.protocol.readConnectionLost()
            self._close(error.ConnectionDone())

    def _close(self, reason: BaseException) -> None:
        if not self.closed:
            self.closed = True
            self.protocol.connectionLost(Failure(reason))


def duplex(first: Any, second: Any, window: int = 64 * 1024) -> tuple[End, End]:
    """Connect two protocols; the transports of the first and of the second."""
    ends = End(window), End(window)
    ends[0].other, ends[1].other = ends[1], ends[0]
    for end, protocol in zip(ends, (first, second), strict=True):
        end.protocol = protocol
    for end in ends:
        end.protocol.makeConnection(end)
    return ends


class Script:
    """A peer that says what a test tells it to, and keeps all that it hears."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.transport: Any = None
        self.input_over = False
        self.lost = False

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport

    def say(self, data: bytes) -> bytes:
        """Send ``data``; what was heard since the last call."""
        self.transport.write(data)
        return self.hear()

    def hear(self) -> bytes:
        heard = bytes(self.heard)
        self.heard.clear()
        return heard

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def readConnectionLost(self) -> None:
        self.input_over = True

    def connectionLost(self, reason: Failure) -> None:
        self.lost = True
