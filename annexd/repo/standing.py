"""
Lock files that stay locked, and are given names as they are needed.

A lock on a transfer lasts for milliseconds.  Making a file for it takes some
file systems longer than all that is done under the lock, and so does every
file that is made after it was removed; giving a file one more name does not.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import threading

from annexd.repo.layout import Layout
from annexd.repo.locks import set_lock, try_lock
from annexd.repo.modes import Modes

_MOST_IDLE = 16
"""Of these, each an open file; more only while there are more transfers at once."""

_BEGIN, _END = b"annexd.", b".lck"
_SERIAL = itertools.count()


class Standing:
    """
    A lock file that nobody else can lock, under the name ``path``; it has one
    among git-annex's temporary files, too, which are emptied at times.
    """

    def __init__(self, owner: StandingLocks, path: bytes, fd: int) -> None:
        self.path = b""
        self.fd = fd
        self._owner = owner
        self._home = path

    def name(self, path: bytes) -> bool:
        """`False` where there is something of that name, or no more names can be given."""
        try:
            os.link(self._home, path)
        except OSError:
            return False
        self.path = path
        return True

    @property
    def is_home(self) -> bool:
        """Whether it has all its names back, and no other."""
        return os.fstat(self.fd).st_nlink == 1

    def release(self) -> None:
        """The name has been removed."""
        self._owner.take_back(self)

    def end(self) -> None:
        fd, self.fd = self.fd, -1
        if fd < 0:
            return
        with contextlib.suppress(OSError):
            os.unlink(self._home)
        os.close(fd)


class StandingLocks:
    """Those of one repository; for threads."""

    def __init__(self, layout: Layout, modes: Modes) -> None:
        self._layout = layout
        self._modes = modes
        self._mutex = threading.Lock()
        self._idle: list[Standing] = []
        self._closed = False

    def lend(self, path: bytes) -> Standing | None:
        """
        A lock on ``path``, which did not exist; `None` when it has to be got
        in another way, which also tells why.
        """
        with self._mutex:
            standing = self._idle.pop() if self._idle else None
        if standing is not None:
            if standing.name(path):
                return standing
            if standing.is_home:
                self.take_back(standing)
                return None
            standing.end()
        standing = self._make()
        if standing is None or standing.name(path):
            return standing
        self.take_back(standing)
        return None

    def _make(self) -> Standing | None:
        try:
            path, fd = self._modes.in_made_dir(self._layout.othertmp, self._layout.annex, self._create)
        except OSError:
            return None
        standing = Standing(self, path, fd)
        try:
            self._modes.created_file(fd)
            if set_lock(fd, fcntl.F_WRLCK):
                return standing
        except OSError:
            pass
        standing.end()
        return None

    def _create(self) -> tuple[bytes, int]:
        path = os.path.join(self._layout.othertmp, b"%b%d.%d%b" % (_BEGIN, os.getpid(), next(_SERIAL), _END))
        return path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def take_back(self, standing: Standing) -> None:
        """Whatever could not be removed of its names must not stay locked."""
        if standing.is_home:
            with self._mutex:
                if not self._closed and len(self._idle) < _MOST_IDLE:
                    self._idle.append(standing)
                    return
        standing.end()

    @property
    def any_idle(self) -> bool:
        return bool(self._idle)

    def tidy(self) -> None:
        """Nobody needs one at the moment."""
        with self._mutex:
            idle, self._idle = self._idle, []
        for standing in idle:
            standing.end()

    def close(self) -> None:
        """Those that are lent still come back, and are not kept then."""
        with self._mutex:
            self._closed = True
        self.tidy()


def clear(layout: Layout) -> None:
    """Remove those of processes that were killed.  Raises `OSError`."""
    try:
        names = os.listdir(layout.othertmp)
    except FileNotFoundError:
        return
    for name in names:
        if name.startswith(_BEGIN) and name.endswith(_END):
            path = os.path.join(layout.othertmp, name)
            with contextlib.suppress(OSError):  # gone meanwhile, or somebody else's
                held = try_lock(path, exclusive=True, flags=os.O_RDWR)
                if held is not None:
                    os.unlink(path)
                    held.release()
