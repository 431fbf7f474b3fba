"""A repository as a whole: opening, reading its configuration again, what kills leave, what is refused."""

from __future__ import annotations

import os
import shutil
from typing import IO, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from annexd.errors import Absent, Refused
from annexd.flow.workers import InlineWorkers
from annexd.protocol.keys import Key
from annexd.repo import git as git_module
from annexd.repo import transfer as transfer_module
from annexd.repo.brief import BriefWriter
from annexd.repo.local import LocalStore, Repository
from annexd.repo.locks import Locked, try_lock
from annexd.repo.modes import Modes
from annexd.repo.transfer import Transfers
from annexd.store import Caller, Outcome
from tests.repo.test_trips import LatePool
from tests.support.repositories import (
    UUID,
    TestClocks,
    files_below,
    make_repository,
    open_repository,
    write_config,
)
from tests.support.store_contract import CONTENT, get, key_of, put, send

KEY = key_of(CONTENT)
CALLER = Caller(b"peer", "somebody")


class RepositoryCase(TestCase):
    def setUp(self) -> None:
        self.git_dir = make_repository(self.mktemp())
        self.annex = os.path.join(self.git_dir, b"annex")
        self.clock = Clock()
        self.time = TestClocks()

    async def open(self, **config: str) -> LocalStore:
        if config:
            self.configure(**config)
        self.repository: Repository = await open_repository(
            self.git_dir, clock=self.clock, clocks=self.time.clocks
        )
        return self.repository.store(CALLER)

    def configure(self, **config: str) -> None:
        settings = {"core.bare": "true", "annex.uuid": UUID.decode(), "annex.version": "10"}
        settings |= {"user.name": "Test", "user.email": "t@example.com", "annex.diskreserve": "0"}
        settings |= {name.replace("_", "."): value for name, value in config.items()}
        write_config(self.git_dir, {name: value for name, value in settings.items() if value})

    async def assert_all_refused(self, store: LocalStore, *but: str) -> str:
        """All that changes something, and all else but ``but``, is refused; with which sentence."""
        sentences = set()
        for name, ask in {
            "present": lambda: store.present(KEY),
            "lock": lambda: store.lock(KEY),
            "remove": lambda: store.remove(KEY),
            "read": lambda: store.read(KEY, 0, b""),
            "write": lambda: store.write(KEY, b""),
        }.items():
            if name not in but:
                with self.assertRaises(Refused) as raised:
                    await ask()
                self.assertNotIsInstance(raised.exception, Absent)
                sentences.add(str(raised.exception))
        self.assertEqual(len(sentences), 1, sentences)
        return sentences.pop()


class StateTests(RepositoryCase):
    async def test_not_initialised(self) -> None:
        store = await self.open(annex_uuid="", annex_version="")
        self.assertIn("git annex init", await self.assert_all_refused(store))
        self.configure()
        await self.repository.refresh()
        self.assertEqual(store.uuid, UUID)
        self.assertTrue((await put(store, KEY, CONTENT)).ok)

    async def test_too_new(self) -> None:
        store = await self.open(annex_version="11")
        self.assertIn("newer", await self.assert_all_refused(store))

    async def test_pid_lock(self) -> None:
        await put(await self.open(), KEY, CONTENT)
        self.configure(annex_pidlock="true")
        await self.repository.refresh()
        store = self.repository.store(CALLER)
        self.assertIn("pidlock", await self.assert_all_refused(store, "present", "read"))
        self.assertEqual(await get(store, KEY), CONTENT)

    async def test_vanished(self) -> None:
        store = await self.open()
        shutil.rmtree(self.annex)
        self.assertIn("vanished", await self.assert_all_refused(store))
        self.assertFalse(os.path.exists(self.annex))

    async def test_vanished_in_the_middle(self) -> None:
        store = await self.open()
        writer = await store.write(KEY, b"")
        assert not isinstance(writer, Outcome)
        await send(writer, CONTENT)
        shutil.rmtree(self.git_dir)
        with self.assertRaises(Refused) as raised:
            await writer.commit(True)
        self.assertIn("vanished", str(raised.exception))
        await writer.close()
        self.assertFalse(os.path.exists(self.git_dir))

    async def test_no_repository(self) -> None:
        shutil.rmtree(self.git_dir)
        with self.assertRaises(Refused):
            await self.open()

    async def test_the_disk_is_read_by_threads(self) -> None:
        """It may be far away, or hang."""
        pool = LatePool()
        workers: Any = InlineWorkers()
        workers.disk = pool
        by_reactor = []

        def opened(path: bytes, mode: str = "r") -> IO[Any]:
            if not pool.at_work:
                by_reactor.append(path)
            return open(path, mode)

        git_module.open = opened  # type: ignore[attr-defined]
        self.addCleanup(delattr, git_module, "open")
        opening = Deferred.fromCoroutine(open_repository(self.git_dir, workers))
        while pool.work:
            pool.go()()
        self.successResultOf(opening)
        self.assertEqual(by_reactor, [])

    async def test_content_is_not_hashed_where_nobody_waits_for_long_work(self) -> None:
        """What annex.thin made one with a file is read whole, to see whether it is what it was."""
        git_dir = make_repository(self.mktemp(), bare=False)
        repository = await open_repository(git_dir)
        store = repository.store(CALLER)
        await put(store, KEY, CONTENT)
        path = repository.parts.layout.object_path(KEY)
        os.link(path, os.path.join(git_dir, b"file"))
        os.chmod(path, 0o644)
        pool = LatePool()
        repository.workers.bulk = pool  # type: ignore[misc]
        for ask in (lambda: store.present(KEY), lambda: get(store, KEY)):
            repository.parts.pointers._intact.clear()  # type: ignore[union-attr]
            asking: Deferred[object] = Deferred.fromCoroutine(ask())
            self.assertNoResult(asking)
            while pool.work:
                pool.go()()
            self.assertTrue(self.successResultOf(asking))

    async def test_refresh_keeps_what_has_not_changed(self) -> None:
        await self.open()
        before = self.repository.parts
        await self.repository.refresh()
        self.assertIs(self.repository.parts, before)

    async def test_a_hook_is_put_in(self) -> None:
        await self.open()
        hook = os.path.join(self.git_dir, b"hooks", b"freezecontent-annex")
        os.mkdir(os.path.dirname(hook))
        with open(hook, "wb"):
            os.chmod(hook, 0o755)
        await self.repository.refresh()
        self.assertTrue(self.repository.settings.needs_git_annex_to_add)


class TimeTests(RepositoryCase):
    async def test_timestamp(self) -> None:
        store = await self.open()
        self.assertEqual(await store.timestamp(), int(self.time.boot))

    async def test_remove_before(self) -> None:
        store = await self.open()
        await put(store, KEY, CONTENT)
        now = await store.timestamp()
        outcome = await store.remove(KEY, now)
        self.assertFalse(outcome.ok)
        self.assertIn("over", outcome.reason)
        (name,) = files_below(os.path.join(self.annex, b"objects"))
        self.assertEqual(os.path.basename(name), KEY.file_name)
        self.time.advance(10)
        self.assertFalse((await store.remove(KEY, now + 10)).ok)
        self.assertTrue((await store.remove(KEY, now + 11)).ok)

    async def test_retention_ends(self) -> None:
        store = await self.open()
        await put(store, KEY, CONTENT)
        lease = await store.lock(KEY)
        lease._held._held.release()  # type: ignore[attr-defined]  # as when the process is killed
        with self.assertRaises(Locked):
            await store.remove(KEY)
        self.time.advance(601)
        self.assertTrue((await store.remove(KEY)).ok)

    async def test_committed_after_a_second(self) -> None:
        store = await self.open()
        await put(store, KEY, CONTENT)
        self.assertEqual(len(os.listdir(os.path.join(self.annex, b"journal"))), 1)
        self.clock.advance(1.5)
        self.assertEqual(os.listdir(os.path.join(self.annex, b"journal")), [])
        name = self.repository.parts.layout.log_name(KEY)
        self.assertEqual(self.repository.git.branch_file(name), b"1795360000s 1 %b\n" % UUID)

    async def test_committed_when_closed(self) -> None:
        store = await self.open()
        await put(store, KEY, CONTENT)
        await store.remove(KEY)
        await self.repository.close()
        self.assertEqual(os.listdir(os.path.join(self.annex, b"journal")), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_a_journal_that_somebody_left(self) -> None:
        await put(await self.open(), KEY, CONTENT)
        self.clock = Clock()  # the time of whoever left it has stopped
        await self.open()
        self.clock.advance(1.5)
        self.assertEqual(os.listdir(os.path.join(self.annex, b"journal")), [])


class RemovalTests(RepositoryCase):
    async def test_log_and_content(self) -> None:
        store = await self.open()
        await put(store, KEY, CONTENT)
        await store.remove(KEY)
        self.clock.advance(0.5)
        self.assertEqual(os.listdir(os.path.join(self.annex, b"objects")), [])
        self.assertEqual(self.repository.parts.branch.holders(KEY), frozenset())

    async def test_git_annex_takes_its_time_where_nobody_waits_for_short_work(self) -> None:
        store = await self.open(**{"annex_secure-erase-command": "shred"})
        pool = LatePool()
        self.repository.workers.bulk = pool  # type: ignore[misc]
        removing = Deferred.fromCoroutine(store.remove(KEY))
        self.assertNoResult(removing)
        pool.go()()
        self.assertTrue(self.successResultOf(removing).ok)

    async def test_git_annex_was_stopped_between_content_and_log(self) -> None:
        store = await self.open()
        await put(store, KEY, CONTENT)
        program = os.path.abspath(os.path.join(self.git_dir, b"git-annex"))
        with open(program, "wb") as file:
            os.chmod(program, 0o755)
            file.write(b"#!/bin/sh\ncd $GIT_DIR/annex; chmod -R +w objects; rm -r objects; exit 1\n")
        self.configure(**{"annex_secure-erase-command": "shred"})
        repository = await open_repository(os.path.abspath(self.git_dir), program=program)
        self.assertEqual(repository.parts.branch.holders(KEY), {UUID})
        with self.assertRaises(Refused):
            await repository.store(CALLER).remove(KEY)
        self.assertEqual(repository.parts.branch.holders(KEY), frozenset())

    async def test_nothing_is_left_to_do_after_a_flush(self) -> None:
        store = await self.open()
        await put(store, KEY, CONTENT)
        await store.remove(KEY)
        await self.repository.flush()
        for name in (b"objects", b"journal"):
            self.assertEqual(os.listdir(os.path.join(self.annex, name)), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_absent_content_is_not_logged(self) -> None:
        store = await self.open()
        await store.remove(KEY)
        self.assertFalse(os.path.exists(os.path.join(self.annex, b"journal")))

    async def test_content_that_cannot_be_removed_stays_logged(self) -> None:
        store = await self.open()
        await put(store, KEY, CONTENT)

        def fail(path: bytes) -> None:
            raise PermissionError(13, "Permission denied")

        self.patch(self.repository.parts.objects, "remove", fail)
        with self.assertRaises(Refused):
            await store.remove(KEY)
        self.assertTrue(await store.present(KEY))
        self.assertEqual(self.repository.parts.branch.holders(KEY), {UUID})
        await (await store.lock(KEY)).release()

    async def test_content_in_both_places(self) -> None:
        store = await self.open()
        await put(store, KEY, CONTENT)
        own, other = self.repository.parts.layout.object_paths(KEY)
        shutil.copytree(os.path.dirname(own), os.path.dirname(other))
        await store.remove(KEY)
        self.assertFalse(await store.present(KEY))
        self.clock.advance(0.5)
        self.assertEqual(os.listdir(os.path.join(self.annex, b"objects")), [])


class LeftoverTests(RepositoryCase):
    """A daemon, or a git-annex, was killed; another one is started."""

    async def test_between_place_and_log(self) -> None:
        store = await self.open()
        writer = await store.write(KEY, b"")
        assert not isinstance(writer, Outcome)
        await send(writer, CONTENT)
        writer.place()  # type: ignore[union-attr]
        self.kill(writer)
        store = await self.open()
        self.assertEqual(self.repository.parts.branch.holders(KEY), {UUID})
        self.assertEqual(files_below(os.path.join(self.annex, b"transfer")), set())

    async def test_between_log_and_removal(self) -> None:
        store = await self.open()
        await put(store, KEY, CONTENT)
        self.repository.parts.branch.record(KEY, False)
        store = await self.open()
        self.assertTrue(await store.present(KEY))
        self.assertEqual(self.repository.parts.branch.holders(KEY), {UUID})

    async def test_a_removal_of_another_who_lives(self) -> None:
        """Another daemon, or this one by another name of the repository, is between log and removal."""
        store = await self.open()
        await put(store, KEY, CONTENT)
        removing = self.repository
        remove = removing.parts.objects.remove

        def late(path: bytes) -> None:
            Deferred.fromCoroutine(self.open())
            remove(path)

        self.patch(removing.parts.objects, "remove", late)
        self.assertTrue((await store.remove(KEY)).ok)
        self.assertIsNot(self.repository, removing)
        self.assertEqual(self.repository.parts.branch.holders(KEY), frozenset())

    async def test_what_is_not_ours(self) -> None:
        """One file that may not be opened keeps from nothing else."""
        store = await self.open()
        await put(store, KEY, CONTENT)
        self.repository.parts.branch.record(KEY, False)
        os.makedirs(os.path.join(self.annex, b"transfer/download/u/lck.WORM--x"))
        await self.open()
        self.assertEqual(self.repository.parts.branch.holders(KEY), {UUID})

    async def test_what_cannot_be_made_up_for(self) -> None:
        store = await self.open()
        writer = await store.write(KEY, b"")
        assert not isinstance(writer, Outcome)
        await send(writer, CONTENT)
        writer.place()  # type: ignore[union-attr]
        self.kill(writer)
        with open(os.path.join(self.annex, b"journal"), "wb"):
            pass
        with capturedLogs() as events:
            await self.open()
        self.assertIn("cannot be kept", formatEvent(events[0]))
        os.unlink(os.path.join(self.annex, b"journal"))
        await self.open()
        self.assertEqual(self.repository.parts.branch.holders(KEY), {UUID})

    async def test_in_a_brief_upload(self) -> None:
        store = await self.open()
        writer = await store.write(KEY, b"")
        assert not isinstance(writer, Outcome)
        await send(writer, CONTENT[:10])
        assert isinstance(writer, BriefWriter)
        writer.draft = self.repository.parts.transfers.draft(KEY)
        self.kill(writer)
        store = await self.open()
        self.assertEqual(self.repository.parts.branch.holders(KEY), frozenset())
        self.assertEqual(files_below(os.path.join(self.annex, b"transfer")), set())
        self.assertTrue((await put(store, KEY, CONTENT)).ok)

    async def test_in_an_upload(self) -> None:
        self.patch(transfer_module, "BRIEF", -1)
        store = await self.open()
        writer = await store.write(KEY, b"")
        assert not isinstance(writer, Outcome)
        await send(writer, CONTENT[:10])
        self.kill(writer)
        store = await self.open()
        self.assertEqual(self.repository.parts.branch.holders(KEY), frozenset())
        self.assertEqual(
            files_below(os.path.join(self.annex, b"transfer")), {b"failed/download/peer/" + KEY.file_name}
        )
        writer = await store.write(KEY, b"")
        assert not isinstance(writer, Outcome)
        self.assertEqual(writer.offset, 10)
        await writer.close()

    async def test_notes_of_the_dead(self) -> None:
        """Their locks may be gone, or not."""
        store = await self.open()
        await put(store, KEY, CONTENT)
        transfers = Transfers(self.repository.parts.layout, Modes(None))
        large = Key.parse(b"WORM-s1000000--x")
        for begin, locked in ((transfers.download, True), (transfers.upload, False)):
            for key in (large, KEY):
                transfer = begin(b"u", key, b"file")
                for held in transfer._locks:
                    held.release()
                    if not locked:
                        os.unlink(held.path)
        note = os.path.join(self.annex, b"transfer/download/u", KEY.file_name)
        os.link(os.path.join(os.path.dirname(note), large.file_name), note)
        files = len(os.listdir("/proc/self/fd"))
        await self.open()
        self.assertEqual(len(os.listdir("/proc/self/fd")), files)
        failed = {b"failed/%b/u/%b" % (way, large.file_name) for way in (b"download", b"upload")}
        self.assertEqual(files_below(os.path.join(self.annex, b"transfer")), failed)
        for path in failed:
            with open(os.path.join(self.annex, b"transfer", path), "rb") as file:
                self.assertTrue(file.read().endswith(b"s\nfile\n"))

    async def test_of_those_who_live(self) -> None:
        await self.open()
        other = Transfers(self.repository.parts.layout, Modes(None))
        key = Key.parse(b"WORM--x")
        transfers = [other.download(b"u", key, b""), other.upload(b"u", key, b"")]
        before = files_below(os.path.join(self.annex, b"transfer"))
        await self.open()
        self.assertEqual(files_below(os.path.join(self.annex, b"transfer")), before)
        for transfer in transfers:
            transfer.end(True)

    async def test_what_is_not_a_transfer(self) -> None:
        strange = os.path.join(self.annex, b"transfer/download/u/strange")
        os.makedirs(os.path.dirname(strange))
        with open(strange, "wb"):
            await self.open()
        self.assertTrue(os.path.exists(strange))

    def kill(self, writer: object) -> None:
        if isinstance(writer, BriefWriter):
            assert writer.draft is not None
            fd, locks = writer._fd, [writer.draft._held]
        else:
            fd, locks = writer._upload.fd, writer._upload.transfer._locks  # type: ignore[attr-defined]
        if fd >= 0:
            os.close(fd)
        for held in locks:
            held.release()
        self.assertTrue(files_below(os.path.join(self.annex, b"transfer/download")))
        path = self.repository.parts.layout.download_locks(b"peer", KEY)[0]
        lock = try_lock(path, exclusive=True)
        assert lock is not None
        lock.release()
