"""
One command's standard input, output and error, as a Twisted transport.

Conch grants a peer more window as soon as bytes come, whether or not anybody
has taken them, buffers what the peer's window has no room for in a text that
is copied with every write, and says that there is room again before it has
written what it kept.  So here the channel keeps its own buffers: the peer may
send no more than one window ahead of whoever reads, and a writer is told to
wait when more than `annexd.transports.ssh.outbox.HIGH_WATER` bytes are.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Callable, Iterable

from twisted.conch.ssh.channel import SSHChannel
from twisted.conch.ssh.common import NS, getNS
from twisted.internet import error, main
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IHalfCloseableProtocol,
    IProducer,
    IProtocol,
    IPushProducer,
    IReactorTime,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from annexd.transports.ssh.conch import said_by_conch
from annexd.transports.ssh.inbox import Inbox
from annexd.transports.ssh.outbox import STDERR, STDOUT, Outbox

if TYPE_CHECKING:
    from annexd.transports.ssh.connection import Connection

WINDOW = 2 * 1024 * 1024
"""Bytes that a peer may send ahead of whoever reads."""

PACKET = 64 * 1024
"""Bytes in one packet of the peer's; each costs as much work as some thousand bytes."""

_LARGEST_PACKET = 32 * 1024
# What every peer must be able to take, and none gains from more.

_GRANTS = 8
# In so many parts a peer is told that there is room again.

_GIT_PROTOCOL_MOST = 256


@implementer(ITransport, IConsumer, IPushProducer)
class Channel(SSHChannel):
    """
    Reading begins with `connect`; what was read before waits.  The protocol
    is told of the end of input by ``readConnectionLost``, of the end of
    everything by ``connectionLost``.  `finish` tells the peer the exit code.
    """

    name = b"session"

    def __init__(
        self,
        conn: Connection,
        clock: IReactorTime,
        stall: float,
        window: int,
        packet: int,
        own_window: int = WINDOW,
    ) -> None:
        """
        ``window`` and ``packet`` are those of the peer.  ``stall`` seconds
        without a command end a channel, or without a byte taken one that is
        to be closed.
        """
        super().__init__(
            localWindow=own_window,
            localMaxPacket=PACKET,
            remoteWindow=window,
            remoteMaxPacket=min(packet, _LARGEST_PACKET),
            conn=conn,
        )
        self._log = said_by_conch
        self._connection = conn
        self._clock = clock
        self._stall = stall
        self.git_protocol = b""
        """What a client of git's asks for with GIT_PROTOCOL."""
        self.when_closed: Callable[[], None] = _nothing
        self._begun = False
        self._beginning: IDelayedCall | None = None
        self._protocol: IProtocol | None = None
        self._inbox = Inbox(own_window)
        self._grant_from = own_window // _GRANTS
        self._outbox = Outbox()
        self._reading = False
        self._delivery: IDelayedCall | None = None
        self._input_over = False
        self._end_told = False
        self._leaving = False
        self._result: tuple[bytes, bytes] | None = None
        self._patience: IDelayedCall | None = None

    @property
    def unsent(self) -> int:
        """Bytes that were written and that neither the peer nor the connection has taken."""
        return len(self._outbox)

    @property
    def waiting(self) -> int:
        """Bytes that have come and that nobody has taken."""
        return len(self._inbox)

    def channelOpen(self, specificData: bytes) -> None:
        """A channel is for a command, which should come soon."""
        self._beginning = self._clock.callLater(self._stall, self._connection.sendClose, self)

    # --- requests ------------------------------------------------------

    def requestReceived(self, requestType: bytes, data: bytes) -> bool:
        """One command, or one attempt at a shell, which is an empty command."""
        try:
            match requestType:
                case b"exec":
                    return self._begin(getNS(data)[0])
                case b"shell":
                    return self._begin(b"")
                case b"env":
                    return self._note(*getNS(data, 2)[:2])
        except struct.error:
            pass  # what cannot be read is not done
        return False

    def _begin(self, line: bytes) -> bool:
        if self._begun:
            return False
        self._begun = True
        self._forget_beginning()
        # In a turn of its own: the peer hears first that it is done.
        self._beginning = self._clock.callLater(0, self._connection.perform, self, line)
        return True

    def _note(self, name: bytes, value: bytes) -> bool:
        if name != b"GIT_PROTOCOL" or self._begun or len(value) > _GIT_PROTOCOL_MOST or b"\0" in value:
            return False
        self.git_protocol = value
        return True

    # --- reading -------------------------------------------------------

    def connect(self, protocol: IProtocol) -> None:
        """Give what comes to ``protocol``, and let it write."""
        self._protocol = protocol
        protocol.makeConnection(self)
        if self.localClosed:
            self._let_go(_because(main.CONNECTION_LOST))
        else:
            self.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        """From the peer, who keeps to the window; `deliver` follows."""
        if not self._leaving:
            self._inbox.add(data)

    def deliver(self) -> None:
        """Give the protocol what has come, unless it has asked to wait."""
        while self._inbox and self._reading and self._protocol is not None:
            self._protocol.dataReceived(self._inbox.take())
        self.grant()
        self._tell_end()

    def eofReceived(self) -> None:
        self._input_over = True

    def pauseProducing(self) -> None:
        self._reading = False

    def resumeProducing(self) -> None:
        """What waits is given in a turn of its own: nobody expects to be called from here."""
        if self._leaving:
            return
        self._reading = True
        if self._delivery is None and (self._inbox or self._input_over):
            self._delivery = self._clock.callLater(0, self._deliver_later)
        else:
            self.grant()

    def _deliver_later(self) -> None:
        self._delivery = None
        self.deliver()

    def stopProducing(self) -> None:
        self.loseConnection()

    def grant(self) -> None:
        """The peer may send as many bytes as have been taken, and no more while nobody takes any."""
        taken = self._inbox.taken(self.localWindowLeft)
        if taken >= self._grant_from and self._reading and not self._input_over:
            self._connection.adjustWindow(self, taken)  # type: ignore[no-untyped-call]

    def _tell_end(self) -> None:
        if not self._input_over or self._end_told or self._inbox or not self._reading:
            return
        if self._protocol is not None:
            self._end_told = True
            if IHalfCloseableProtocol.providedBy(self._protocol):
                IHalfCloseableProtocol(self._protocol).readConnectionLost()
            else:
                self.loseConnection()

    # --- writing -------------------------------------------------------

    def write(self, data: bytes) -> None:
        if not self._leaving:
            self._put(STDOUT, data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def write_error(self, data: bytes) -> None:
        """On the peer's standard error; also when the protocol has hung up, until `finish`."""
        if self._result is None:
            self._put(STDERR, data)

    def _put(self, kind: int, data: bytes) -> None:
        if self.localClosed or not data:
            return
        sent = 0 if self._outbox else self._send(kind, memoryview(data))
        if sent < len(data):
            self._connection.wait(self)
            self._outbox.add(kind, memoryview(data)[sent:])

    def _send(self, kind: int, view: memoryview) -> int:
        """As much as the peer's window and the connection have room for; how much that was."""
        sent = 0
        while sent < len(view) and self.remoteWindowLeft and not self._connection.held:
            piece = view[sent : sent + min(self.remoteMaxPacket, self.remoteWindowLeft)]
            self.remoteWindowLeft -= len(piece)
            sent += len(piece)
            if kind == STDOUT:
                self._connection.sendData(self, piece)
            else:
                self._connection.sendExtendedData(self, kind, bytes(piece))  # type: ignore[no-untyped-call]
        return sent

    def addWindowBytes(self, data: int) -> None:
        """The peer has taken some."""
        self.remoteWindowLeft += data
        self.flush()

    def flush(self) -> None:
        """Send what can be sent; then whoever waits for room goes on."""
        if not self._outbox.empty_into(self._send):
            return
        if self._patience is not None:
            self._patience.reset(self._stall)
        if not self._outbox:
            self._sent_all()
        self._outbox.resume_producer()

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        if self.localClosed or self._leaving:
            producer.stopProducing()
        else:
            self._outbox.register(producer, streaming)

    def unregisterProducer(self) -> None:
        self._outbox.unregister()

    # --- the end -------------------------------------------------------

    def loseConnection(self) -> None:
        """The protocol has said all: it is let go of when that has been sent."""
        if not self._leaving:
            self._leaving = True
            self._forget_input()
            self._sent_all()

    def abortConnection(self) -> None:
        """Let go of the protocol now; what it said is dropped."""
        self._leaving = True
        self._forget_input()
        self._outbox.clear()
        self._let_go(_because(error.ConnectionAborted()))

    def finish(self, code: int) -> None:
        """The command ends with ``code``, when all that was written has been sent."""
        self._finish(b"exit-status", struct.pack(">L", code & 0xFFFFFFFF))

    def finish_by_signal(self, name: str, core: bool = False) -> None:
        """The command was ended by a signal, as in ``TERM``."""
        self._finish(b"exit-signal", NS(name) + bytes((core,)) + NS(b"") + NS(b""))

    def _finish(self, request: bytes, data: bytes) -> None:
        if self._result is None and not self.localClosed:
            self._result = (request, data)
            self._leaving = True
            self._forget_input()
            self._patience = self._clock.callLater(self._stall, self._give_up)
            self._sent_all()

    def _give_up(self) -> None:
        """The peer takes nothing, so it will not hear the end of it."""
        self._patience = None
        self._outbox.clear()
        self._sent_all()

    def _sent_all(self) -> None:
        if self._outbox or not self._leaving:
            return
        self._let_go(_because(main.CONNECTION_DONE))
        if self._result is not None and not self.localClosed:
            self._forget_patience()
            self._connection.sendEOF(self)  # type: ignore[no-untyped-call]
            self._connection.sendRequest(self, *self._result)  # type: ignore[no-untyped-call]
            self._connection.sendClose(self)  # type: ignore[no-untyped-call]

    def closeReceived(self) -> None:
        """The peer wants no more of it."""
        self._end()
        self._connection.sendClose(self)  # type: ignore[no-untyped-call]

    def closed(self) -> None:
        """Both sides are done, or the connection is."""
        self._end()
        when_closed, self.when_closed = self.when_closed, _nothing
        when_closed()

    def _end(self) -> None:
        self._leaving = True
        self._forget_beginning()
        self._forget_input()
        self._outbox.clear()
        self._forget_patience()
        self._let_go(_because(main.CONNECTION_LOST))

    def _let_go(self, reason: Failure) -> None:
        protocol, self._protocol = self._protocol, None
        producer = self._outbox.unregister()
        if producer is not None:
            producer.stopProducing()
        if protocol is not None:
            protocol.connectionLost(reason)

    def _forget_beginning(self) -> None:
        if self._beginning is not None and self._beginning.active():
            self._beginning.cancel()

    def _forget_input(self) -> None:
        self._reading = False
        self._inbox.clear()
        if self._delivery is not None:
            self._delivery.cancel()
            self._delivery = None

    def _forget_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


def _nothing() -> None:
    pass


def _because(reason: BaseException) -> Failure:
    return Failure(reason)  # type: ignore[no-untyped-call]
