"""
Bytes between two plain file descriptors, moved by the kernel or by a thread
without holding up the reactor.

A thread is borrowed only while bytes move fast: when the peer has none to
give, or no room to take any, the turn ends and the reactor waits, unless the
peer has been so fast until then that it will surely go on at once.  So neither
a stalled peer nor many slow ones keep the threads from those who could use
them, and a turn's length bounds how long a thread is out of reach.
"""

from __future__ import annotations

import enum
import fcntl
import os
import select
import stat
import time
from typing import Protocol, runtime_checkable

from annexd.flow.body import FileSink

_PATIENCE_S = 0.02
"""How long a turn waits for a fast peer before it gives the thread back: more than a scheduling hiccup."""

_FAST = 32e6
"""
Bytes per second, on average since the turn began, that are worth waiting for.
Slower peers have all the threads to themselves only when they move as many
times this together, which is more than they get through most networks.
"""

_TURN_S = 0.5
_STEP = 1 << 20
_PIPE_SIZE = 1 << 20
"""What an unprivileged process may ask for by default (fs.pipe-max-size)."""


class Plain(Protocol):
    """One direction of a connection, on loan: a non-blocking descriptor of its own."""

    fd: int
    leftover: bytes
    """What the transport had read already when it was borrowed."""

    async def ready(self) -> None:
        """Wait until bytes can move, behind what was written before.  Raises `PeerLost`."""

    def check(self) -> None:
        """Raise `PeerLost` when the connection has been given up."""

    def give_back(self) -> None: ...


@runtime_checkable
class Lender(Protocol):
    """The end of a connection that may lend its descriptor."""

    def borrow(self) -> Plain | None:
        """`None`: the bytes need the transport's help, as with TLS."""


class Turn(enum.Enum):
    OVER = enum.auto()
    """Time to let others have the thread."""

    IDLE = enum.auto()
    """The peer gives or takes nothing at the moment."""

    ENDED = enum.auto()
    """The peer, or the file, has come to its end."""


def receive(fd: int, sink: FileSink, most: int) -> tuple[int, Turn]:
    """Read up to ``most`` bytes from ``fd`` into a file; for a thread."""
    buffer = memoryview(bytearray(min(_STEP, most)))
    end = time.monotonic() + _TURN_S
    moved = 0
    while moved < most:
        try:
            count = os.readv(fd, [buffer[: most - moved]])
        except BlockingIOError:
            if not _wait(fd, select.POLLIN, moved, end):
                return moved, Turn.IDLE
            continue
        if count == 0:
            return moved, Turn.ENDED
        sink.write_blocking(buffer[:count])
        moved += count
        if time.monotonic() > end:
            break
    return moved, Turn.OVER


def send(file: int, offset: int, most: int, fd: int) -> tuple[int, Turn]:
    """Send up to ``most`` bytes of ``file`` from ``offset`` on; for a thread."""
    through_pipe = stat.S_ISFIFO(os.fstat(fd).st_mode)
    end = time.monotonic() + _TURN_S
    moved = 0
    while moved < most:
        step = min(_STEP, most - moved)
        try:
            if through_pipe:
                count = os.splice(file, fd, step, offset_src=offset + moved, flags=os.SPLICE_F_NONBLOCK)
            else:
                count = os.sendfile(fd, file, offset + moved, step)
        except BlockingIOError:
            if not _wait(fd, select.POLLOUT, moved, end):
                return moved, Turn.IDLE
            continue
        if count == 0:
            return moved, Turn.ENDED
        moved += count
        if time.monotonic() > end:
            break
    return moved, Turn.OVER


def widen(fd: int) -> None:
    """Let a pipe hold more, where the user's allowance of pipe memory permits."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
    except OSError:
        pass  # not a pipe, or no allowance left: it works as it is, only slower


def _wait(fd: int, event: int, moved: int, end: float) -> bool:
    """``moved`` bytes went by in this turn, which is to be over at ``end``."""
    began = end - _TURN_S
    patience = min(_PATIENCE_S, moved / _FAST - (time.monotonic() - began))
    if patience <= 0:
        return False
    poll = select.poll()
    poll.register(fd, event)
    return bool(poll.poll(patience * 1000))
