"""Uploads into a repository on disk: what the contract of stores leaves open."""

from __future__ import annotations

import errno
import itertools
import os
from dataclasses import replace
from typing import Any, Callable, ParamSpec, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import TestCase

from annexd.errors import Refused
from annexd.flow.workers import InlineWorkers, Pool
from annexd.protocol.keys import Key
from annexd.repo import branch as branch_module
from annexd.repo import partials, transfer
from annexd.repo.brief import BriefWriter
from annexd.repo.incoming import LocalWriter
from annexd.repo.local import LocalStore, Repository
from annexd.repo.locks import FileLock, Locked, lock, try_lock
from annexd.repo.trips import GatedWorkers
from annexd.store import Caller, Outcome
from tests.repo.test_trips import LatePool
from tests.support.repositories import files_below, make_repository, open_repository
from tests.support.store_contract import CONTENT, get, key_of, put, send

KEY = key_of(CONTENT)

P = ParamSpec("P")
T = TypeVar("T")


class IncomingCase(TestCase):
    async def open(self, **config: str) -> None:
        dotted = {name.replace("_", "."): value for name, value in config.items()}
        self.git_dir = make_repository(self.mktemp(), config=dotted)
        self.annex = os.path.join(self.git_dir, b"annex")
        self.repository: Repository = await open_repository(self.git_dir)
        self.store = self.repository.store(Caller(b"peer", "somebody"))

    async def write(self, key: Key = KEY) -> BriefWriter | LocalWriter:
        writer = await self.store.write(key, b"a/file")
        assert isinstance(writer, (BriefWriter, LocalWriter))
        return writer

    def partial(self, key: Key = KEY) -> bytes | None:
        try:
            with open(self.repository.parts.layout.tmp(key), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def leave_partial(self, content: bytes, key: Key = KEY) -> None:
        path = self.repository.parts.layout.tmp(key)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)


class UploadTests(IncomingCase):
    """Of content that waits in memory."""

    in_memory = True

    async def test_leaves_the_object_and_its_log(self) -> None:
        await self.open()
        await put(self.store, KEY, CONTENT)
        found = self.repository.parts.objects.find(KEY)
        assert found is not None
        journal = b"journal/" + self.repository.parts.layout.log_name(KEY).replace(b"/", b"_")
        rest = {name for name in files_below(self.annex) if not name.endswith(b".lck")}
        self.assertEqual(rest, {os.path.relpath(found[0], self.annex), journal})

    async def test_wrong_content_leaves_nothing(self) -> None:
        await self.open()
        outcome = await put(self.store, KEY, CONTENT[:-1] + b"?")
        self.assertIn("not the content", outcome.reason)
        self.assertIsNone(self.partial())

    async def test_interrupted(self) -> None:
        await self.open()
        writer = await self.write()
        await send(writer, CONTENT[:100])
        await writer.close()
        self.assertEqual(self.partial(), CONTENT[:100])
        failed = self.repository.parts.layout.download_failed(b"peer", KEY)
        self.assertTrue(os.path.exists(failed))
        await put(self.store, KEY, CONTENT)
        self.assertFalse(os.path.exists(failed))

    async def test_abandoned_before_the_first_byte(self) -> None:
        await self.open()
        writer = await self.write()
        await writer.close()
        self.assertIsNone(self.partial())

    async def test_too_much_never_reaches_the_disk(self) -> None:
        await self.open()
        writer = await self.write()
        await send(writer, CONTENT + b"x" * 10000)
        self.assertEqual(len(self.partial() or b""), 0 if self.in_memory else len(CONTENT))
        self.assertFalse((await writer.commit(True)).ok)
        await writer.close()
        self.assertIsNone(self.partial())

    async def test_too_much_of_unknown_size(self) -> None:
        await self.open()
        key = Key.parse(b"SHA256--" + KEY.name.partition(b".")[0])
        writer = await self.write(key)
        writer.announce(10)
        for _ in range(3):
            await writer.sink.write(CONTENT)
        self.assertEqual(self.partial(key), CONTENT[:10])
        await writer.close()

    async def test_a_size_that_lies(self) -> None:
        """The hash is right, but git annex fsck would not be content with it."""
        await self.open()
        for size in (len(CONTENT) - 1, len(CONTENT) + 1):
            key = Key.parse(b"SHA256-s%d--%b" % (size, KEY.name.partition(b".")[0]))
            self.assertFalse((await put(self.store, key, CONTENT)).ok)
            self.assertFalse(await self.store.present(key))

    async def test_resume_hashes_what_was_there(self) -> None:
        await self.open()
        for right in (True, False):
            self.leave_partial(CONTENT[:1000] if right else b"?" * 1000)
            self.assertEqual((await put(self.store, KEY, CONTENT)).ok, right)
            self.assertIsNone(self.partial())
            await self.store.remove(KEY)

    async def test_resume_hashes_in_steps(self) -> None:
        """The last one while nothing more comes in."""
        self.patch(partials, "_STEP", 100)
        self.patch(partials, "_CLOSE_BEHIND", 250)
        await self.open()
        self.leave_partial(CONTENT[:1000])
        self.assertTrue((await put(self.store, KEY, CONTENT)).ok)

    async def test_what_was_there_is_hashed_while_more_comes_in(self) -> None:
        await self.open()
        pool = self.late_bulk()
        self.leave_partial(CONTENT[:1000])
        writer = await self.write()
        (hashing,), pool.work = pool.work, []
        sending = Deferred.fromCoroutine(send(writer, CONTENT[1000:]))
        while pool.work:
            pool.go()()
        self.successResultOf(sending)
        committing = Deferred.fromCoroutine(writer.commit(True))
        self.assertNoResult(committing)
        pool.work.append(hashing)
        pool.go()()
        self.assertTrue(self.successResultOf(committing).ok)
        await writer.close()

    async def test_given_up_while_it_is_hashed(self) -> None:
        await self.open()
        pool = self.late_bulk()
        self.leave_partial(CONTENT[:1000])
        writer = await self.write()
        await writer.close()
        pool.go()()
        self.assertEqual(self.partial(), CONTENT[:1000])
        self.assertEqual(pool.work, [])

    def late_bulk(self) -> LatePool:
        pool = LatePool()
        self.repository.workers.bulk = pool  # type: ignore[misc]
        return pool

    async def test_a_partial_that_is_too_long(self) -> None:
        await self.open()
        self.leave_partial(CONTENT + b"?")
        writer = await self.write()
        self.assertEqual(writer.offset, 0)
        await send(writer, CONTENT)
        self.assertTrue((await writer.commit(True)).ok)
        await writer.close()
        self.assertEqual(await get(self.store, KEY), CONTENT)

    async def test_a_partial_that_is_a_symlink(self) -> None:
        await self.open()
        target = os.path.join(self.git_dir, b"victim")
        path = self.repository.parts.layout.tmp(KEY)
        os.makedirs(os.path.dirname(path))
        os.symlink(target, path)
        with self.assertRaises(Refused):
            await self.store.write(KEY, b"")
        self.assertFalse(os.path.exists(target))
        os.unlink(path)
        await put(self.store, KEY, CONTENT)

    async def test_content_arrives_by_other_means(self) -> None:
        await self.open()
        writer = await self.write()
        await send(writer, CONTENT)
        _, path = self.repository.parts.layout.object_paths(KEY)
        os.makedirs(os.path.dirname(path))
        with open(path, "wb") as file:
            file.write(CONTENT)
        self.assertTrue((await writer.recheck()).ok)
        self.assertTrue((await writer.commit(True)).ok)
        await writer.close()
        self.assertIsNone(self.partial())
        self.assertEqual(self.repository.parts.objects.find(KEY), (path, os.stat(path)))
        self.assertEqual(self.repository.parts.branch.holders(KEY), {self.repository.uuid})

    async def test_removed_again_while_the_log_is_waited_for(self) -> None:
        """A git-annex that removes what is not logged has nothing to write."""
        await self.open()

        def slow(path: bytes, **how: Any) -> FileLock:
            found = self.repository.parts.objects.find(KEY)
            assert found is not None
            os.chmod(os.path.dirname(found[0]), 0o755)
            os.unlink(found[0])
            return lock(path, **how)

        self.patch(branch_module, "lock", slow)
        await put(self.store, KEY, CONTENT)
        self.assertEqual(self.repository.parts.branch.holders(KEY), frozenset())

    async def test_what_cannot_be_recorded_is_not_stored(self) -> None:
        await self.open()
        branch = self.repository.parts.branch

        def fail(*_: object) -> bool:
            raise Refused("the location log cannot be kept")

        self.patch(branch, "record", fail)
        with self.assertRaises(Refused):
            await put(self.store, KEY, CONTENT)
        self.assertFalse(await self.store.present(KEY))
        self.assertEqual(os.listdir(os.path.join(self.annex, b"objects")), [])
        self.assertEqual(self.partial(), CONTENT)
        self.patch(branch, "record", lambda *_: True)
        writer = await self.write()
        self.assertEqual(writer.offset, len(CONTENT))
        self.assertTrue((await writer.commit(True)).ok)
        await writer.close()
        self.assertIsNone(self.partial())

    async def test_what_cannot_be_protected_is_not_stored(self) -> None:
        """Some file systems need room for a change of mode."""
        await self.open()

        def fail(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(self.repository.parts.modes, "freeze_object", fail)
        with self.assertRaises(Refused) as raised:
            await put(self.store, KEY, CONTENT)
        self.assertIn("no space left", str(raised.exception))
        self.assertFalse(await self.store.present(KEY))
        self.assertEqual(self.partial(), CONTENT)

    async def test_what_came_from_elsewhere_is_not_taken_back(self) -> None:
        await self.open()
        writer = await self.write()
        await send(writer, CONTENT)
        path = self.repository.parts.layout.object_path(KEY)

        def fail(*_: object) -> bool:
            os.chmod(os.path.dirname(path), 0o755)
            os.rename(path, path + b".old")
            with open(path, "wb") as file:
                file.write(CONTENT)
            raise Refused("the location log cannot be kept")

        self.patch(self.repository.parts.branch, "record", fail)
        with self.assertRaises(Refused):
            await writer.commit(True)
        await writer.close()
        self.assertTrue(await self.store.present(KEY))
        self.assertIsNone(self.partial())


class LongUploadTests(UploadTests):
    """Of content that goes into its file as it comes."""

    in_memory = False

    def setUp(self) -> None:
        self.patch(transfer, "BRIEF", -1)


class CountingPool:
    def __init__(self, pool: Pool) -> None:
        self.trips = 0
        self._pool = pool

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.trips += 1
        return await self._pool.run(function, *args, **kwargs)


class TwoPools:
    """`Workers` of one pool."""

    def __init__(self, pool: Pool) -> None:
        self.disk = self.bulk = pool


class BriefTests(IncomingCase):
    async def test_one_trip(self) -> None:
        await self.open()
        workers: Any = InlineWorkers()
        workers.disk = workers.bulk = pool = CountingPool(workers.disk)
        self.repository.workers = workers
        self.patch(self.repository.ledger, "_pool", pool)
        self.patch(self.repository, "changing", replace(self.repository.changing, workers=workers))
        self.assertTrue((await put(self.store_anew(), KEY, CONTENT)).ok)
        self.assertEqual(pool.trips, 1)

    def store_anew(self) -> LocalStore:
        return self.repository.store(Caller(b"peer", "somebody"))

    async def test_nothing_is_written_before_it_is_right(self) -> None:
        await self.open()
        writer = await self.write()
        await send(writer, b"?" + CONTENT[1:])
        self.assertIsNone(self.partial())
        self.assertEqual(files_below(os.path.join(self.annex, b"transfer")), set())
        self.assertFalse((await writer.commit(True)).ok)
        await writer.close()
        await writer.close()
        self.assertIsNone(self.partial())
        failed = b"failed/download/peer/" + KEY.file_name
        self.assertEqual(files_below(os.path.join(self.annex, b"transfer")), {failed})
        self.assertEqual(files_below(os.path.join(self.annex, b"objects")), set())

    async def test_two_at_once(self) -> None:
        await self.open()
        writers = [await self.write(), await self.write()]
        for writer in writers:
            await send(writer, CONTENT)
        before = len(os.listdir("/proc/self/fd"))
        for writer in writers:
            self.assertTrue((await writer.commit(True)).ok)
            await writer.close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        self.assertEqual(files_below(os.path.join(self.annex, b"transfer")), set())

    async def test_while_git_annex_uploads_it(self) -> None:
        await self.open()
        writer = await self.write()
        await send(writer, CONTENT)
        theirs = self.repository.parts.transfers.download(b"other", KEY, b"")
        with self.assertRaises(Locked):
            await writer.commit(True)
        await writer.close()
        self.assertFalse(await self.store.present(KEY))
        self.assertIsNone(self.partial())
        theirs.end(False)
        self.assertTrue((await put(self.store, KEY, CONTENT)).ok)

    async def test_kept_beside_what_somebody_else_has_begun(self) -> None:
        await self.open()
        writer = await self.write()
        await send(writer, CONTENT[:1000])
        self.leave_partial(CONTENT[:600])
        await writer.close()
        self.assertEqual(self.partial(), CONTENT[:1000])

    async def test_the_lock_becomes_the_entry(self) -> None:
        await self.open()
        await put(self.store, key_of(b"another"), b"another")
        self.repository.parts.branch.commit()
        writer = await self.write()
        await send(writer, CONTENT)
        journal = os.path.join(self.annex, b"journal")
        seen: list[os.stat_result] = []

        def rename(old: bytes, new: bytes, rename: Any = os.rename) -> None:
            self.assertIsNone(try_lock(old, exclusive=True))
            seen.append(os.stat(old))
            rename(old, new)

        self.patch(os, "rename", rename)
        self.assertTrue((await writer.commit(True)).ok)
        (entry,) = os.scandir(journal)
        self.assertEqual([status.st_ino for status in seen], [entry.inode()])
        self.assertEqual(entry.stat().st_mode, seen[0].st_mode)

    async def test_a_lock_that_cannot_become_the_entry(self) -> None:
        """The journal may be elsewhere."""
        await self.open()
        lock_path = self.repository.parts.layout.download_locks(b"", KEY)[0]
        os.makedirs(os.path.dirname(lock_path))
        with open(lock_path, "wb") as file:
            file.write(b"left by a kill\n" * 100)

        def rename(old: bytes, new: bytes, rename: Any = os.rename) -> None:
            if old == lock_path:
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            rename(old, new)

        patch = self.patch(os, "rename", rename)
        self.assertTrue((await put(self.store, KEY, CONTENT)).ok)
        patch.restore()
        self.assertEqual(self.repository.parts.branch.holders(KEY), {self.repository.uuid})
        self.assertFalse(os.path.exists(lock_path))

    async def test_the_rest_of_an_old_lock_is_not_in_the_entry(self) -> None:
        await self.open()
        lock_path = self.repository.parts.layout.download_locks(b"", KEY)[0]
        os.makedirs(os.path.dirname(lock_path))
        with open(lock_path, "wb") as file:
            file.write(b"left by a kill\n" * 100)
        self.assertTrue((await put(self.store, KEY, CONTENT)).ok)
        (entry,) = os.scandir(os.path.join(self.annex, b"journal"))
        with open(entry.path, "rb") as file:
            self.assertRegex(file.read(), rb"^\d+s 1 %b\n$" % self.repository.uuid)

    async def test_file_systems_without_nameless_files(self) -> None:
        await self.open()
        for number in (errno.EOPNOTSUPP, errno.EISDIR):

            def fail(path: bytes, flags: int, *mode: int, number: int = number, open: Any = os.open) -> int:
                if flags & os.O_TMPFILE == os.O_TMPFILE:
                    raise OSError(number, "no such thing")
                return int(open(path, flags, *mode))

            patch = self.patch(os, "open", fail)
            await self.put_and_look()
            patch.restore()

    async def test_file_systems_where_no_name_can_be_given(self) -> None:
        await self.open()
        for number in (errno.EPERM, errno.ENOENT):

            def fail(*_: object, number: int = number, **__: object) -> None:
                raise OSError(number, "no such thing")

            patch = self.patch(os, "link", fail)
            await self.put_and_look()
            patch.restore()

    async def put_and_look(self) -> None:
        before = len(os.listdir("/proc/self/fd"))
        for wrong in (CONTENT[:-1] + b"?", CONTENT + b"?", CONTENT[:-1]):
            self.assertFalse((await put(self.store, KEY, wrong)).ok)
        self.assertTrue((await put(self.store, KEY, CONTENT)).ok)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        self.assertEqual(await get(self.store, KEY), CONTENT)
        self.assertEqual(self.repository.parts.branch.holders(KEY), {self.repository.uuid})
        self.assertEqual(files_below(os.path.join(self.annex, b"transfer")), set())
        self.assertIsNone(self.partial())
        self.assertTrue((await self.store.remove(KEY)).ok)

    async def test_a_partial_of_it_is_gone_on_with(self) -> None:
        await self.open()
        self.leave_partial(CONTENT[:1000])
        writer = await self.write()
        self.assertEqual(writer.offset, 1000)
        await send(writer, CONTENT[1000:])
        self.assertTrue((await writer.commit(True)).ok)
        await writer.close()

    async def test_a_full_disk(self) -> None:
        await self.open()
        writer = await self.write()
        await send(writer, CONTENT)

        def fail(*_: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch = self.patch(os, "write", fail)
        outcome = await writer.commit(True)
        await writer.close()
        patch.restore()
        self.assertIn("no space left", outcome.reason)
        self.assertIsNone(self.partial())
        self.assertTrue((await put(self.store, KEY, CONTENT)).ok)

    async def test_where_no_file_can_be_made(self) -> None:
        await self.open()
        writer = await self.write()
        await send(writer, CONTENT)
        os.symlink(b"/nonexistent", self.repository.parts.layout.tmp_dir)
        with self.assertRaises(Refused):
            await writer.commit(True)
        await writer.close()
        self.assertFalse(await self.store.present(KEY))
        os.unlink(self.repository.parts.layout.tmp_dir)
        self.assertTrue((await put(self.store, KEY, CONTENT)).ok)

    async def test_called_off_before_its_turn(self) -> None:
        """What has come is kept for the next time."""
        await self.open()
        writer = await self.write()
        await send(writer, CONTENT)
        self.patch(self.repository.ledger, "_pool", pool := LatePool())
        self.patch(writer, "_add", lambda _: self.repository.ledger.run(lambda: None))
        Deferred.fromCoroutine(self.repository.ledger.run(lambda: None))
        committing = Deferred.fromCoroutine(writer.commit(True))
        committing.cancel()
        self.failureResultOf(committing, CancelledError)
        pool.go()()
        await writer.close()
        self.assertEqual(self.partial(), CONTENT)

    async def test_closed_before_it_is_placed(self) -> None:
        await self.open()
        writer = await self.write()
        await send(writer, CONTENT)
        pool = LatePool()
        self.patch(writer, "gated", GatedWorkers(TwoPools(pool), writer.gate))
        await self.repository.ledger._turn.acquire()
        committing = Deferred.fromCoroutine(writer.commit(True))
        await writer.close()
        pool.go()()
        self.failureResultOf(committing, Refused)
        self.assertFalse(await self.store.present(KEY))
        self.assertEqual(self.partial(), CONTENT)
        self.repository.ledger._turn.release()

    async def test_size_nothing(self) -> None:
        await self.open()
        key = key_of(b"")
        self.assertTrue((await put(self.store, key, b"")).ok)
        self.assertEqual(await get(self.store, key), b"")


class SettingsTests(IncomingCase):
    async def test_no_verification(self) -> None:
        await self.open(annex_verify="false")
        wrong = CONTENT[:-1] + b"?"
        self.assertFalse((await put(self.store, KEY, wrong, valid=False)).ok)
        self.assertFalse((await put(self.store, KEY, CONTENT[:-1])).ok)
        self.assertTrue((await put(self.store, KEY, wrong)).ok)

    async def test_no_verification_but_doubted_and_right(self) -> None:
        await self.open(annex_verify="false")
        self.assertTrue((await put(self.store, KEY, CONTENT, valid=False)).ok)

    async def test_secure_hashes_only(self) -> None:
        await self.open(annex_securehashesonly="true")
        for raw in (b"SHA1-s1--x", b"MD5--x", b"WORM-s1--x", b"URL--x"):
            with self.assertRaises(Refused):
                await self.store.write(Key.parse(raw), b"")
        self.assertTrue((await put(self.store, KEY, CONTENT)).ok)

    async def test_reserve(self) -> None:
        await self.open(annex_diskreserve="1000 petabytes")
        with self.assertRaises(Refused) as raised:
            await self.store.write(KEY, b"")
        self.assertIn("not enough free space", str(raised.exception))
        self.assertEqual(files_below(os.path.join(self.annex, b"tmp")), set())
        with self.assertRaises(Refused):
            await self.store.write(KEY, b"")

    async def test_room_is_given_back(self) -> None:
        await self.open()
        self.patch(self.repository.parts.space, "_free", lambda: len(CONTENT))
        files_before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            writer = await self.write()
            with self.assertRaises(Refused):
                await self.write(Key.parse(b"WORM-s1--other"))
            await writer.close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), files_before)

    async def test_what_is_acknowledged_is_on_the_disk(self) -> None:
        self.git_dir = make_repository(self.mktemp())
        self.repository = await open_repository(self.git_dir, fsync=True)
        self.store = self.repository.store(Caller(b"peer", "somebody"))
        path = self.repository.parts.layout.object_path(KEY)
        synced, fsync = [], os.fsync

        def remember(fd: int) -> None:
            synced.append(os.readlink(b"/proc/self/fd/%d" % fd))
            fsync(fd)

        self.patch(os, "fsync", remember)
        files_before = len(os.listdir("/proc/self/fd"))
        await put(self.store, KEY, CONTENT)
        self.assertEqual(len(os.listdir("/proc/self/fd")), files_before)
        layout = self.repository.parts.layout
        self.assertEqual(os.path.dirname(synced[0]), os.path.abspath(layout.tmp_dir))
        self.assertEqual(synced[:2], [synced[0]] * 2)  # without its name, and with it
        directory = os.path.dirname(os.path.abspath(path))
        for _ in range(4):
            self.assertIn(directory, synced)
            directory = os.path.dirname(directory)
        self.assertEqual(os.path.basename(directory), b"annex")
        self.assertIn(directory, synced)

    async def test_reserve_for_unknown_sizes(self) -> None:
        await self.open(annex_diskreserve="1000 petabytes")
        key = Key.parse(b"SHA256--" + KEY.name.partition(b".")[0])
        outcome = await put(self.store, key, CONTENT)
        self.assertFalse(outcome.ok)
        self.assertIn("not enough free space", outcome.reason)
        self.assertFalse(await self.store.present(key))

    async def test_a_disk_that_cannot_be_asked(self) -> None:
        await self.open()
        key = Key.parse(b"SHA256--" + KEY.name.partition(b".")[0])
        writer = await self.write(key)

        def fail() -> int:
            raise OSError(errno.EIO, "Input/output error")

        self.patch(self.repository.parts.space, "_free", fail)
        await send(writer, CONTENT)
        self.assertIn("input/output", (await writer.commit(True)).reason)
        await writer.close()

    async def test_names(self) -> None:
        await self.open()
        names = (b"x" * 300, b"x" * 245, b"_" * 150, b"a\0b")
        for start, name in itertools.product((b"WORM--", b"VURL--"), names):
            key = Key.parse(start + name)
            self.assertFalse(await self.store.present(key))
            with self.assertRaises(Refused):
                await self.store.write(key, b"")
            with self.assertRaises(Refused):
                await self.store.read(key, 0, b"")
            with self.assertRaises(Refused):
                await self.store.lock(key)
            self.assertTrue((await self.store.remove(key)).ok)

    async def test_what_only_git_annex_can_do(self) -> None:
        self.git_dir = make_repository(self.mktemp())
        repository = await open_repository(self.git_dir, program=b"/nonexistent/git-annex")
        store = repository.store(Caller(b"", ""))
        with self.assertRaises(Refused) as raised:
            await store.write(Key.parse(b"SKEIN256-s1--x"), b"")
        self.assertIn("git-annex is not installed", str(raised.exception))


class CancelledTests(IncomingCase):
    """Threads that are still at work when nobody waits for them any more."""

    async def begin(self) -> tuple[LatePool, Any]:
        await self.open()
        workers: Any = InlineWorkers()
        pool = LatePool()
        workers.disk = pool
        self.repository.workers = workers
        store = self.repository.store(Caller(b"peer", "somebody"))
        return pool, store

    def cancel(self, pool: LatePool, waiting: Deferred[Any]) -> None:
        """When the thread is done, but its answer has not arrived."""
        arrive = pool.go()
        waiting.cancel()
        arrive()
        while pool.work:
            pool.go()()
        self.failureResultOf(waiting, CancelledError)

    async def test_opening_what_is_elsewhere(self) -> None:
        pool, _ = await self.begin()
        self.patch(self.repository, "parts", replace(self.repository.parts, is_local=False))
        store = self.repository.store(Caller(b"peer", "somebody"))
        opening = Deferred.fromCoroutine(store.write(KEY, b""))
        pool.go()()  # it has looked whether it is here
        self.cancel(pool, opening)
        self.assertEqual(self.repository.parts.space._needs, {})

    async def test_opening(self) -> None:
        self.patch(transfer, "BRIEF", -1)
        pool, store = await self.begin()
        self.cancel(pool, Deferred.fromCoroutine(store.write(KEY, b"")))
        writer = await self.write()
        await writer.close()

    async def test_locking(self) -> None:
        pool, store = await self.begin()
        await put(self.store, KEY, CONTENT)
        self.cancel(pool, Deferred.fromCoroutine(store.lock(KEY)))
        self.assertTrue((await self.store.remove(KEY)).ok)

    async def test_reading(self) -> None:
        pool, store = await self.begin()
        await put(self.store, KEY, CONTENT)
        before = len(os.listdir("/proc/self/fd"))
        self.cancel(pool, Deferred.fromCoroutine(store.read(KEY, 0, b"")))
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        self.assertEqual(files_below(os.path.join(self.annex, b"transfer/upload")), set())

    async def test_placed_and_not_yet_recorded(self) -> None:
        """It waits for its turn with the log, as after a long commit."""
        await self.open()
        writer = await self.write()
        await send(writer, CONTENT)
        pool = LatePool()
        self.patch(self.repository.ledger, "_pool", pool)
        Deferred.fromCoroutine(self.repository.ledger.run(lambda: None))
        committing = Deferred.fromCoroutine(writer.commit(True))
        self.assertTrue(await self.store.present(KEY))
        committing.cancel()
        while pool.work:
            pool.go()()
        self.failureResultOf(committing, CancelledError)
        await writer.close()
        self.assertEqual(self.repository.parts.branch.holders(KEY), {self.repository.uuid})

    async def test_nothing_is_written_after_closing(self) -> None:
        await self.open()
        writer = await self.write()
        await writer.close()
        with self.assertRaises(Refused):
            await writer.sink.write(CONTENT)

    async def test_locks_end_with_the_upload(self) -> None:
        self.patch(transfer, "BRIEF", -1)
        await self.open()
        writer = await self.write()
        with self.assertRaises(Locked):
            await self.store.write(KEY, b"")
        await writer.close()
        outcome = await put(self.store, KEY, CONTENT)
        self.assertEqual(outcome, Outcome(True))
        self.assertEqual(await get(self.store, KEY), CONTENT)
