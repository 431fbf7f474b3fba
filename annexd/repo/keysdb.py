"""
git-annex's database ``annex/keysdb/db``: the files of each key, and the inodes
of files that have been seen to hold its content.
"""

from __future__ import annotations

import os
import sqlite3
from typing import Collection
from urllib.parse import quote_from_bytes

from annexd.protocol.keys import Key

_BUSY_S = 10.0  # for the moments in which git-annex has the database to itself
_NS_PER_S = 10**9


class KeysDatabase:
    """
    git-annex's database of files and inodes, read only.  The connection is
    kept, and made anew when the file is another one.  All queries raise
    `sqlite3.Error` when they cannot be answered.
    """

    def __init__(self, path: bytes) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._inode: object = None

    def exists(self) -> bool:
        return os.path.exists(self._path)

    def files(self, key: Key) -> list[bytes]:
        """The files of ``key`` in the work tree, from its top, locked ones included."""
        rows = self._connected().execute("SELECT file FROM associated WHERE key = ?", (key.raw,))
        return [file if isinstance(file, bytes) else os.fsencode(file) for (file,) in rows.fetchall()]

    def inode_caches(self, key: Key) -> list[str]:
        """``INODE SIZE SECONDS FRACTION`` of files that have been seen to hold the content of ``key``."""
        if not self.exists():
            return []
        rows = self._connected().execute("SELECT inodecache FROM content WHERE key = ?", (key.raw,))
        return [noted for (noted,) in rows.fetchall()]

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self) -> sqlite3.Connection:
        """
        Not read as "immutable", which would miss what git-annex has written
        to the log beside the database only.
        """
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            self.close()
            raise sqlite3.OperationalError("there is no database") from None
        inode = status.st_dev, status.st_ino
        if self._connection is None or inode != self._inode:
            self.close()
            self._connection = _connect(self._path)
            self._inode = inode
        return self._connection


def _connect(path: bytes) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote_from_bytes(path)}?mode=ro",
        uri=True,
        timeout=_BUSY_S,
        check_same_thread=False,
        isolation_level=None,
    )
    try:
        connection.execute("PRAGMA cache_size = -64")  # KiB; there may be thousands of repositories
        keys = "SELECT type FROM pragma_table_info(?) WHERE name = 'key'"
        for table in ("associated", "content"):
            # Very old versions had another form of keys.
            if connection.execute(keys, (table,)).fetchall() != [("BLOB",)]:
                raise sqlite3.DatabaseError("the database is of an unknown form")
    except BaseException:
        connection.close()
        raise
    return connection


def is_noted(status: os.stat_result, noted: Collection[str]) -> bool:
    """Is a file of this ``status`` among those in ``noted``?"""
    seconds, ns = divmod(abs(status.st_mtime_ns), _NS_PER_S)
    sign = "-" if status.st_mtime_ns <= -_NS_PER_S else ""
    start = f"{status.st_ino} {status.st_size} {sign}{seconds} "
    # Where the file system gave no fraction of a second, git-annex takes any for it.
    return start + f"{ns:09}".rstrip("0") in noted or start in noted
