"""
Content in its place: find it, put it there, take it away.

All of this blocks, mostly for moments; it is for threads, but for
`Objects.find` on a local disk.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from typing import Callable

from annexd.errors import Refused
from annexd.protocol.keys import Key
from annexd.repo.layout import Layout
from annexd.repo.modes import Modes

_TRIES = 10
_WRITE_BITS = 0o222

_NO_NAMELESS_FILES = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL})
_NO_NAME_GIVEN = frozenset({errno.EPERM, errno.ENOENT, errno.EOPNOTSUPP, errno.ENOSYS})

Found = tuple[bytes, os.stat_result]


class Objects:
    """The objects of one repository.  With ``fsync``, what `place` has placed survives a power failure."""

    def __init__(self, layout: Layout, modes: Modes, fsync: bool) -> None:
        self._layout = layout
        self._modes = modes
        self._fsync = fsync

    def find(self, key: Key) -> Found | None:
        """
        Where the content is, and its status.

        Raises `OSError` for anything but absence, and `Refused` when the
        repository itself is not there any more: an unmounted disk must not
        look like one without content.
        """
        for path in self._layout.object_paths(key):
            try:
                return path, os.stat(path)
            except FileNotFoundError:
                continue
            except OSError:
                if not key.storable:
                    return None
                raise
            except ValueError:  # a NUL
                return None
        self.check_repository()
        return None

    def check_repository(self) -> None:
        try:
            os.stat(self._layout.annex)
        except FileNotFoundError:
            raise Refused("the repository has vanished") from None

    def place(self, key: Key, source: bytes, fd: int) -> None:
        """
        Move the complete file ``source``, open as ``fd``, to where the
        content of ``key`` belongs.  If there is some by now, that is as good.
        When this fails it may be in its place already.
        """
        if self.find(key) is not None:
            discard(source)
            return
        if self._fsync:
            os.fsync(fd)
        path = self._layout.object_path(key)
        directory = os.path.dirname(path)

        def act() -> None:
            os.rename(source, path)
            self._modes.freeze_object(fd)
            self._modes.freeze_dir(directory)

        made = self._in_its_dir(directory, act)
        if self._fsync:
            sync_dirs({directory, *map(os.path.dirname, made)})

    def open_nameless(self) -> int:
        """
        A new file for `place_nameless`, of which nothing is left when it is
        closed before that.  Negative where the file system has no such files.
        """
        tmp_dir, how = self._layout.tmp_dir, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
        try:
            return self._modes.in_made_dir(tmp_dir, self._layout.annex, lambda: os.open(tmp_dir, how, 0o666))
        except OSError as error:
            if error.errno in _NO_NAMELESS_FILES:
                return -1
            raise

    def place_nameless(self, key: Key, fd: int) -> bool:
        """
        Give the complete file that is open as ``fd`` its name, that of the
        content of ``key``.  If there is some by now, that is as good.  When
        this fails it may have that name already; `False` when it cannot have any.
        """
        path = self._layout.object_path(key)
        directory = os.path.dirname(path)
        if self._fsync:
            os.fsync(fd)
        self._modes.freeze_object(fd)

        def act() -> None:
            # Python follows links only where a directory is given, though that is not looked at here.
            with contextlib.suppress(FileExistsError):
                os.link(b"/proc/self/fd/%d" % fd, path, src_dir_fd=fd, follow_symlinks=True)
            self._modes.freeze_dir(directory)

        try:
            made = self._in_its_dir(directory, act)
        except OSError as error:
            if error.errno in _NO_NAME_GIVEN:
                return False
            raise
        if self._fsync:
            os.fsync(fd)  # with its name, without which some file systems would not recover it
            sync_dirs({directory, *map(os.path.dirname, made)})
        return True

    def _in_its_dir(self, directory: bytes, act: Callable[[], None]) -> list[bytes]:
        """Do what puts an object into its directory; the directories that had to be made."""
        made: list[bytes] = []
        for tries_left in reversed(range(_TRIES)):
            # Whoever removes another object may remove our directories while they are empty.
            made += self._modes.make_dirs(directory, self._layout.annex)
            try:
                self._modes.in_opened_dir(directory, act)
                break
            except FileNotFoundError:
                if not tries_left:
                    raise
        return made

    def take_back(self, path: bytes, target: bytes) -> None:
        """Make a partial file out of an object, by whoever has claimed it."""

        def act() -> None:
            os.rename(path, target)
            self._modes.thaw_object(target)

        self._modes.in_opened_dir(os.path.dirname(path), act)

    def remove(self, path: bytes) -> None:
        """Unlink an object, by whoever has claimed it."""
        with contextlib.suppress(FileNotFoundError):
            self._modes.in_opened_dir(os.path.dirname(path), lambda: os.unlink(path))


def may_have_changed(status: os.stat_result) -> bool:
    """
    Can somebody change an object as he edits a file of the work tree?  That
    is so where annex.thin made the two one file.
    """
    return status.st_nlink > 1 and bool(status.st_mode & _WRITE_BITS)


def discard(path: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def sync_dirs(paths: Iterable[bytes]) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
