"""
A Twisted transport over a TLS connection that has been established.

OpenSSL reads and writes the socket itself, which takes half the time of
passing everything through buffers in between, and the connection can be lent
to a thread (`annexd.transports.tls_loan`).  What is written meanwhile waits
until it is given back: OpenSSL must not be called from two threads at once.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from typing import Any, Callable, Iterable

from twisted.internet import error, main
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IDelayedCall,
    IHalfCloseableProtocol,
    IProducer,
    IProtocol,
    IPushProducer,
    IReadWriteDescriptor,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from annexd.transports.parting import part
from annexd.transports.secured import TlsConnection
from annexd.transports.throttle import Throttle
from annexd.transports.tls_loan import TlsLoan
from annexd.transports.tls_output import TlsOutput

_RECORD = 16 * 1024
"""What a record carries at most; less is a peer that has said all for now."""

_READ_SIZE = 64 * 1024

_PARTING_S = 10.0
"""For the last bytes of a connection that is being closed."""

Callback = Callable[[], None]


@implementer(IAddress)
class _TlsAddress:
    """Who the peer is, is known to whoever accepted it."""


@implementer(ITransport, IConsumer, IPushProducer, IReadWriteDescriptor)
class TlsTransport:
    """
    Owns ``connection``, which does not block and has shaken hands.  The
    protocol is told of the peer's close_notify by ``readConnectionLost``, of
    the end of everything by ``connectionLost``.
    """

    def __init__(self, reactor: Any, connection: TlsConnection) -> None:
        self._reactor = reactor
        self._connection = connection
        self._protocol: IProtocol | None = None
        self._output = TlsOutput(connection, self._failed)
        self._throttle = Throttle()
        self._loan: TlsLoan | None = None
        self._was_lent = False
        self._on_ready: Callback | None = None
        self._reading = False
        self._reading_over = False
        self._end_told = False
        self._read_waits_to_write = False
        self._watched = (False, False)
        self._parting: IDelayedCall | None = None
        self.connected = True
        self.disconnecting = False

    def connect(self, protocol: IProtocol) -> None:
        self._protocol = protocol
        protocol.makeConnection(self)
        self.resumeProducing()

    # --- the reactor's side --------------------------------------------

    def fileno(self) -> int:
        return self._connection.fileno()

    def logPrefix(self) -> str:
        return "tls"

    def doRead(self) -> None:
        if not self._ours:
            return
        if self._output.waits_to_read:
            self._flush()
        if self._loan is None:
            if self._reading:
                self._read()
        elif not self._loan.waits_to_write:
            self._tell_ready()
        self._watch()

    def doWrite(self) -> None:
        if not self._ours:
            return
        if self._read_waits_to_write:
            self._read_waits_to_write = False
            if self._reading:
                self._read()
        self._flush()
        if not self._output or not self._may_flush:
            if self._loan is None or self._loan.waits_to_write:
                self._tell_ready()
            if self._ours and not self._output:
                self._sent_all()
        self._watch()

    def connectionLost(self, reason: Failure) -> None:
        self.lost(reason)

    @property
    def _ours(self) -> bool:
        """No thread can be using the connection: it is not lent, or the borrower waits."""
        return self.connected and (self._loan is None or self._on_ready is not None)

    @property
    def _may_flush(self) -> bool:
        return self._ours and (self._loan is None or not self._loan.unfinished)

    def _watch(self) -> None:
        """Have the reactor tell what is waited for, and nothing else."""
        reading = writing = False
        if self._ours:
            reading = self._output.waits_to_read
            writing = bool(self._output) and self._may_flush and not reading
            if self._loan is not None:
                reading = reading or not self._loan.waits_to_write
                writing = writing or self._loan.waits_to_write
            else:
                reading = reading or self._reading
                writing = writing or self._read_waits_to_write or self._on_ready is not None
                writing = writing or (self.disconnecting and not self._output)
        was_reading, was_writing = self._watched
        self._watched = (reading, writing)
        if reading != was_reading:
            (self._reactor.addReader if reading else self._reactor.removeReader)(self)
        if writing != was_writing:
            (self._reactor.addWriter if writing else self._reactor.removeWriter)(self)

    # --- reading -------------------------------------------------------

    def _read(self) -> None:
        pieces: list[bytes] = []
        ended = failed = False
        try:
            while len(pieces) * _RECORD < _READ_SIZE:
                piece = self._connection.recv(_READ_SIZE)
                if not piece:
                    ended = True
                    break
                pieces.append(piece)
                if len(piece) < _RECORD:
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLWantWriteError:
            self._read_waits_to_write = True
        except OSError:
            failed = True
        if pieces:
            assert self._protocol is not None
            self._protocol.dataReceived(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if failed:
            self.lost(_because(main.CONNECTION_LOST))
        elif ended:
            self._reading_over = True
            self._reading = False
            if self._loan is None:
                self._tell_end()

    def _tell_end(self) -> None:
        if self.connected and not self._end_told:
            self._end_told = True
            IHalfCloseableProtocol(self._protocol).readConnectionLost()

    def pauseProducing(self) -> None:
        self._reading = False
        self._watch()

    def resumeProducing(self) -> None:
        if self._reading_over:
            self._tell_end()
        elif self.connected and not self.disconnecting:
            self._reading = True
            self._watch()
            if self._was_lent:
                # The borrower may have left a part of a record, or the end, inside OpenSSL.
                self._was_lent = False
                self._reactor.callLater(0, self.doRead)

    def stopProducing(self) -> None:
        self.loseConnection()

    # --- writing -------------------------------------------------------

    def write(self, data: bytes) -> None:
        if not self.connected or self.disconnecting or not data:
            return
        if self._may_flush:
            self._output.send(data)
        else:
            self._output.keep(data)
        if self._output:
            self._throttle.unsent(len(self._output))
            self._watch()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def _flush(self) -> None:
        if self._may_flush:
            self._output.flush()

    def _failed(self) -> None:
        # Told in a turn of the reactor's own: the writer is in the middle of something.
        self._reactor.callLater(0, self.lost, _because(main.CONNECTION_LOST))

    def _sent_all(self) -> None:
        if self.disconnecting:
            self._say_goodbye()
        else:
            self._throttle.drained()

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self._throttle.register(producer, streaming, self.connected)

    def unregisterProducer(self) -> None:
        self._throttle.unregister()

    # --- lending -------------------------------------------------------

    def lend_input(self) -> TlsLoan:
        return self._lend(waits_to_write=False)

    def lend_output(self) -> TlsLoan:
        return self._lend(waits_to_write=True)

    def _lend(self, waits_to_write: bool) -> TlsLoan:
        assert self._loan is None, "lent already"
        self._loan = TlsLoan(self._connection, waits_to_write, self._given_back)
        self._watch()
        return self._loan

    def call_when_readable(self, callback: Callback) -> None:
        """Once, when what was lent can go on."""
        self._call_when_ready(callback, self.connected and not self._reading_over)

    def call_when_writable(self, callback: Callback) -> None:
        """Once, when all that was written is gone and there is room for more."""
        self._call_when_ready(callback, self.connected)

    def _call_when_ready(self, callback: Callback, later: bool) -> None:
        if later:
            self._on_ready = callback
            self._watch()
        else:
            self._reactor.callLater(0, callback)

    def _tell_ready(self) -> None:
        callback, self._on_ready = self._on_ready, None
        if callback is not None:
            self._watch()
            callback()

    def _given_back(self) -> None:
        loan, self._loan = self._loan, None
        self._on_ready = None
        self._was_lent = True
        if not self.connected:
            self._connection.close()
        elif loan is not None and loan.unfinished:
            self.abortConnection()
        else:
            self._flush()
            if not self._output:
                self._sent_all()
            self._watch()

    # --- the end -------------------------------------------------------

    def loseConnection(self, reason: Failure | None = None) -> None:
        """Close when what was written has gone."""
        if not self.connected or self.disconnecting:
            return
        self.disconnecting = True
        self._reading = False
        self._parting = self._reactor.callLater(_PARTING_S, self.abortConnection)
        if not self._output and self._ours:
            self._say_goodbye()
        self._watch()

    def _say_goodbye(self) -> None:
        """The peer is told that this is the end; its own word for that is not waited for."""
        try:
            self._connection.unwrap()
        except ssl.SSLWantWriteError:
            return
        except (OSError, ValueError):
            pass
        self._end(_because(main.CONNECTION_DONE), orderly=not self._reading_over)

    def abortConnection(self) -> None:
        """Close now."""
        self.lost(_because(error.ConnectionAborted()))

    def lost(self, reason: Failure) -> None:
        self._end(reason, orderly=False)

    def _end(self, reason: Failure, orderly: bool) -> None:
        if not self.connected:
            return
        self.connected = False
        self._watch()
        if self._parting is not None and self._parting.active():
            self._parting.cancel()
        self._output.clear()
        self._let_go(orderly)
        callback, self._on_ready = self._on_ready, None
        self._throttle.stop()
        assert self._protocol is not None
        self._protocol.connectionLost(reason)
        if callback is not None:
            callback()

    def _let_go(self, orderly: bool) -> None:
        if self._loan is not None:
            # Of the socket alone: a thread may be inside OpenSSL, and must find out by itself.
            with suppress(OSError):
                self._connection.cut_off()
        elif orderly:
            part(self._reactor, socket.socket(fileno=self._connection.detach()))
        else:
            self._connection.close()

    def getPeer(self) -> _TlsAddress:
        return _TlsAddress()

    getHost = getPeer


def _because(reason: BaseException) -> Failure:
    return Failure(reason)  # type: ignore[no-untyped-call]
