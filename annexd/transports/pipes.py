"""
A Twisted transport over two plain descriptors: what sshd gives a command as
its standard input and output, or any socket twice.

Unlike `twisted.internet.stdio` it writes at once where it can, which spares
every reply a trip through the reactor, and it lends its descriptors, so that
bodies can be moved by the kernel (`annexd.flow.kernel`).
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Callable, Iterable

from twisted.internet import error, main
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableProtocol,
    IProducer,
    IProtocol,
    IPushProducer,
    IReactorFDSet,
    IReadDescriptor,
    ITransport,
    IWriteDescriptor,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from annexd.errors import Refused
from annexd.flow.kernel import Descriptor
from annexd.transports.lookout import Lookout
from annexd.transports.throttle import Throttle

_READ_SIZE = 64 * 1024

Callback = Callable[[], None]


def check_pollable(fd: int) -> None:
    """Raises `Refused` for what no reactor can wait for, such as a regular file."""
    mode = os.fstat(fd).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)):
        raise Refused("standard input and output must be pipes, sockets or a terminal")


@implementer(IAddress)
class _PipeAddress:
    """Pipes have two ends and no names."""


class _End:
    """One of the two descriptors, as the reactor sees it."""

    def __init__(self, transport: PipeTransport, fd: int) -> None:
        self._transport = transport
        self.fd = fd

    def fileno(self) -> int:
        return self.fd

    def logPrefix(self) -> str:
        return "pipe"


@implementer(IReadDescriptor)
class _Inlet(_End):
    def doRead(self) -> Exception | None:  # type: ignore[override]
        return self._transport.do_read()

    def connectionLost(self, reason: Failure) -> None:
        self._transport.read_ended()

    readConnectionLost = connectionLost


@implementer(IWriteDescriptor)
class _Outlet(_End):
    def doWrite(self) -> Exception | None:  # type: ignore[override]
        return self._transport.do_write()

    def connectionLost(self, reason: Failure) -> None:
        self._transport.lost(reason)

    writeConnectionLost = connectionLost


@implementer(ITransport, IConsumer, IPushProducer)
class PipeTransport:
    """
    Owns ``read_fd`` and ``write_fd`` from the moment it is made, and makes
    them non-blocking.  The protocol is told of the end of input by
    ``readConnectionLost``, of the end of everything by ``connectionLost``.
    With a ``lookout`` requests that follow each other closely are read in one
    turn of the reactor.
    """

    def __init__(
        self, reactor: IReactorFDSet, read_fd: int, write_fd: int, lookout: Lookout | None = None
    ) -> None:
        self._reactor = reactor
        self._lookout = lookout
        self._inlet = _Inlet(self, read_fd)
        self._outlet = _Outlet(self, write_fd)
        self._protocol: IProtocol | None = None
        self._unsent = bytearray()
        self._throttle = Throttle()
        self._on_readable: Callback | None = None
        self._on_writable: Callback | None = None
        self._reading = False
        self._reading_over = False
        self._answered = False
        self._end_told = False
        self.connected = True
        self.disconnecting = False
        os.set_blocking(read_fd, False)
        os.set_blocking(write_fd, False)

    def connect(self, protocol: IProtocol) -> None:
        self._protocol = protocol
        protocol.makeConnection(self)
        self.resumeProducing()

    # --- reading -------------------------------------------------------

    def do_read(self) -> Exception | None:
        if self._on_readable is not None:
            self._reactor.removeReader(self._inlet)
            callback, self._on_readable = self._on_readable, None
            callback()
            return None
        if self._lookout is None:
            return self._read()
        self._lookout.begin(self)
        return self._read_on(self._lookout)

    def _read_on(self, lookout: Lookout) -> Exception | None:
        """Until nothing more is in sight."""
        quiet = True
        while True:
            self._answered = False
            why = self._read()
            # After an answer to content, which needs none itself, comes the next request.
            if why is not None or (quiet and not self._answered):
                return why
            quiet = not self._answered
            if not self._reading or self._unsent or not lookout.sees_more(self._inlet.fd):
                return None

    def _read(self) -> Exception | None:
        try:
            data = os.read(self._inlet.fd, _READ_SIZE)
        except BlockingIOError:
            return None
        except OSError:
            return main.CONNECTION_LOST
        if not data:
            return main.CONNECTION_DONE
        assert self._protocol is not None
        self._protocol.dataReceived(data)
        return None

    def read_ended(self) -> None:
        """No more input; output may still go."""
        if self._reading_over:
            return
        self._reading_over = True
        self._reading = False
        self._reactor.removeReader(self._inlet)
        callback, self._on_readable = self._on_readable, None
        if callback is not None:
            callback()  # the borrower reads the end itself; the protocol is told when it gives back
        else:
            self._tell_end()

    def _tell_end(self) -> None:
        if self.connected and not self._end_told:
            self._end_told = True
            IHalfCloseableProtocol(self._protocol).readConnectionLost()

    def pauseProducing(self) -> None:
        self._reading = False
        if self.connected:
            self._reactor.removeReader(self._inlet)

    def resumeProducing(self) -> None:
        if self._reading_over:
            self._tell_end()
        elif self.connected:
            self._reading = True
            self._reactor.addReader(self._inlet)

    def stopProducing(self) -> None:
        self.loseConnection()

    # --- writing -------------------------------------------------------

    def write(self, data: bytes) -> None:
        if not self.connected or self.disconnecting:
            return
        self._answered = True
        if not self._unsent:
            sent = self._send(data)
            if sent == len(data):
                return
            data = data[sent:]
            self._reactor.addWriter(self._outlet)
        self._unsent += data
        self._throttle.unsent(len(self._unsent))

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def _send(self, data: bytes | bytearray) -> int:
        try:
            return os.write(self._outlet.fd, data)
        except BlockingIOError:
            return 0
        except OSError:
            # Told in a turn of the reactor's own: the writer is in the middle of something.
            self._reactor.callLater(0, self.lost, _because(main.CONNECTION_LOST))  # type: ignore[attr-defined]
            return len(data)

    def do_write(self) -> Exception | None:
        if self._unsent:
            del self._unsent[: self._send(self._unsent)]
            if self._unsent:
                return None
        self._reactor.removeWriter(self._outlet)
        callback, self._on_writable = self._on_writable, None
        if callback is not None:
            callback()
        if self.disconnecting:
            self.lost(_because(main.CONNECTION_DONE))
        else:
            self._throttle.drained()
        return None

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self._throttle.register(producer, streaming, self.connected)

    def unregisterProducer(self) -> None:
        self._throttle.unregister()

    # --- lending -------------------------------------------------------

    def lend_input(self) -> Descriptor:
        """Stop reading; a duplicate of the descriptor."""
        self.pauseProducing()
        return Descriptor(os.dup(self._inlet.fd))

    def lend_output(self) -> Descriptor:
        """A duplicate of the descriptor."""
        return Descriptor(os.dup(self._outlet.fd))

    def call_when_readable(self, callback: Callback) -> None:
        """Once, when the borrowed input has bytes or has ended."""
        if self._reading_over or not self.connected:
            callback()
        else:
            self._on_readable = callback
            self._reactor.addReader(self._inlet)

    def call_when_writable(self, callback: Callback) -> None:
        """Once, when all that was written is gone and there is room for more."""
        if not self.connected:
            callback()
        else:
            self._on_writable = callback
            self._reactor.addWriter(self._outlet)

    # --- the end -------------------------------------------------------

    def loseConnection(self, reason: Failure | None = None) -> None:
        """Close when what was written has gone."""
        if not self.connected or self.disconnecting:
            return
        self.disconnecting = True
        self._reading = False
        self._reactor.removeReader(self._inlet)
        if not self._unsent:
            self.lost(reason or _because(main.CONNECTION_DONE))

    def abortConnection(self) -> None:
        """Close now."""
        if self.connected:
            self.lost(_because(error.ConnectionAborted()))

    def lost(self, reason: Failure) -> None:
        if not self.connected:
            return
        self.connected = self._reading = False
        self._reactor.removeReader(self._inlet)
        self._reactor.removeWriter(self._outlet)
        self._unsent.clear()
        for fd in {self._inlet.fd, self._outlet.fd}:
            _close(fd)
        self._inlet.fd = self._outlet.fd = -1
        callbacks = (self._on_readable, self._on_writable)
        self._on_readable = self._on_writable = None
        self._throttle.stop()
        assert self._protocol is not None
        self._protocol.connectionLost(reason)
        for callback in callbacks:
            if callback is not None:
                callback()

    def getPeer(self) -> _PipeAddress:
        return _PipeAddress()

    getHost = getPeer


class OwnPipes(PipeTransport):
    """To something that was made for the protocol: ``parted`` is called once, when the two are done."""

    def __init__(self, reactor: IReactorFDSet, read_fd: int, write_fd: int, parted: Callback) -> None:
        super().__init__(reactor, read_fd, write_fd)
        self._parted: Callback | None = parted

    def lost(self, reason: Failure) -> None:
        super().lost(reason)
        parted, self._parted = self._parted, None
        if parted is not None:
            parted()


def new_pipes(count: int) -> list[tuple[int, int]]:
    """The ends to read from and to write to, of all or none; raises `OSError`."""
    made: list[tuple[int, int]] = []
    try:
        while len(made) < count:
            made.append(os.pipe())
    except OSError:
        close_all(fd for ends in made for fd in ends)
        raise
    return made


def close_all(fds: Iterable[int]) -> None:
    for fd in fds:
        _close(fd)


def _because(reason: BaseException) -> Failure:
    return Failure(reason)  # type: ignore[no-untyped-call]


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError as problem:
        if problem.errno == errno.EBADF:
            raise
