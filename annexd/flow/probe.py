"""A small question for a file system that may not answer: by that it is known whether it does."""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
from typing import Any, Callable, Protocol

_BLOCK = 4096


class Probe(Protocol):
    def __call__(self, point: bytes, file: bytes, answered: Callable[[], None]) -> None:
        """
        Ask the file system that is mounted at ``point`` what no cache can
        answer; ``file`` may be a file there.  ``answered`` is called in the
        reactor's thread, whenever that may be.
        """


class ThreadedProbe:
    """Each in a thread of its own, which nobody waits for."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def __call__(self, point: bytes, file: bytes, answered: Callable[[], None]) -> None:
        def ask() -> None:
            touch(point, file)
            self._reactor.callFromThread(answered)

        threading.Thread(target=ask, name="probe", daemon=True).start()


def touch(point: bytes, file: bytes) -> None:
    """
    Wait for an answer of a file system, whatever it is: by what servers are
    always asked for, and by reading from the disk what may be in memory.
    """
    with contextlib.suppress(OSError):
        os.statvfs(point)
    with contextlib.suppress(OSError):  # not there, or there is no such reading
        fd = os.open(file, os.O_RDONLY | os.O_DIRECT | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            with mmap.mmap(-1, _BLOCK) as page:  # it wants memory that begins at a page
                os.preadv(fd, [page], 0)
        finally:
            os.close(fd)
