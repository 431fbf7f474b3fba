"""
What becomes of git's lock on the git-annex branch when we are killed with it.

git asks its users to remove such a lock: nobody can tell whose it is.  Here it
can be told.  To which commit the branch is about to be moved is written down
before, while the journal is locked, which whoever moves the branch does,
git-annex, too; only pushes come without.  So whoever has the journal locked
and finds that the note is still there knows that its writer is no more, and
that a lock that says the same, or nothing yet, was made right after the note,
and stays, was his.  All others are left alone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Callable, NamedTuple

from twisted.logger import Logger

_log = Logger()

_STAYS_S = 1.0  # a push has an empty lock for a moment only
_RIGHT_AFTER_S = 1.0


class Claim:
    """
    The note is at ``path``; ``lock`` is git's own.  ``made`` gives a file that
    was just made the bits that others need.  To be used while the journal is
    locked.
    """

    def __init__(
        self, path: bytes, lock: bytes, made: Callable[[int], None], sleep: Callable[[float], None]
    ) -> None:
        self._path = path
        self._lock = lock
        self._made = made
        self._sleep = sleep

    @contextlib.contextmanager
    def on(self, commit: bytes) -> Iterator[None]:
        """While the branch is moved to ``commit``.  Raises `OSError` where nothing can be written."""
        self._clear()
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            self._made(fd)
            os.write(fd, commit)
            yield
        finally:
            os.close(fd)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)

    def _clear(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self._is_left():
                os.unlink(self._lock)
                # From a thread, as Twisted's own pools do.
                path = os.fsdecode(self._lock)
                _log.warn("{path} is removed: a process of annexd was killed with it", path=path)
            os.unlink(self._path)

    def _is_left(self) -> bool:
        """Whether the lock is of whoever has left the note; raises `FileNotFoundError` when there is none."""
        commit, noted = _read(self._path), _state(self._path)
        with contextlib.suppress(FileNotFoundError):
            found = _state(self._lock)
            if not commit or abs(found.changed_s - noted.changed_s) > _RIGHT_AFTER_S:
                return False  # the note was not finished, nothing had begun; or somebody came later
            if _read(self._lock).strip() in (b"", commit):
                self._sleep(_STAYS_S)
                return found == _state(self._lock)
        return False


class _State(NamedTuple):
    inode: int
    size: int
    changed_s: float


def _read(path: bytes) -> bytes:
    with open(path, "rb") as file:
        return file.read(100)


def _state(path: bytes) -> _State:
    status = os.stat(path)
    return _State(status.st_ino, status.st_size, status.st_mtime)
