"""
Bytes both ways between a TLS connection and a pair of file descriptors, at the pace of the slower side.

There is one buffer for each way, filled again when it is empty: who does not
take what it gets is sent no more, and who sends it is made to wait.

How it ends.  For most servers a TLS connection is closed as a whole, so the
peer is not told at once that the source has ended: what it still answers is
delivered, and when that falls quiet the connection is closed.  Where the sink
is gone, too, it is closed as soon as all is sent.  When the peer closes, what
it sent is delivered, and that is the end.
"""

from __future__ import annotations

import _socket
import _ssl
import posix
from select import POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, poll
from stat import S_ISFIFO, S_ISSOCK
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from annexd.client.tls import Stream

_STEP = 256 * 1024
_TERMINAL_STEP = 4096  # what a terminal that is ready takes without waiting for long
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ of Linux
_TICK_MILLISECONDS = 1000
_BROKEN = POLLERR | POLLHUP | POLLNVAL

# Seconds in which no byte moves, once one side has ended: when all that came is
# sent on, and when there are bytes that nobody takes.  They are counted in
# waits, so that time in which the process was stopped is none.
QUIET_SECONDS = 10
STUCK_SECONDS = 60
_FAREWELL_SECONDS = 2


class Cut(Exception):
    """The peer went away without saying that this is the end."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class _Buffer:
    """Bytes on their way: ``start`` to ``end`` of ``space``."""

    __slots__ = ("end", "space", "start")

    def __init__(self) -> None:
        self.space = memoryview(bytearray(_STEP))
        self.start = self.end = 0

    def __len__(self) -> int:
        return self.end - self.start

    def waiting(self, most: int = _STEP) -> memoryview:
        return self.space[self.start : min(self.end, self.start + most)]

    def took(self, count: int) -> None:
        self.start += count
        if self.start == self.end:
            self.clear()

    def clear(self) -> None:
        self.start = self.end = 0


class Relay:
    """
    ``source`` and ``sink`` are descriptors.  Where both are one socket that
    serves the peer, it is ``server``: it hears of the peer's end, and what it
    answers to that is still sent.
    """

    def __init__(
        self,
        stream: Stream,
        connection: _socket.socket,
        source: int,
        sink: int,
        server: _socket.socket | None = None,
    ) -> None:
        self._stream = stream
        self._connection = connection
        self._source, self._sink, self._server = source, sink, server
        self._up, self._down = _Buffer(), _Buffer()
        self._source_open = self._sink_open = True
        self._hears = self._tells = True  # the peer has not ended; it can be sent to
        self._failure: OSError | None = None
        self._source_ready = False
        self._reads_when = self._writes_when = 0  # what the socket is awaited to be ready for
        self._quiet_seconds = 0
        self._sink_step, self._blocked = _prepare(source, sink)
        self._sink_ready = self._sink_step == _STEP

    def run(self) -> None:
        """Until one side has ended; raises :class:`Cut` where the peer's end was none and matters."""
        try:
            while not self._is_over():
                self._wait()
                self._read_source()
                self._write_peer()
                self._read_peer()
                self._write_sink()
        finally:
            if self._blocked:  # others may have this pipe, too
                posix.set_blocking(self._sink, True)
        if self._failure is not None and self._sink_open:
            raise Cut(self._failure)
        self._take_leave()

    def _is_over(self) -> bool:
        sent, delivered = not len(self._up), not len(self._down)
        if not self._hears and delivered and not (self._server and self._tells):
            return True
        if not self._source_open and sent and (self._server or not self._sink_open):
            return True
        limit = QUIET_SECONDS if sent and delivered else STUCK_SECONDS
        return self._is_ending() and self._quiet_seconds >= limit

    def _is_ending(self) -> bool:
        return not (self._source_open and self._sink_open and self._hears and self._tells)

    def _read_source(self) -> None:
        if not self._source_ready or len(self._up):
            return
        self._source_ready = False
        try:
            self._up.end = posix.readv(self._source, [self._up.space])
        except BlockingIOError:
            return
        except OSError:  # a socket that was reset
            self._up.end = 0
        self._source_open = self._up.end > 0
        self._quiet_seconds = 0

    def _write_peer(self) -> None:
        buffer = self._up
        while len(buffer) and self._tells and not self._writes_when:
            try:
                buffer.took(self._stream.write(buffer.waiting()))
                self._quiet_seconds = 0
            except _ssl.SSLWantWriteError:
                self._writes_when = POLLOUT
            except _ssl.SSLWantReadError:
                self._writes_when = POLLIN
            except OSError:  # reading finds out why
                self._tells = False
        if not self._tells:
            buffer.clear()

    def _read_peer(self) -> None:
        buffer = self._down
        if len(buffer):
            return
        while self._hears and not self._reads_when and buffer.end < _STEP:
            try:
                count = self._stream.read(_STEP - buffer.end, buffer.space[buffer.end :])
                buffer.end += count
                self._quiet_seconds = 0
                self._hears = count > 0
            except _ssl.SSLWantReadError:
                self._reads_when = POLLIN
            except _ssl.SSLWantWriteError:
                self._reads_when = POLLOUT
            except _ssl.SSLZeroReturnError:
                self._hears = False
            except OSError as error:
                self._failure = error
                self._hears = False

    def _write_sink(self) -> None:
        buffer = self._down
        while len(buffer) and self._sink_open and self._sink_ready:
            try:
                buffer.took(posix.write(self._sink, buffer.waiting(self._sink_step)))
                self._quiet_seconds = 0
                self._sink_ready = self._sink_step == _STEP
            except BlockingIOError:
                self._sink_ready = False
            except OSError:
                self._sink_open = False
        if not self._sink_open:
            buffer.clear()
        if self._server and not self._hears and self._sink_open and not len(buffer):
            self._sink_open = False
            _end(self._server)

    def _wait(self) -> None:
        """Until something can be done that could not, or a second has gone by and that may be the end."""
        asked = poll()
        for fd, mask in self._awaited().items():
            asked.register(fd, mask)
        if self._hears and not len(self._down) and not self._reads_when:
            events = asked.poll(0)  # there may be more to read at once, but the source has its turn
        else:
            events = asked.poll(_TICK_MILLISECONDS if self._is_ending() else None)
            self._quiet_seconds += not events
        for fd, event in events:
            self._note(fd, event)

    def _awaited(self) -> dict[int, int]:
        masks: dict[int, int] = {}
        if self._source_open and self._tells and not len(self._up):
            masks[self._source] = POLLIN
        if self._sink_open and (len(self._down) or not self._server):  # a mask of 0 tells if it breaks
            masks[self._sink] = masks.get(self._sink, 0) | (POLLOUT if len(self._down) else 0)
        for_socket = self._reads_when if self._hears and not len(self._down) else 0
        if len(self._up) and self._tells:
            for_socket |= self._writes_when
        if for_socket:
            masks[self._connection.fileno()] = for_socket
        return masks

    def _note(self, fd: int, event: int) -> None:
        if fd == self._connection.fileno():
            if event & (self._reads_when | _BROKEN):
                self._reads_when = 0
            if event & (self._writes_when | _BROKEN):
                self._writes_when = 0
            return
        if fd == self._source and event & (POLLIN | _BROKEN):
            self._source_ready = True
        if fd == self._sink:
            self._sink_ready = self._sink_ready or bool(event & POLLOUT)
            self._sink_open = self._sink_open and not event & _BROKEN

    def _take_leave(self) -> None:
        """
        Say that this is the end, and wait a moment for the peer's: what is on
        its way to it could be lost if the connection were closed with something unread.
        """
        try:
            self._stream.shutdown()
        except OSError:
            pass  # it would like to hear the same from the peer
        if not self._hears:
            return
        _end(self._connection)
        asked = poll()
        asked.register(self._connection.fileno(), POLLIN)
        end = monotonic() + _FAREWELL_SECONDS
        try:
            while (left := end - monotonic()) > 0 and asked.poll(left * 1000):
                if not self._connection.recv_into(self._down.space):
                    return
        except OSError:
            pass


def _end(connection: _socket.socket) -> None:
    try:
        connection.shutdown(_socket.SHUT_WR)
    except OSError:
        pass  # it has ended already


def _prepare(source: int, sink: int) -> tuple[int, bool]:
    """
    Pipes are made larger, and the sink such that writing does not wait, where
    that can be; how much may be written at once, and whether it did wait before.
    """
    for fd in (source, sink):
        if S_ISFIFO(posix.fstat(fd).st_mode):
            _enlarge(fd)
    mode = posix.fstat(sink).st_mode
    if S_ISFIFO(mode) or S_ISSOCK(mode):
        did_wait = posix.get_blocking(sink)
        posix.set_blocking(sink, False)
        return _STEP, did_wait
    return (_TERMINAL_STEP if posix.isatty(sink) else _STEP), False


def _enlarge(pipe: int) -> None:
    from fcntl import fcntl

    try:
        fcntl(pipe, _SET_PIPE_SIZE, _STEP)
    except OSError:
        pass  # no Linux, or the user has many
