"""
What becomes of git's lock on the git-annex branch when we are killed with it.

git asks its users to remove such a lock: nobody can tell whose it is.  Here it
can be told.  To which commit the branch is about to be moved is written down
before, while the journal is locked, which whoever moves the branch does,
git-annex, too; only pushes come without.  So whoever has the journal locked
and finds that the note is still there knows that its writer is no more, and
that a lock that says the same, or nothing yet, and stays, was his.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Callable

_STAYS_S = 1.0  # git has an empty lock, or one that says what we say, for a moment only


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
            left = _read(self._path)
            if self._stays(left):
                os.unlink(self._lock)
            os.unlink(self._path)

    def _stays(self, left: bytes) -> bool:
        with contextlib.suppress(FileNotFoundError):
            found = _state(self._lock)
            if _read(self._lock).strip() in (b"", left):
                self._sleep(_STAYS_S)
                return found == _state(self._lock)
        return False


def _read(path: bytes) -> bytes:
    with open(path, "rb") as file:
        return file.read(100)


def _state(path: bytes) -> tuple[int, int, int]:
    status = os.stat(path)
    return status.st_ino, status.st_size, status.st_mtime_ns
