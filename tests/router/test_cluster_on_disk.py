"""A cluster of repositories on this disk, whose files are moved as files."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from annexd.flow.body import FileSink, FileSource, Gatherer, Succession
from annexd.flow.workers import InlineWorkers, ThreadedWorkers
from annexd.node import Condition
from annexd.repo import transfer
from annexd.repo.local import Repository
from annexd.router.errands import Errands
from annexd.router.fanout import Backlog, Lane, Tee
from annexd.router.limits import Limits
from annexd.store import Caller, Outcome, Store
from tests.support.clusters import KEY, Scene, upload
from tests.support.nodes import FakeNode, Running
from tests.support.repositories import make_repository, open_repository
from tests.support.store_contract import CONTENT, StoreContract, put


class LocalNode(FakeNode):
    def __init__(self, name: str, repository: Repository) -> None:
        super().__init__(name)
        self.repository = repository
        self.condition = Condition()

    def store(self, caller: Caller) -> Store:
        return self.repository.store(caller)


async def local_scene(path: str, count: int) -> Scene:
    nodes = []
    for number in range(count):
        git_dir = make_repository(os.path.join(path, str(number)))
        nodes.append(LocalNode(f"n{number}", await open_repository(git_dir)))
    return Scene(*nodes)


class Contract(StoreContract, TestCase):
    one_upload_at_a_time = False

    async def make_store(self) -> Store:
        if not hasattr(self, "scene"):
            self.scene = await local_scene(self.mktemp(), 2)
        return self.scene.session()

    async def test_what_is_locked_stays(self) -> None:
        store = await self.make_store()
        await put(store, KEY, CONTENT)
        lease = await self.scene.nodes[1].store(Caller(b"c", "c")).lock(KEY)
        self.assertFalse((await store.remove(KEY)).ok)
        self.assertTrue(await store.present(KEY))
        await lease.release()
        self.assertTrue((await store.remove(KEY)).ok)

    async def test_locks_are_shared(self) -> None:
        await self.assert_refused((await self.make_store()).lock(KEY))


class HandedThrough(TestCase):
    """What is not brief."""

    def setUp(self) -> None:
        self.patch(transfer, "BRIEF", -1)

    async def test_one_writer(self) -> None:
        scene = await local_scene(self.mktemp(), 1)
        writer = await scene.session().write(KEY, b"")
        assert not isinstance(writer, Outcome)
        self.assertIsInstance(writer.sink, Gatherer)
        writer.announce(len(CONTENT))
        await writer.sink.write(CONTENT)
        self.assertEqual(await writer.commit(True), Outcome(True, also=(b"n0",)))
        await writer.close()

    async def test_several_writers_have_threads_read_for_them(self) -> None:
        scene = await local_scene(self.mktemp(), 2)
        writer = await scene.session().write(KEY, b"")
        assert not isinstance(writer, Outcome)
        self.assertIsInstance(writer.sink, Gatherer)
        await writer.close()
        scene.nodes = [FakeNode("far", is_local=False), FakeNode("away", is_local=False)]
        writer = await scene.session().write(KEY, b"")
        assert not isinstance(writer, Outcome)
        self.assertNotIsInstance(writer.sink, Gatherer)
        await writer.close()

    async def test_a_reader(self) -> None:
        scene = await local_scene(self.mktemp(), 2)
        cluster = scene.session()
        await upload(cluster)
        reader = await cluster.read(KEY, 0, b"")
        assert isinstance(reader.source, Succession)
        self.assertIsInstance(reader.source.part, FileSource)
        await reader.close(False)

    async def test_a_file_that_became_shorter(self) -> None:
        scene = await local_scene(self.mktemp(), 2)
        cluster = scene.session()
        await upload(cluster)
        reader = await cluster.read(KEY, 0, b"")
        source = reader.source
        assert isinstance(source, Succession) and isinstance(source.part, FileSource)
        first = bytes(await source.read(100))
        path = os.readlink(f"/proc/self/fd/{source.part.fd}")
        os.chmod(path, 0o644)
        os.truncate(path, len(first))
        rest = b""
        while source.remaining:
            rest += await source.read(500)
        self.assertEqual(first + rest, CONTENT)
        self.assertFalse(await reader.valid())
        await reader.close(True)


class CalledOff(TestCase):
    """Removals that nobody wants any more: they are not done, or it is known that they were."""

    timeout = 120

    async def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.workers = ThreadedWorkers(self.reactor, 1, 1)
        self.addCleanup(self.workers.stop)
        self.repository = await open_repository(make_repository(self.mktemp()), self.workers)
        self.scene = Scene(LocalNode("n0", self.repository))
        self.cluster = self.scene.session()
        await put(self.repository.store(Caller(b"", "")), KEY, CONTENT)
        self.scene.knows(*self.scene.nodes)
        self.begun, self.go = threading.Event(), threading.Event()

    def wait(self) -> None:
        self.begun.set()
        self.go.wait(15)

    async def call_off(self, removal: Deferred[Outcome]) -> None:
        removal.cancel()
        removal.addErrback(lambda failure: failure.trap(CancelledError))
        self.go.set()
        await removal
        await self.cluster.close()
        await self.workers.disk.run(int)

    async def test_while_it_waits_for_a_thread(self) -> None:
        busy = Deferred.fromCoroutine(self.workers.disk.run(self.wait))
        await self.call_off(Deferred.fromCoroutine(self.cluster.remove(KEY)))
        await busy
        self.assertTrue(await self.repository.store(Caller(b"", "")).present(KEY))
        self.assertEqual(self.scene.log.known[KEY], {b"n0"})

    async def test_while_it_is_done(self) -> None:
        remove = self.repository.parts.objects.remove

        def slowly(path: bytes) -> None:
            self.wait()
            remove(path)

        self.repository.parts.objects.remove = slowly  # type: ignore[method-assign]
        removal = Deferred.fromCoroutine(self.cluster.remove(KEY))
        await self.workers.bulk.run(self.begun.wait, 15)
        await self.call_off(removal)
        self.assertFalse(await self.repository.store(Caller(b"", "")).present(KEY))
        while self.scene.log.known[KEY]:
            await deferLater(self.reactor, 0.01)


class _SlowPool:
    """A thread that comes back when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[None]] = []

    async def run(self, function, *args, **kwargs):  # type: ignore[no-untyped-def]
        turn: Deferred[None] = Deferred()
        self.waiting.append(turn)
        await turn
        return function(*args, **kwargs)


class Disks(SynchronousTestCase):
    """Lanes into files."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.errands = Errands(self.clock)
        self.pool = _SlowPool()
        self.workers = InlineWorkers()

    def lane(self, ahead: int = 0, slow: bool = False) -> tuple[Lane, FileSink]:
        file = tempfile.TemporaryFile()
        self.addCleanup(file.close)
        workers = InlineWorkers()
        if slow:
            workers.bulk = self.pool
        file.write(CONTENT[:ahead])
        file.flush()
        sink = FileSink(workers, file.fileno(), ahead, hashlib.sha256())
        return Lane(self.errands, Limits(disk_progress=10), sink, ahead), sink

    def test_pieces_go_together(self) -> None:
        lane, sink = self.lane(slow=True)
        tee = Tee(self.clock, [lane], Limits(), Backlog())
        for at in range(0, 1000, 100):
            self.assertTrue(Running(self.clock, tee.write(CONTENT[at : at + 100])).over)
        settling = Running(self.clock, tee.settle())
        self.pool.waiting.pop().callback(None)
        self.assertEqual(sink.offset, 100)
        self.pool.waiting.pop().callback(None)
        self.assertEqual(sink.offset, 1000)
        self.assertTrue(settling.turn().over)
        self.assertEqual(os.pread(sink.fd, 2000, 0), CONTENT[:1000])

    def test_each_from_its_own_offset(self) -> None:
        both = [self.lane(), self.lane(ahead=350)]
        tee = Tee(self.clock, [lane for lane, _ in both], Limits(), Backlog())
        for at in range(0, len(CONTENT), 100):
            self.assertTrue(Running(self.clock, tee.write(CONTENT[at : at + 100])).over)
        for _, sink in both:
            self.assertEqual(os.pread(sink.fd, 1 << 20, 0), CONTENT)

    def test_a_disk_that_hangs(self) -> None:
        (slow, _), (quick, sink) = self.lane(slow=True), self.lane()
        tee = Tee(self.clock, [slow, quick], Limits(backlog=150), Backlog())
        Running(self.clock, tee.write(CONTENT[:100])).value()
        held_up = Running(self.clock, tee.write(CONTENT[100:200]))
        self.assertFalse(held_up.turn(9).over)
        self.assertTrue(held_up.turn(1).over)
        self.assertEqual(str(slow.error), "it has taken nothing for 10 seconds")
        self.assertEqual(slow.backlog, 0)
        Running(self.clock, tee.write(CONTENT[200:300])).value()
        self.assertEqual(sink.offset, 300)

    def test_a_bug_ends_the_lane_and_is_told(self) -> None:
        (broken, sink), (whole, _) = self.lane(slow=True), self.lane()
        sink.write_blocking = None  # type: ignore[assignment, method-assign]
        tee = Tee(self.clock, [broken, whole], Limits(backlog=0), Backlog())
        writing = Running(self.clock, tee.write(CONTENT))
        self.pool.waiting.pop().callback(None)
        writing.turn().value()
        self.assertIsNotNone(broken.error)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
