"""Bytes between a file and a plain descriptor, moved by the kernel where it can."""

from __future__ import annotations

import fcntl
import os
import select
import stat
import time

from annexd.errors import PeerLost
from annexd.flow.body import FileSink
from annexd.flow.loan import Turn, is_over, wait_a_little

_STEP = 1 << 20
_PIPE_SIZE = 1 << 20
"""What an unprivileged process may ask for by default (fs.pipe-max-size)."""


class Descriptor:
    """A `Lent` descriptor of its own, non-blocking; it is closed when given back."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        _widen(fd)

    def receive(self, sink: FileSink, most: int) -> tuple[int, Turn]:
        buffer = memoryview(bytearray(min(_STEP, most)))
        began = time.monotonic()
        moved = 0
        while moved < most:
            try:
                count = os.readv(self.fd, [buffer[: most - moved]])
            except BlockingIOError:
                if not wait_a_little(self.fd, select.POLLIN, moved, began):
                    return moved, Turn.IDLE
                continue
            except ConnectionError:
                return moved, Turn.ENDED
            if count == 0:
                return moved, Turn.ENDED
            sink.write_blocking(buffer[:count])
            moved += count
            if is_over(began):
                break
        return moved, Turn.OVER

    def send(self, file: int, offset: int, most: int) -> tuple[int, Turn]:
        through_pipe = stat.S_ISFIFO(os.fstat(self.fd).st_mode)
        began = time.monotonic()
        moved = 0
        while moved < most:
            step = min(_STEP, most - moved)
            try:
                if through_pipe:
                    count = os.splice(
                        file, self.fd, step, offset_src=offset + moved, flags=os.SPLICE_F_NONBLOCK
                    )
                else:
                    count = os.sendfile(self.fd, file, offset + moved, step)
            except BlockingIOError:
                if not wait_a_little(self.fd, select.POLLOUT, moved, began):
                    return moved, Turn.IDLE
                continue
            except ConnectionError as error:
                raise PeerLost("the connection was closed") from error
            except OSError:
                if moved:
                    break  # what has gone is to be counted; the next turn fails at once
                raise
            if count == 0:
                return moved, Turn.ENDED
            moved += count
            if is_over(began):
                break
        return moved, Turn.OVER

    def give_back(self) -> None:
        os.close(self.fd)


def _widen(fd: int) -> None:
    """Let a pipe hold more, where the user's allowance of pipe memory permits."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
    except OSError:
        pass  # not a pipe, or no allowance left: it works as it is, only slower
