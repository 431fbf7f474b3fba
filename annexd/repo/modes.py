"""
File modes as git-annex sets them, by ``core.sharedRepository``.

`None` leaves all to the umask; ``"group"`` and ``"all"`` add bits; a number is
the exact mode of files.  Before version 10 the objects of shared repositories
stay writable, because there a lock on the object itself needs that.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Callable, Literal, TypeVar, Union

from annexd.repo.locks import FileLock

T = TypeVar("T")

Shared = Union[None, int, Literal["group", "all"]]

_WRITE = 0o222
_GROUP_SHARED = 0o660
_TRIES = 20
_WITHOUT_WRITABLE_OBJECTS = 10  # from this repository version on, locks are files of their own


class Modes:
    """How files and directories of one repository are made, protected and opened up; for threads."""

    def __init__(self, shared: Shared, version: int = _WITHOUT_WRITABLE_OBJECTS) -> None:
        self.shared = shared
        self._writable_objects = shared is not None and version < _WITHOUT_WRITABLE_OBJECTS

    # --- what is made --------------------------------------------------------

    def make_dirs(self, path: bytes, below: bytes) -> list[bytes]:
        """
        Make ``path`` and what is missing between it and ``below``.

        Returns what was made, from the top down.  A missing ``below`` is an
        error: the repository itself has gone.
        """
        try:
            os.mkdir(path)
        except FileExistsError:
            return []
        except FileNotFoundError:
            parent = os.path.dirname(path)
            if not parent.startswith(below + b"/"):
                raise
            return self.make_dirs(parent, below) + self.make_dirs(path, below)
        if self.shared is not None:
            change_mode(path, self.directory)
        return [path]

    def in_made_dir(self, path: bytes, below: bytes, act: Callable[[], T]) -> T:
        """Do something in a directory that is almost always there, and made when it is not."""
        try:
            return act()
        except FileNotFoundError:
            self.make_dirs(path, below)
            return act()

    def created_file(self, file: int | bytes) -> None:
        """Give a file that was just made the bits that others need."""
        if self.shared is not None:
            change_mode(file, self.file)

    def created_lock(self, held: FileLock) -> FileLock:
        """The same for the file of a lock, which is given back when that cannot be done."""
        try:
            self.created_file(held.fd)
        except BaseException:
            held.release()
            raise
        return held

    def file(self, mode: int) -> int:
        if isinstance(self.shared, int):
            return self.shared
        if self.shared is None:
            return mode
        return mode | (_GROUP_SHARED if self.shared == "group" else 0o664)

    def directory(self, mode: int) -> int:
        if isinstance(self.shared, int):
            return _directory_for(self.shared)
        if self.shared is None:
            return mode
        return mode | (0o770 if self.shared == "group" else 0o775)

    # --- objects and the directories that they are in ------------------------

    def freeze_object(self, file: int | bytes) -> None:
        change_mode(file, self.frozen_object)

    def thaw_object(self, file: int | bytes) -> None:
        change_mode(file, lambda mode: self.file(mode | stat.S_IWUSR))

    def freeze_dir(self, path: bytes) -> None:
        change_mode(path, self.frozen_dir)

    def thaw_dir(self, path: bytes) -> None:
        change_mode(path, lambda mode: self.directory(mode | stat.S_IWUSR))

    def in_opened_dir(self, path: bytes, act: Callable[[], T], *, leave_open: bool = False) -> T:
        """
        Do something that changes the directory of an object.

        It may be open, or we be root.  If not, it is opened up, but whoever
        else works there freezes it again when he is done, maybe while we are
        in it, so it may take a few tries.  With ``leave_open`` more is to
        follow, and freezing it is the caller's.
        """
        with contextlib.suppress(PermissionError):
            return act()
        for tries_left in reversed(range(_TRIES)):
            self.thaw_dir(path)
            try:
                return act()
            except PermissionError:
                if not tries_left:
                    raise
            finally:
                if not leave_open:
                    with contextlib.suppress(FileNotFoundError):
                        self.freeze_dir(path)
        raise AssertionError

    def frozen_object(self, mode: int) -> int:
        if isinstance(self.shared, int):
            return self.shared if self._writable_objects else self.shared & ~_WRITE
        if self.shared is None:
            return mode & ~_WRITE | stat.S_IRUSR
        if self._writable_objects:
            return mode | (_GROUP_SHARED if self.shared == "group" else 0o666)
        return mode & ~_WRITE | (0o440 if self.shared == "group" else 0o444)

    def frozen_dir(self, mode: int) -> int:
        if isinstance(self.shared, int):
            return _directory_for(self.shared) & ~stat.S_IWUSR
        if self.shared is None:
            return mode & ~_WRITE
        return mode | _GROUP_SHARED


def change_mode(file: int | bytes, wanted: Callable[[int], int]) -> None:
    """
    Set the mode that ``wanted`` makes of the present one.

    Only the owner can do that, and in a shared repository that may be
    somebody else: whether the mode will do shows when the file is used.
    """
    mode = stat.S_IMODE(os.stat(file).st_mode)
    new = wanted(mode)
    if new != mode:
        with contextlib.suppress(PermissionError):
            os.chmod(file, new)


def _directory_for(mode: int) -> int:
    """Who may read files may also enter directories, and what a group shares stays the group's."""
    for readable, enter in ((0o400, 0o100), (0o040, 0o010), (0o004, 0o001)):
        if mode & readable:
            mode |= enter
    return mode | (stat.S_ISGID if mode & 0o044 else 0)
