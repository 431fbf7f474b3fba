"""One node, for a client that cannot reach it."""

from __future__ import annotations

import hashlib
import os
import tempfile
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from annexd.errors import Absent, PeerLost, Refused, Unavailable
from annexd.flow.body import FileSink, FileSource, Gatherer
from annexd.flow.workers import InlineWorkers
from annexd.node import Condition, Health
from annexd.router.limits import Limits
from annexd.router.proxied import ProxiedNode
from annexd.router.uploads import Uploads
from annexd.store import Caller, Outcome, Store
from tests.support.clusters import CLUSTER, KEY, download, send, upload
from tests.support.nodes import FakeNode, MemoryLog, Running
from tests.support.store_contract import CONTENT, StoreContract


def proxied(node: FakeNode, log: MemoryLog, clock: Clock, **limits: Any) -> ProxiedNode:
    caller = Caller(b"client", "someone", (b"g1",))
    return ProxiedNode(node, log, caller, clock, Limits(**limits))


class Contract(StoreContract, TestCase):
    def setUp(self) -> None:
        self.node = FakeNode("n1")

    async def make_store(self) -> Store:
        return proxied(self.node, MemoryLog(), Clock())


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.node = FakeNode("n1", is_local=False)
        self.log = MemoryLog()
        self.log.known[KEY] = set()
        self.proxied = proxied(self.node, self.log, self.clock)

    def start(self, work: Any) -> Running:
        return Running(self.clock, work)

    def result(self, work: Any) -> Any:
        return self.start(work).value()

    def hold(self) -> None:
        self.node.shelf.content[KEY] = CONTENT

    def assert_logged(self, present: bool) -> None:
        self.assertEqual(self.log.known[KEY], {b"n1"} if present else set())

    def assert_released(self) -> None:
        self.result(self.proxied.close())
        self.assertTrue(self.node.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class PassedOn(Case):
    def test_who_asks(self) -> None:
        self.assertEqual(self.proxied.uuid, b"n1")
        self.assertEqual(self.node.callers, [Caller(b"client", "someone", (b"g1",))])

    def test_upload(self) -> None:
        self.assertEqual(self.result(upload(self.proxied)), Outcome(True))
        self.assertEqual(self.node.shelf.content[KEY], CONTENT)
        self.assert_logged(True)
        self.assert_released()

    def test_a_node_that_speaks_for_others(self) -> None:
        self.node.answers["commit"] = Outcome(True, also=(b"another's",))
        self.assertEqual(self.result(upload(self.proxied)), Outcome(True))
        self.assert_logged(True)

    def test_resumed_upload(self) -> None:
        self.node.shelf.partial[KEY] = CONTENT[:1000]
        writer = self.result(self.proxied.write(KEY, b""))
        self.assertEqual(writer.offset, 1000)
        self.result(send(writer))
        self.assertTrue(self.result(writer.commit(True)).ok)
        self.result(writer.close())
        self.assertEqual(self.node.sent, len(CONTENT) - 1000)

    def test_upload_of_what_is_there(self) -> None:
        self.hold()
        self.assertEqual(self.result(self.proxied.write(KEY, b"")), Outcome(True))
        self.assert_logged(True)

    def test_content_by_other_means(self) -> None:
        writer = self.result(self.proxied.write(KEY, b""))
        self.hold()
        self.assertTrue(self.result(writer.recheck()).ok)
        self.result(writer.close())
        self.assert_logged(True)

    def test_wrong_upload(self) -> None:
        outcome = self.result(upload(self.proxied, content=CONTENT[:-1] + b"?"))
        self.assertFalse(outcome.ok)
        self.assertEqual(self.log.news, [])

    def test_download(self) -> None:
        self.hold()
        self.log.known[KEY] = {b"n1"}
        self.assertEqual(self.result(download(self.proxied)), (CONTENT, True))
        self.assertEqual(self.log.news, [])
        self.assertEqual(self.node.shelf.closings, [(KEY, True)])
        self.assert_released()

    def test_removal(self) -> None:
        self.hold()
        self.log.known[KEY] = {b"n1"}
        self.assertEqual(self.result(self.proxied.remove(KEY)), Outcome(True))
        self.assert_logged(False)

    def test_refused_removal(self) -> None:
        self.hold()
        self.node.faults.refusing["remove"] = Refused("it is read-only")
        self.assertRaises(Refused, self.result, self.proxied.remove(KEY))
        self.assertEqual(self.log.news, [])

    def test_removal_by_the_node_s_clock(self) -> None:
        self.hold()
        self.assertEqual(self.result(self.proxied.timestamp()), 1000)
        self.assertFalse(self.result(self.proxied.remove(KEY, 1000)).ok)
        self.assertTrue(self.result(self.proxied.remove(KEY, 1001)).ok)

    def test_lock(self) -> None:
        self.hold()
        lease = self.result(self.proxied.lock(KEY))
        self.assertTrue(self.node.shelf.locked(KEY))
        self.result(lease.release())
        self.assertFalse(self.node.shelf.locked(KEY))

    def test_lock_of_what_is_not_there(self) -> None:
        self.assertRaises(Refused, self.result, self.proxied.lock(KEY))

    def test_changes(self) -> None:
        waiting = self.start(self.proxied.changes())
        self.node.shelf.changed(b"abc")
        self.assertEqual(waiting.value(), (b"abc",))

    def test_small_questions(self) -> None:
        self.assertIsNone(self.proxied.present_now(KEY))
        self.node.is_local = True
        self.assertIs(self.proxied.present_now(KEY), False)


class StaleLog(Case):
    def test_question(self) -> None:
        self.hold()
        self.assertTrue(self.result(self.proxied.present(KEY)))
        self.assert_logged(True)
        self.node.shelf.content.clear()
        self.assertFalse(self.result(self.proxied.present(KEY)))
        self.assert_logged(False)
        self.result(self.proxied.present(KEY))
        self.assertEqual(self.log.news, [(b"n1", True), (b"n1", False)])

    def test_download(self) -> None:
        self.hold()
        self.result(download(self.proxied))
        self.assert_logged(True)
        self.node.shelf.content.clear()
        self.assertRaises(Absent, self.result, download(self.proxied))
        self.assert_logged(False)

    def test_a_log_that_cannot_be_written(self) -> None:
        self.log.error = Refused("the disk is full")
        self.assertTrue(self.result(upload(self.proxied)).ok)

    def test_a_log_that_cannot_be_read(self) -> None:
        async def holders(key: object) -> frozenset[bytes]:
            raise Refused("the repository is gone")

        self.log.holders = holders  # type: ignore[method-assign]
        self.hold()
        self.assertRaises(Refused, self.result, download(self.proxied))
        self.assert_released()


class OfACluster(Case):
    """A neighbour's cluster that is proxied as if it were one node."""

    def setUp(self) -> None:
        super().setUp()
        self.node.uuid = CLUSTER
        caller = Caller(b"client", "someone")
        self.proxied = ProxiedNode(self.node, self.log, caller, self.clock, members=frozenset((b"a",)))

    def test_its_uuid_is_never_logged(self) -> None:
        self.result(upload(self.proxied))
        self.result(download(self.proxied))
        self.result(self.proxied.present(KEY))
        self.result(self.proxied.remove(KEY))
        self.assertEqual(self.log.news, [])

    def test_its_nodes_are(self) -> None:
        self.node.answers["commit"] = Outcome(True, also=(b"a", b"another's", CLUSTER))
        self.assertEqual(self.result(upload(self.proxied)), Outcome(True, also=(b"a",)))
        self.assertEqual(self.log.news, [(b"a", True)])


class Failing(Case):
    def test_down(self) -> None:
        for what in ("present", "read", "write", "remove", "lock", "timestamp"):
            self.node.faults.refusing[what] = PeerLost("the connection was closed")
        for work in (
            self.proxied.present(KEY),
            self.proxied.read(KEY, 0, b""),
            self.proxied.write(KEY, b""),
            self.proxied.remove(KEY),
            self.proxied.lock(KEY),
            self.proxied.timestamp(),
        ):
            # Not `PeerLost`, which would mean the client.
            self.assertRaises(Unavailable, self.result, work)
        self.assertEqual(self.log.news, [])

    def test_silent(self) -> None:
        self.node.faults.frozen.add("present")
        running = self.start(self.proxied.present(KEY))
        self.assertFalse(running.turn(9).over)
        self.assertRaises(Unavailable, running.turn(1).value)
        self.assert_released()

    def test_upload_that_is_lost_half_way(self) -> None:
        self.node.faults.takes = 1000
        outcome = self.result(upload(self.proxied))
        self.assertEqual(outcome, Outcome(False, reason="the connection was closed"))
        self.assertEqual(self.node.shelf.partial[KEY], CONTENT[:1000])
        self.assert_released()

    def test_upload_that_freezes_half_way(self) -> None:
        self.node.faults.takes = 1000
        self.node.faults.frozen.add("sink")
        running = self.start(upload(self.proxied))
        self.assertFalse(running.turn(9).over)
        self.assertFalse(running.turn(1).value().ok)
        self.assert_released()

    def test_upload_without_an_answer(self) -> None:
        self.node.faults.frozen.add("commit")
        running = self.start(upload(self.proxied))
        self.assertFalse(running.turn(299).over)
        self.assertFalse(running.turn(2).value().ok)
        self.assertEqual(self.log.news, [])
        self.assert_released()

    def test_download_that_is_lost_half_way(self) -> None:
        self.hold()
        self.node.faults.gives = 1000
        self.assertRaises(Unavailable, self.result, download(self.proxied))
        self.assert_released()

    def test_download_without_a_verdict(self) -> None:
        self.hold()
        self.node.faults.refusing["valid"] = PeerLost("the connection was closed")
        self.assertEqual(self.result(download(self.proxied)), (CONTENT, False))

    def test_the_client_goes_away(self) -> None:
        self.hold()
        self.node.faults.gives = 1000
        self.node.faults.frozen.add("source")
        self.start(download(self.proxied)).cancel()
        self.node.shelf.content.clear()
        self.node.faults.takes = 1000
        self.node.faults.frozen.add("sink")
        self.start(upload(self.proxied)).cancel()
        self.assertEqual(self.node.shelf.partial[KEY], CONTENT[:1000])
        self.node.faults.frozen.add("write")
        self.start(upload(self.proxied)).cancel()
        self.assert_released()


class AnotherWay(Case):
    """There may be one while the way that a session began with is down."""

    def setUp(self) -> None:
        super().setUp()
        self.node, self.other = FakeNode("n1"), FakeNode("n1")
        self.other.shelf = self.node.shelf
        self.ways: list[FakeNode | None] = [self.node]
        caller = Caller(b"client", "someone")
        self.proxied = ProxiedNode(self.node, self.log, caller, self.clock, another=lambda: self.ways[-1])

    def test_is_taken(self) -> None:
        self.ways.append(self.other)
        self.result(self.proxied.present(KEY))
        self.assertEqual(self.other.callers, [])
        self.node.condition = Condition(Health.DOWN, 0.0, "it cannot be reached")
        self.assertEqual(self.result(upload(self.proxied)), Outcome(True))
        self.assertTrue(self.result(self.proxied.present(KEY)))
        self.assertEqual((self.node.asked, self.other.asked), (["present"], ["write", "present"]))
        self.assertEqual(self.other.callers, [Caller(b"client", "someone")])
        self.assert_logged(True)
        self.assert_released()
        self.assertTrue(self.other.closed)

    def test_there_is_none(self) -> None:
        self.node.condition = Condition(Health.DOWN, 0.0, "it cannot be reached")
        for way in (self.node, None):
            self.ways.append(way)
            self.result(self.proxied.present(KEY))
        self.assertEqual(self.node.asked, ["present"] * 2)
        self.assertEqual(len(self.node.stores), 1)


class Files(Case):
    def test_downloads_are_left_to_the_kernel(self) -> None:
        file = tempfile.TemporaryFile()
        self.addCleanup(file.close)
        source = FileSource(InlineWorkers(), file.fileno(), 0, 0)
        self.hold()
        reader = self.result(self.proxied._store.read(KEY, 0, b""))
        reader.source = source
        self.proxied._store.read = lambda *_: _given(reader)  # type: ignore[method-assign]
        self.assertIs(self.result(self.proxied.read(KEY, 0, b"")).source, source)

    def write_to_a_file(self, workers: InlineWorkers) -> tuple[Any, FileSink]:
        file = tempfile.TemporaryFile()
        self.addCleanup(file.close)
        writer = self.result(self.proxied._store.write(KEY, b""))
        writer.sink = FileSink(workers, file.fileno(), 0, hashlib.sha256())
        self.proxied._store.write = lambda *_: _given(writer)  # type: ignore[method-assign]
        return self.result(self.proxied.write(KEY, b"")), writer.sink

    def test_uploads_go_through_memory(self) -> None:
        writer, sink = self.write_to_a_file(InlineWorkers())
        self.assertIsInstance(writer.sink, Gatherer)
        self.result(send(writer))
        self.result(writer._tee.settle())
        self.assertEqual(os.pread(sink.fd, len(CONTENT) + 1, 0), CONTENT)
        self.result(writer.close())
        self.assert_released()

    def test_an_upload_into_a_disk_that_hangs(self) -> None:
        workers = InlineWorkers()
        workers.bulk = _Hanging()
        writer, _ = self.write_to_a_file(workers)
        self.result(send(writer))
        running = self.start(writer.commit(True))
        self.assertFalse(running.turn(59).over)
        outcome = running.turn(2).value()
        self.assertEqual(outcome, Outcome(False, reason="it has taken nothing for 60 seconds"))
        self.result(writer.close())
        self.assertEqual(self.log.news, [])
        self.assert_released()


class _Hanging:
    """A thread that never comes back."""

    async def run(self, function: object, *args: object, **kwargs: object) -> Any:
        await Deferred()

    attempt = run


class AtOnce(Case):
    """Others do something with the same content, by the same gateway."""

    def setUp(self) -> None:
        super().setUp()
        self.uploads = Uploads(self.clock)
        self.others = self.session()
        self.proxied = self.session()
        self.held: Deferred[None] = Deferred()

    def session(self) -> ProxiedNode:
        return ProxiedNode(self.node, self.log, Caller(b"", ""), self.clock, Limits(), uploads=self.uploads)

    def hold_back(self, what: str) -> None:
        """The next of these, when it has been done."""

        async def wait(done: str) -> None:
            if done == what and not self.held.called:
                await self.held

        self.node.faults.after = wait  # type: ignore[method-assign]

    def test_an_answer_that_an_upload_has_overtaken(self) -> None:
        for ask in (self.proxied.present(KEY), self.proxied.read(KEY, 0, b"")):
            self.held = Deferred()
            self.node.shelf.content.clear()
            self.log.known[KEY] = {b"n1"}
            self.hold_back("looked")
            asking = self.start(ask)
            self.assertTrue(self.result(upload(self.others)).ok)
            self.held.callback(None)
            self.assertTrue(asking.turn().over)
            self.flushed(asking)
            self.assert_logged(True)

    def flushed(self, running: Running) -> None:
        try:
            running.value()
        except Absent:
            pass

    def test_a_removal_in_the_middle_of_an_upload(self) -> None:
        writer = self.result(self.proxied.write(KEY, b""))
        self.result(send(writer))
        self.hold_back("committed")
        committing = self.start(writer.commit(True))
        self.assertFalse(committing.over)
        self.assertTrue(self.result(self.others.remove(KEY)).ok)
        self.held.callback(None)
        outcome = committing.turn().value()
        self.assertEqual((outcome.ok, KEY in self.node.shelf.content), (False, False))
        self.result(writer.close())
        self.assert_logged(False)

    def test_it_is_back_before_the_removal_was_answered(self) -> None:
        self.node.shelf.content[KEY] = CONTENT
        writer = None
        self.hold_back("removed")
        removing = self.start(self.others.remove(KEY))
        writer = self.result(self.proxied.write(KEY, b""))
        self.result(send(writer))
        self.assertTrue(self.result(writer.commit(True)).ok)
        self.held.callback(None)
        self.assertTrue(removing.turn().over)
        self.assertIn(KEY, self.node.shelf.content)
        self.result(writer.close())
        self.assert_logged(True)


async def _given(value: Any) -> Any:
    return value
