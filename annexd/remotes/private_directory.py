"""A directory for the control sockets of ssh, and what becomes of those whose daemon was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress

from annexd.errors import ConfigError

_PREFIX = "annexd-ssh-"
_NEW_S = 60.0


class PrivateDirectory:
    """
    A new one under ``parent``, or where the system has such things; locked for
    as long as its daemon lives, so that the next one knows what may go.
    Raises `ConfigError`.
    """

    def __init__(self, parent: str | None = None) -> None:
        parent = parent or tempfile.gettempdir()
        try:
            _sweep(parent)
            self.path = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        except OSError as error:
            raise ConfigError(f"{parent}: {error.strerror}") from None

    def close(self) -> None:
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def _sweep(parent: str) -> None:
    for entry in os.scandir(parent):
        if entry.name.startswith(_PREFIX):
            with suppress(OSError):
                _remove_if_left(entry.path)


def _remove_if_left(path: str) -> None:
    """One that is as good as new may not be locked yet."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if status.st_uid == os.geteuid() and (os.listdir(fd) or status.st_mtime < time.time() - _NEW_S):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path)
    finally:
        os.close(fd)
