"""Are there unlocked files of a key?"""

from __future__ import annotations

import hashlib
import os
import sqlite3

from twisted.trial.unittest import TestCase

from annexd.protocol.keys import Key
from annexd.repo.keysdb import is_noted
from annexd.repo.pointers import Pointers, Unlocked

KEY = Key.parse(b"SHA256E-s3--abc.a/b\xff")
OTHER = Key.parse(b"SHA256E-s3--def")
TREE = bytes(range(20))
OTHER_TREE = bytes(range(1, 21))
POINTER = b"/annex/objects/SHA256E-s3--abc.a%b\xff\n"


def index(*names: bytes, tree: bytes | None = None, extra: bytes = b"") -> bytes:
    """As much of a git index as counts here: how many entries, their objects, the root tree."""
    entries = b"".join(bytes(40) + name + b"\0\1x\0" for name in names)
    extension = b"" if tree is None else b"TREE" + bytes([0, 0, 0, 26]) + b"\0%d 0\n" % len(names) + tree
    return (
        b"DIRC"
        + bytes([0, 0, 0, 2])
        + len(names).to_bytes(4, "big")
        + entries
        + extra
        + extension
        + bytes(20)
    )


class PointersCase(TestCase):
    def setUp(self) -> None:
        self.work_tree = os.fsencode(os.path.abspath(self.mktemp()))
        self.git_dir = os.path.join(self.work_tree, b".git")
        self.keysdb = os.path.join(self.git_dir, b"annex", b"keysdb", b"db")
        os.makedirs(os.path.join(self.git_dir, b"refs", b"annex"))
        os.makedirs(os.path.dirname(self.keysdb))
        self.pointers = Pointers(self.git_dir, self.work_tree)
        self.addCleanup(self.pointers.close)

    def write(self, name: bytes, content: bytes) -> None:
        """By renaming, as git does."""
        path = os.path.join(self.git_dir, name)
        with open(path + b".lock", "wb") as file:
            file.write(content)
        os.rename(path + b".lock", path)

    def database(self, *rows: tuple[bytes, bytes], type: str = "BLOB", path: bytes | None = None) -> None:
        connection = sqlite3.connect(os.fsdecode(path or self.keysdb))
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"CREATE TABLE associated (id INTEGER PRIMARY KEY, key {type}, file BLOB)")
        connection.execute(f"CREATE TABLE content (id INTEGER PRIMARY KEY, key {type}, inodecache VARCHAR)")
        connection.executemany("INSERT INTO associated (key, file) VALUES (?, ?)", rows)
        connection.commit()
        connection.close()

    def reconciled(self, *rows: tuple[bytes, bytes]) -> None:
        self.write(b"index", index(bytes(20), tree=TREE))
        self.write(b"refs/annex/last-index", TREE.hex().encode() + b"\n")
        self.database(*rows)

    def file(self, name: bytes) -> None:
        path = os.path.join(self.work_tree, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb"):
            pass

    def expect(self, unlocked: Unlocked, key: Key = KEY) -> None:
        self.assertIs(self.pointers.unlocked_files(key), unlocked)


class UnlockedFilesTests(PointersCase):
    def test_no_files_at_all(self) -> None:
        self.expect(Unlocked.NONE)
        self.write(b"index", index())
        self.expect(Unlocked.NONE)

    def test_unlocked(self) -> None:
        self.reconciled((KEY.raw, b"gone"), (KEY.raw, b"d/f"))
        self.file(b"d/f")
        self.expect(Unlocked.SOME)
        self.expect(Unlocked.NONE, OTHER)

    def test_locked(self) -> None:
        self.reconciled(
            (KEY.raw, b"gone"), (KEY.raw, b"link"), (KEY.raw, b"link/below"), (KEY.raw, b"f/below")
        )
        os.symlink(b"nowhere", os.path.join(self.work_tree, b"link"))
        self.file(b"f")
        self.expect(Unlocked.NONE)

    def test_written_meanwhile(self) -> None:
        """Also what is in the log beside the database only."""
        self.reconciled()
        self.file(b"f")
        self.expect(Unlocked.NONE)
        connection = sqlite3.connect(os.fsdecode(self.keysdb))
        self.addCleanup(connection.close)
        connection.execute("INSERT INTO associated (key, file) VALUES (?, ?)", (KEY.raw, b"f"))
        connection.commit()
        self.expect(Unlocked.SOME)

    def test_other_database(self) -> None:
        self.reconciled()
        self.file(b"f")
        self.expect(Unlocked.NONE)
        self.database((KEY.raw, b"f"), path=self.keysdb + b"2")
        os.rename(self.keysdb + b"2", self.keysdb)
        self.expect(Unlocked.SOME)

    def test_index_changes(self) -> None:
        self.reconciled()
        self.expect(Unlocked.NONE)
        self.write(b"index", index(bytes(20)))
        self.expect(Unlocked.UNKNOWN)
        self.write(b"index", index(bytes(20), tree=OTHER_TREE))
        self.expect(Unlocked.UNKNOWN)
        self.write(b"refs/annex/last-index", OTHER_TREE.hex().encode())
        self.expect(Unlocked.NONE)

    def test_invalid_root(self) -> None:
        self.reconciled()
        self.write(b"index", index(bytes(20), extra=b"TREE\0\0\0\5\0-1 0\nTREE" + TREE))
        self.expect(Unlocked.UNKNOWN)

    def test_pointer_in_new_index(self) -> None:
        self.reconciled()
        for algorithm in (hashlib.sha1, hashlib.sha256):
            name = algorithm(b"blob %d\0" % len(POINTER) + POINTER).digest()
            self.write(b"index", index(bytes(20), name))
            self.expect(Unlocked.SOME)
            self.expect(Unlocked.UNKNOWN, OTHER)

    def test_split_index(self) -> None:
        name = hashlib.sha1(b"blob %d\0" % len(POINTER) + POINTER).digest()
        self.write(b"index", index(extra=b"link"))
        self.expect(Unlocked.UNKNOWN)
        self.write(b"sharedindex.00", index(name))
        self.expect(Unlocked.SOME)

    def test_packed_reference(self) -> None:
        self.reconciled()
        os.unlink(os.path.join(self.git_dir, b"refs", b"annex", b"last-index"))
        self.expect(Unlocked.UNKNOWN)
        self.write(b"packed-refs", b"# pack-refs\n%b refs/annex/last-index\n" % TREE.hex().encode())
        self.expect(Unlocked.NONE)

    def test_all_files(self) -> None:
        self.assertEqual(self.pointers.files(KEY), [])
        self.database((KEY.raw, b"dir/f"), (KEY.raw + b"x", b"another"), (KEY.raw, b"g"))
        self.assertEqual(self.pointers.files(KEY), [b"dir/f", b"g"])

    def test_no_database(self) -> None:
        self.reconciled()
        self.expect(Unlocked.NONE)
        os.unlink(self.keysdb)
        self.expect(Unlocked.UNKNOWN)
        with open(self.keysdb, "wb") as file:
            file.write(b"nonsense" * 1000)
        self.expect(Unlocked.UNKNOWN)

    def test_old_database(self) -> None:
        self.reconciled()
        os.unlink(self.keysdb)
        self.database(type="VARCHAR")
        self.expect(Unlocked.UNKNOWN)


class UnmodifiedTests(PointersCase):
    def setUp(self) -> None:
        super().setUp()
        self.object = os.path.join(self.work_tree, b"object")
        self.key = Key.parse(b"MD5-s3--900150983cd24fb0d6963f7d28e17f72")
        self.reconciled()

    def unmodified(self, content: bytes | None = None) -> bool:
        if content is not None:
            with open(self.object, "wb") as file:
                file.write(content)
        return self.pointers.unmodified(self.key, self.object, os.stat(self.object))

    def test_read(self) -> None:
        self.assertTrue(self.unmodified(b"abc"))
        self.assertFalse(self.unmodified(b"abd"))
        self.assertFalse(self.unmodified(b"abcd"))

    def test_not_read_again(self) -> None:
        self.assertTrue(self.unmodified(b"abc"))
        status = os.stat(self.object)
        os.unlink(self.object)
        self.assertTrue(self.pointers.unmodified(self.key, self.object, status))

    def test_noted(self) -> None:
        self.assertFalse(self.unmodified(b"abd"))
        status = os.stat(self.object)
        seconds, ns = divmod(status.st_mtime_ns, 10**9)
        noted = f"{status.st_ino} 3 {seconds} " + f"{ns:09}".rstrip("0")
        connection = sqlite3.connect(os.fsdecode(self.keysdb))
        connection.execute("INSERT INTO content (key, inodecache) VALUES (?, ?)", (self.key.raw, noted))
        connection.commit()
        connection.close()
        self.assertTrue(self.unmodified())

    def test_without_database(self) -> None:
        os.unlink(self.keysdb)
        self.assertTrue(self.unmodified(b"abc"))

    def test_only_git_annex_could_tell(self) -> None:
        self.key = Key.parse(b"SKEIN256-s3--x")
        self.assertFalse(self.unmodified(b"abc"))


class NotedTests(TestCase):
    def noted(self, ns: int, *texts: str) -> bool:
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(b"abc")
        os.utime(path, ns=(ns, ns))
        status = os.stat(path)
        return is_noted(status, [f"{status.st_ino} {text}" for text in texts])

    def test_fractions(self) -> None:
        for ns, text in (
            (1577836800_050000000, "1577836800 05"),
            (1577836800_100000000, "1577836800 1"),
            (1577836800_000000001, "1577836800 000000001"),
            (1577836800_000000000, "1577836800 "),
            (1577836800_000000005, "1577836800 "),
            (-9_750000000, "-9 75"),
        ):
            self.assertTrue(self.noted(ns, "3 1 1", "3 " + text), text)

    def test_different(self) -> None:
        for text in ("4 5 5", "3 6 5", "3 5 05", "3 5 50"):
            self.assertFalse(self.noted(5_500000000, text), text)
