"""
Locks on files that git-annex's own locks respect, and that respect them.

git-annex locks whole files with POSIX byte-range locks.  Those belong to a
process and vanish when it closes any descriptor of the file, which no daemon
with many sessions can live with; open-file-description locks conflict with
them in both directions and belong to one descriptor only.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time
from typing import Callable

from annexd.errors import Refused

_WHOLE_FILE = struct.Struct("hhqqi4x")  # struct flock: type, whence, start, length, pid
_FIRST_PAUSE_S = 0.001
_LONGEST_PAUSE_S = 0.05


class Locked(Refused):
    """Somebody else holds the lock."""


class FileLock:
    """A lock that is held until `release`; ``fd`` is the locked file."""

    def __init__(self, path: bytes, fd: int) -> None:
        self.path = path
        self.fd = fd

    def make_exclusive(self) -> bool:
        """
        If nobody else shares it, else it stays as it is.  ``fd`` must be open
        for writing.  When the system cannot say, the lock is given back.
        """
        try:
            return set_lock(self.fd, fcntl.F_WRLCK)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give the lock back; calling it again does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def try_lock(path: bytes, *, exclusive: bool, flags: int | None = None, mode: int = 0o666) -> FileLock | None:
    """
    Lock ``path`` now, or return `None` when another holds it.

    The file is made with ``mode`` (less the umask) when ``flags``, which
    default to ``O_RDWR | O_CREAT``, say so.  Holders may unlink lock files,
    so what was locked must still be what the path names; if not, the lock was
    of a file that nobody else will look at, and another is tried.
    """
    if flags is None:
        flags = os.O_RDWR | os.O_CREAT
    while True:
        fd = os.open(path, flags | os.O_CLOEXEC, mode)
        try:
            if not set_lock(fd, fcntl.F_WRLCK if exclusive else fcntl.F_RDLCK):
                os.close(fd)
                return None
            if _still_names(path, fd):
                return FileLock(path, fd)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def lock(
    path: bytes,
    *,
    exclusive: bool,
    seconds: float,
    flags: int | None = None,
    mode: int = 0o666,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> FileLock:
    """
    Lock ``path``, waiting for at most ``seconds``; for a thread.

    Raises `Locked` when the time is over.  The kernel's own wait has no
    deadline, hence the polling.
    """
    end = clock() + seconds
    pause = _FIRST_PAUSE_S
    while True:
        held = try_lock(path, exclusive=exclusive, flags=flags, mode=mode)
        if held is not None:
            return held
        if clock() >= end:
            raise Locked(f"{os.fsdecode(path)} has been locked by another process for {seconds:g} seconds")
        sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_S)


def set_lock(fd: int, kind: int) -> bool:
    """Put a lock of ``kind`` (``F_RDLCK``, ``F_WRLCK``, ``F_UNLCK``) on an open file, if it can be had."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _WHOLE_FILE.pack(kind, os.SEEK_SET, 0, 0, 0))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def _still_names(path: bytes, fd: int) -> bool:
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(fd))
