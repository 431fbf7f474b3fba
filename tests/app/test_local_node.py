"""Repositories on this machine's disks as nodes."""

from __future__ import annotations

import os
import shutil
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from annexd.app.local_node import LocalNode
from annexd.errors import Refused, Unavailable
from annexd.flow.body import FileSink, FileSource
from annexd.flow.workers import InlineWorkers
from annexd.node import Health
from annexd.repo.local import Repository
from annexd.repo.transfer import BRIEF
from annexd.router.directory import Directory
from annexd.router.places import Place, Served
from annexd.store import Caller, Store
from tests.support.freezing import FreezingDisk
from tests.support.repositories import UUID, make_repository, open_repository
from tests.support.store_contract import CONTENT, StoreContract, key_of, put

CALLER = Caller(b"gateway", "alice")


class Node:
    """
    A node at a fresh repository; ``served`` is what the daemon serves beside
    it, ``kind`` what file system it is on.
    """

    def __init__(self, top: str, served: bool = False, kind: bytes = b"ext4") -> None:
        self.path = os.path.join(os.path.realpath(top), "node")
        make_repository(self.path)
        self.clock = Clock()
        self.opened: list[Repository] = []
        serving = [Served(os.fsencode(self.path))] if served else []
        self.disk = FreezingDisk(self.clock, kind)
        self.directory = Directory(self.clock, InlineWorkers().disk, self.open, serving, disks=self.disk)
        self.node = LocalNode(UUID, "n1", 100.0, os.fsencode(self.path), self.directory, self.clock.seconds)

    async def open(self, place: Place) -> Repository:
        repository = await open_repository(place.git_dir, workers=self.disk, clock=self.clock)
        object.__setattr__(repository.parts, "is_local", self.disk.plain)
        self.opened.append(repository)
        return repository


class Contract(StoreContract, TestCase):
    node: Node | None = None
    one_upload_at_a_time = False  # all is in memory until it is complete

    async def make_store(self) -> Store:
        self.node = self.node or Node(self.mktemp())
        return self.node.node.store(CALLER)


class LocalNodeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.made = Node(self.mktemp())
        self.store = self.made.node.store(CALLER)
        self.key = key_of(CONTENT)

    def does(self, work: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def fails(self, work: Any, kind: type[Exception]) -> str:
        return str(self.failureResultOf(Deferred.fromCoroutine(work), kind).value)

    def test_is_opened_when_it_is_used_and_left_when_closed(self) -> None:
        self.assertEqual((self.made.opened, self.store.present_now(self.key)), ([], None))
        self.assertTrue(self.does(put(self.store, self.key, CONTENT)).ok)
        self.assertIs(self.store.present_now(self.key), True)
        self.assertEqual(self.made.directory.opened(), {os.fsencode(self.made.path): 1})
        self.does(self.store.close())
        self.assertEqual(self.made.directory.opened(), {os.fsencode(self.made.path): 0})

    def test_one_open_repository_for_all(self) -> None:
        made = Node(self.mktemp(), served=True)
        self.does(put(made.node.store(CALLER), self.key, CONTENT))
        with self.does(made.directory.find(os.fsencode(made.path))) as repository:
            self.assertEqual(made.opened, [repository])

    def test_another_repository_is_there_now(self) -> None:
        self.made.node.uuid = b"another"
        said = self.fails(self.store.present(self.key), Unavailable)
        self.assertIn(f"is repository {UUID.decode()}", said)
        self.assertIs(self.made.node.condition.health, Health.DOWN)
        self.assertEqual(list(self.made.directory.opened().values()), [0])

    def test_nothing_is_there_and_then_again(self) -> None:
        os.rename(self.made.path, self.made.path + ".away")
        self.assertIn("no repository", self.fails(self.store.present(self.key), Unavailable))
        self.assertIs(self.made.node.condition.health, Health.DOWN)
        os.rename(self.made.path + ".away", self.made.path)
        self.assertIs(self.does(self.store.present(self.key)), False)
        self.assertIs(self.made.node.condition.health, Health.UP)

    def test_it_vanishes_while_it_is_in_use(self) -> None:
        self.does(put(self.store, self.key, CONTENT))
        shutil.rmtree(self.made.path)
        self.assertIn("vanished", self.fails(self.store.present(self.key), Refused))

    def test_a_session_that_ends_before_it_has_begun(self) -> None:
        self.does(self.store.close())
        self.assertIn("over", self.fails(self.store.present(self.key), Unavailable))
        self.assertEqual(list(self.made.directory.opened().values()), [0])


class OnADiskThatHangs(SynchronousTestCase):
    kind = b"nfs"

    def setUp(self) -> None:
        self.made = Node(self.mktemp(), kind=self.kind)
        self.node, self.disk = self.made.node, self.made.disk
        self.store = self.node.store(CALLER)
        self.key = key_of(CONTENT)

    def start(self, work: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(work)

    def does(self, work: Any) -> Any:
        return self.successResultOf(self.start(work))

    def hangs(self, started: Deferred[Any]) -> None:
        said = str(self.failureResultOf(started, Unavailable).value)
        self.assertIn("n1: the disk has not answered since", said)

    def assert_down(self) -> None:
        condition = self.node.condition
        self.assertIs(condition.health, Health.DOWN)
        self.assertIn("the disk has not answered since", condition.reason)

    def test_one_deadline_once(self) -> None:
        self.does(put(self.store, self.key, CONTENT))
        self.disk.freeze()
        asked = [
            self.start(self.store.lock(self.key)),
            self.start(self.store.remove(self.key)),
            self.start(self.store.read(self.key, 0, b"")),
            self.start(self.node.store(CALLER).timestamp()),
        ]
        self.disk.clock.advance(4)
        self.assertIs(self.node.condition.health, Health.UP)
        self.disk.pass_deadline()
        for one in asked:
            self.hangs(one)
        self.assert_down()
        self.assertIsNone(self.store.present_now(self.key))
        for again in (self.store.present(self.key), self.store.write(self.key, b""), self.store.close()):
            self.hangs(self.start(again))
        self.disk.thaw()
        self.assertIs(self.node.condition.health, Health.UP)
        # What was called off before it began has not been done; what was opened was closed again.
        store = self.node.store(CALLER)
        self.assertTrue(self.does(store.present(self.key)))
        self.assertTrue(self.does(store.remove(self.key)).ok)
        self.does(store.close())
        self.assertEqual(list(self.made.directory.opened().values()), [0])

    def test_in_the_middle_of_an_upload(self) -> None:
        self.upload(bytes(BRIEF + 1), by_threads=self.disk.plain)

    def test_in_the_middle_of_a_brief_upload(self) -> None:
        self.upload(bytes(BRIEF), by_threads=False)

    def upload(self, content: bytes, by_threads: bool) -> None:
        key = key_of(content)
        writer = self.does(self.store.write(key, b""))
        self.assertEqual(isinstance(writer.sink, FileSink), by_threads)
        writer.announce(len(content))
        self.does(writer.sink.write(content))
        self.disk.freeze()
        committing = self.start(writer.commit(True))
        self.disk.pass_deadline()
        self.hangs(committing)
        self.hangs(self.start(writer.close()))
        self.disk.thaw()
        self.assertTrue(self.does(self.store.write(key, b"")))

    def test_in_the_middle_of_a_download(self) -> None:
        self.does(put(self.store, self.key, CONTENT))
        reader = self.does(self.store.read(self.key, 0, b""))
        self.assertEqual(isinstance(reader.source, FileSource), self.disk.plain)
        self.disk.freeze()
        closing = self.start(reader.close(False))
        if not closing.called:
            self.disk.pass_deadline()
            self.hangs(closing)
        self.disk.thaw()

    def test_before_anybody_has_looked(self) -> None:
        self.disk.freeze()
        asked = self.start(self.store.present(self.key))
        self.disk.pass_deadline()
        self.hangs(asked)
        self.assert_down()
        self.assertEqual(self.made.opened, [])
        self.disk.thaw()
        self.assertIs(self.does(self.store.present(self.key)), False)

    def test_is_it_as_quick_as_a_disk(self) -> None:
        self.assertIs(self.node.is_local, self.disk.plain)


class OnADyingDrive(OnADiskThatHangs):
    kind = b"ext4"
