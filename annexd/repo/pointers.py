"""
Unlocked files: which keys have files in the work tree that must follow them?

An unlocked file is in git as a pointer to its key; in the work tree it is the
content, or the pointer while there is no content.  Whoever adds or removes
content has to see to these files, which git-annex does and we do not.  So all
that is asked here is whether there are any (`Pointers.unlocked_files`).

git-annex keeps a list of every file, locked or unlocked, of every key in
``annex/keysdb/db``.  It brings the list up to date with git's index when it
next needs it, and remembers the index that it was made of as the tree
``refs/annex/last-index``.  The list counts only while the index is that tree.

All of this blocks, and may be used from several threads.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import mmap
import os
import re
import sqlite3
import stat
import threading
from typing import Collection, Iterable, Iterator

from annexd.protocol.keys import Key
from annexd.repo.disks import is_local
from annexd.repo.keysdb import KeysDatabase, is_noted
from annexd.repo.verify import Checker, Means, has_equivalents

_LAST_INDEX = b"refs/annex/last-index"
_ENTRIES = slice(8, 12)
_CHUNK = 1 << 20
_MOST_INTACT = 10_000


class Unlocked(enum.Enum):
    """Are there unlocked files of a key?"""

    NONE = enum.auto()
    SOME = enum.auto()
    UNKNOWN = enum.auto()
    """
    git-annex has not looked at the index as it is now.  It does when it is
    next told to add or remove content.  On a host without git-annex it may be
    taken for `NONE`: the index has no pointer to the key in the form that
    git-annex writes, although it accepts others.
    """


class Pointers:
    """The unlocked files of the repository in ``git_dir``, whose files are in ``work_tree``."""

    def __init__(self, git_dir: bytes, work_tree: bytes) -> None:
        self._git_dir = git_dir
        self._work_tree = work_tree
        self._index = os.path.join(git_dir, b"index")
        self._database = KeysDatabase(os.path.join(git_dir, b"annex", b"keysdb", b"db"))
        self._mutex = threading.Lock()
        self._seen: tuple[object, bytes] | None = None
        """The newest index, and the tree, for which `_is_reconciled` was true."""
        self._intact: set[tuple[Key, object]] = set()
        """What `unmodified` has found to be so."""

    def unlocked_files(self, key: Key) -> Unlocked:
        """Ask at the last moment before content of ``key`` is moved or removed."""
        with self._mutex:
            if _is_empty(self._index):
                return Unlocked.NONE
            if self._is_reconciled():
                with contextlib.suppress(sqlite3.Error):
                    return self._by_database(key)
            return self._by_index(key)

    def unmodified(self, key: Key, path: bytes, status: os.stat_result) -> bool:
        """
        Does the object at ``path``, whose ``status`` is given, hold the content of ``key``?

        With ``annex.thin`` an object may be the same file as one in the work
        tree, which the user may have changed.  Where git-annex has not noted
        that it is as it was, it is read whole.
        """
        seen = key, _identity(status)
        with self._mutex:
            if seen in self._intact:
                return True
            noted: Collection[str] = ()
            with contextlib.suppress(sqlite3.Error):
                noted = self._database.inode_caches(key)
        intact = is_noted(status, noted) or _is_content(key, path, status)
        if intact:
            with self._mutex:
                if len(self._intact) >= _MOST_INTACT:
                    self._intact.clear()
                self._intact.add(seen)
        return intact

    def noted(self, key: Key) -> bool:
        """Has git-annex noted which file holds the content?  Its fsck complains when another one does."""
        with self._mutex, contextlib.suppress(sqlite3.Error):
            return bool(self._database.inode_caches(key))
        return False

    def files(self, key: Key) -> list[bytes]:
        """Those that git-annex has noted for ``key``, locked and unlocked; some may have changed since."""
        with self._mutex, contextlib.suppress(sqlite3.Error):
            return self._database.files(key)
        return []

    def close(self) -> None:
        with self._mutex:
            self._database.close()

    def _is_reconciled(self) -> bool:
        """Has the database been made of the index as it is now?"""
        tree = self._last_index()
        if not tree or not self._database.exists():
            return False
        seen = _identity(os.stat(self._index)), tree
        if seen != self._seen:
            if not _has_root_tree(self._index, tree):
                return False
            self._seen = seen
        return True

    def _by_database(self, key: Key) -> Unlocked:
        for file in self._database.files(key):
            try:
                status = os.lstat(os.path.join(self._work_tree, file))
            except (FileNotFoundError, NotADirectoryError):
                continue
            # A symlink, that is, a locked file, finds the content by itself.
            if not stat.S_ISLNK(status.st_mode):
                return Unlocked.SOME
        return Unlocked.NONE

    def _by_index(self, key: Key) -> Unlocked:
        pointer = b"/annex/objects/" + key.file_name + b"\n"
        blob = b"blob %d\0" % len(pointer) + pointer
        names = hashlib.sha1(blob).digest(), hashlib.sha256(blob).digest()
        for path in (self._index, *self._shared_indexes()):
            with _mapped(path) as data:
                if any(data.find(name) >= 0 for name in names):
                    return Unlocked.SOME
        return Unlocked.UNKNOWN

    def _shared_indexes(self) -> Iterable[bytes]:
        """What ``core.splitIndex`` takes out of the index."""
        return (
            os.path.join(self._git_dir, name)
            for name in os.listdir(self._git_dir)
            if name.startswith(b"sharedindex.")
        )

    def _last_index(self) -> bytes:
        """The object name that `_LAST_INDEX` stands for; empty when there is none."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            with open(os.path.join(self._git_dir, _LAST_INDEX), "rb") as file:
                return bytes.fromhex(file.read(100).decode("ascii"))
        with contextlib.suppress(FileNotFoundError, ValueError):
            with open(os.path.join(self._git_dir, b"packed-refs"), "rb") as file:
                for line in file:
                    if line.rstrip(b"\n").endswith(b" " + _LAST_INDEX):
                        return bytes.fromhex(line.split(b" ")[0].decode("ascii"))
        return b""


def _is_content(key: Key, path: bytes, status: os.stat_result) -> bool:
    """Read it all; `False` also when it changes meanwhile, or when only git-annex could tell."""
    checker = Checker(key)
    if checker.means is Means.GIT_ANNEX or has_equivalents(key):
        return False
    before = _identity(status)
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        while _identity(os.fstat(file.fileno())) == before:
            chunk = file.read(_CHUNK)
            if not chunk:
                return checker.matches(status.st_size)
            checker.digest.update(chunk)
    return False


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """Changes when a file is written to, or is another one."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@contextlib.contextmanager
def _mapped(path: bytes) -> Iterator[mmap.mmap | bytes]:
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            yield b""
            return
        if not is_local(path):
            yield file.read()  # in memory that is mapped, a disk that hangs would hold up all threads
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def _is_empty(index: bytes) -> bool:
    """Is no file in git's index?"""
    try:
        with open(index, "rb") as file:
            header = file.read(16)
    except FileNotFoundError:
        return True
    # With core.splitIndex the files are elsewhere; the part that says so comes next then.
    return header[_ENTRIES] == bytes(4) and header[12:16] != b"link"


def _has_root_tree(index: bytes, tree: bytes) -> bool:
    """
    Does git's index say that it is the same as ``tree``?

    It keeps the names of the trees that it would make (extension ``TREE``,
    ``git help format-index``), the root first, as far as nothing has changed
    below them since.
    """
    wanted = re.compile(rb"TREE.{4}\0[0-9]+ [0-9]+\n" + re.escape(tree), re.DOTALL)
    with _mapped(index) as data:
        # It comes near the end, and the same letters may come anywhere.
        place = data.rfind(b"TREE")
        while place >= 0:
            if wanted.match(data, place):
                return True
            place = data.rfind(b"TREE", 0, place)
    return False
