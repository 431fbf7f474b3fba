"""Downloads from a repository on disk: what the contract of stores leaves open."""

from __future__ import annotations

import os
from typing import Any

from twisted.trial.unittest import TestCase

from annexd.errors import Absent, Refused
from annexd.protocol.keys import Key
from annexd.repo import outgoing
from annexd.repo.local import LocalStore, Repository
from annexd.repo.outgoing import LocalReader
from annexd.repo.transfer import BRIEF
from annexd.store import Caller
from tests.support.repositories import files_below, make_repository, open_repository
from tests.support.store_contract import CONTENT, get, key_of, put

KEY = key_of(CONTENT)
LARGE = b"0123456789" * (BRIEF // 10 + 1)
LARGE_KEY = key_of(LARGE)


class DownloadTests(TestCase):
    async def open(self, bare: bool = True) -> LocalStore:
        git_dir = make_repository(self.mktemp(), bare=bare)
        self.transfer = os.path.join(git_dir, b"annex", b"transfer")
        self.repository: Repository = await open_repository(git_dir)
        store = self.repository.store(Caller(b"peer", "somebody"))
        for content in (CONTENT, LARGE):
            await put(store, key_of(content), content)
        self.files = self.open_files()
        return store

    def open_files(self) -> int:
        return len(os.listdir("/proc/self/fd"))

    async def read(self, store: LocalStore, key: Key, offset: int = 0) -> LocalReader:
        reader = await store.read(key, offset, b"d/file")
        assert isinstance(reader, LocalReader)
        return reader

    async def test_what_is_opened_is_closed(self) -> None:
        store = await self.open()
        for is_local in (True, False):
            object.__setattr__(self.repository.parts, "is_local", is_local)
            for key in (KEY, LARGE_KEY):
                reader = await self.read(store, key)
                self.assertGreater(self.open_files(), self.files)
                await reader.close(True)
                await reader.close(True)
                self.assertEqual(self.open_files(), self.files)
                with self.assertRaises(Refused):
                    source = reader.source if is_local else reader.source._source  # type: ignore[attr-defined]
                    await source.workers.disk.run(len, b"")  # type: ignore[attr-defined]

    async def test_notes(self) -> None:
        """Of what takes long enough to be looked at."""
        store = await self.open()
        reader = await self.read(store, KEY)
        self.assertEqual(files_below(self.transfer), set())
        await reader.close(False)
        reader = await self.read(store, LARGE_KEY, offset=len(LARGE) - 10)
        self.assertEqual(files_below(self.transfer), set())
        await reader.close(True)
        name = LARGE_KEY.file_name
        for taken in (False, True):
            reader = await self.read(store, LARGE_KEY)
            self.assertIn(b"upload/peer/" + name, files_below(self.transfer))
            await reader.close(taken)
            left = set() if taken else {b"failed/upload/peer/" + name}
            self.assertEqual(files_below(self.transfer), left)

    async def test_no_notes_where_nothing_can_be_written(self) -> None:
        store = await self.open()

        def fail(*_: object) -> Any:
            raise OSError(30, "Read-only file system")

        self.patch(self.repository.parts.transfers, "_lock", fail)
        self.assertEqual(await get(store, LARGE_KEY), LARGE)

    async def test_removed_before_it_is_opened(self) -> None:
        store = await self.open()

        def late(parts: Any, key: Key, path: bytes, status: os.stat_result) -> bool:
            os.chmod(os.path.dirname(path), 0o755)
            os.unlink(path)
            return True

        self.patch(outgoing, "is_unmodified", late)
        for key in (KEY, LARGE_KEY):
            with self.assertRaises(Absent):
                await store.read(key, 0, b"")
        self.assertEqual(self.open_files(), self.files)
        self.assertEqual({name for name in files_below(self.transfer) if b"failed/" not in name}, set())

    async def test_removed_while_it_is_sent(self) -> None:
        store = await self.open()
        reader = await self.read(store, LARGE_KEY)
        await store.remove(LARGE_KEY)
        sent = b""
        while reader.source.remaining:
            sent += await reader.source.read(100_000)
        self.assertEqual(sent, LARGE)
        self.assertTrue(await reader.valid())
        await reader.close(True)

    async def test_modified_while_it_is_sent(self) -> None:
        store = await self.open(bare=False)
        for is_local in (True, False):
            object.__setattr__(self.repository.parts, "is_local", is_local)
            reader = await self.read(store, KEY)
            self.assertTrue(await reader.valid())
            path = self.repository.parts.layout.object_path(KEY)
            os.chmod(path, 0o644)
            with open(path, "ab") as file:
                file.write(b"more")
            self.assertFalse(await reader.valid())
            await reader.close(False)

    async def test_modified_before(self) -> None:
        store = await self.open(bare=False)
        path = self.repository.parts.layout.object_path(KEY)
        os.chmod(os.path.dirname(path), 0o755)
        os.link(path, path + b".file")
        os.chmod(path, 0o644)
        self.assertEqual(await get(store, KEY), CONTENT)
        with open(path, "ab") as file:
            file.write(b"more")
        with self.assertRaises(Absent):
            await store.read(KEY, 0, b"")

    async def test_a_read_that_fails(self) -> None:
        store = await self.open()

        def fail(*_: object) -> bytes:
            raise OSError(5, "Input/output error")

        self.patch(os, "pread", fail)
        for key in (KEY, LARGE_KEY):
            with self.assertRaises(Refused) as raised:
                await store.read(key, 0, b"")
            self.assertIn("input/output", str(raised.exception))
        self.assertEqual(self.open_files(), self.files)

    def in_memory(self, most: int = 1 << 20) -> None:
        """Of each file ``most`` bytes are in the page cache, whatever file system it is on."""

        def read(fd: int, length: int, offset: int) -> bytes:
            return os.pread(fd, min(length, most), offset)

        self.patch(outgoing, "open_cached", lambda path: os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        self.patch(outgoing, "read_cached", read)

    async def test_small_content_without_a_thread(self) -> None:
        store = await self.open()
        self.in_memory()
        self.patch(self.repository.workers.disk, "run", self.fail)
        for offset in (0, 1, len(CONTENT) - 1, len(CONTENT), len(CONTENT) + 1):
            self.assertEqual(store.read_now(KEY, offset, b"f"), CONTENT[offset:])
        self.assertIsNone(store.read_now(LARGE_KEY, 0, b"f"))
        self.assertEqual(store.read_now(LARGE_KEY, len(LARGE) - 9, b"f"), LARGE[-9:])
        for absent in b"WORM-s5--absent", b"WORM-s5--" + b"x" * 250, KEY.raw + b"\0":
            self.assertIsNone(store.read_now(Key.parse(absent), 0, b""))
        self.assertEqual(self.open_files(), self.files)

    async def test_in_either_place(self) -> None:
        store = await self.open()
        self.in_memory()
        first, second = self.repository.parts.layout.object_paths(KEY)
        os.makedirs(os.path.dirname(second))
        os.chmod(os.path.dirname(first), 0o755)
        os.rename(first, second)
        self.assertEqual(store.read_now(KEY, 0, b"f"), CONTENT)

    async def test_the_disk_is_not_waited_for(self) -> None:
        store = await self.open()
        self.in_memory(len(CONTENT) - 1)
        self.assertIsNone(store.read_now(KEY, 0, b"f"))

        def fail(*_: object) -> Any:
            raise BlockingIOError(11, "Resource temporarily unavailable")

        for name in "read_cached", "open_cached":
            self.patch(outgoing, name, fail)
            self.assertIsNone(store.read_now(KEY, 0, b"f"))
        self.assertEqual(self.open_files(), self.files)
        self.assertEqual(await get(store, KEY), CONTENT)

    async def test_a_disk_that_is_not_local_is_not_looked_at(self) -> None:
        store = await self.open()
        object.__setattr__(self.repository.parts, "is_local", False)
        self.patch(outgoing, "open_cached", self.fail)
        self.assertIsNone(store.read_now(KEY, 0, b"f"))

    async def test_what_needs_a_closer_look_is_for_threads(self) -> None:
        store = await self.open(bare=False)
        self.in_memory()
        self.assertEqual(store.read_now(KEY, 0, b"f"), CONTENT)
        path = self.repository.parts.layout.object_path(KEY)
        os.chmod(os.path.dirname(path), 0o755)
        os.link(path, path + b".file")
        os.chmod(path, 0o644)
        self.assertIsNone(store.read_now(KEY, 0, b"f"))
        os.unlink(path)
        os.mkfifo(path)
        self.assertIsNone(store.read_now(KEY, 0, b"f"))
        object.__setattr__(self.repository.parts.settings, "secure_hashes_only", True)
        self.assertIsNone(store.read_now(LARGE_KEY, len(LARGE) - 1, b"f"))

    async def test_a_repository_that_vanished(self) -> None:
        store = await self.open()
        os.rename(self.repository.parts.layout.annex, self.repository.parts.layout.annex + b".gone")
        self.assertIsNone(store.read_now(KEY, 0, b"f"))

    async def test_secure_hashes_only(self) -> None:
        """What came before that was set stays, but is not handed out."""
        store = await self.open()
        key = Key.parse(b"WORM-s5--x")
        await put(store, key, b"12345")
        object.__setattr__(self.repository.parts.settings, "secure_hashes_only", True)
        self.assertTrue(await store.present(key))
        with self.assertRaises(Refused) as raised:
            await store.read(key, 0, b"")
        self.assertNotIsInstance(raised.exception, Absent)
        self.assertEqual(await get(store, KEY), CONTENT)
        with self.assertRaises(Absent):
            await store.read(Key.parse(b"WORM-s5--absent"), 0, b"")
