"""Bodies from and to files, in memory and through real pipes."""

from __future__ import annotations

import gc
import hashlib
import os
import tempfile

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import PeerLost, Refused, Stalled
from annexd.flow.body import Buffer, FileSink, FileSource
from annexd.flow.pour import pour
from annexd.flow.workers import InlineWorkers, Workers
from annexd.sessions.deadlines import Deadlines
from annexd.sessions.wire import Wire
from annexd.transports.pipes import PipeTransport
from tests.support.hand_reactor import HandReactor
from tests.support.memory_store import BytesSink, BytesSource

BLOB = os.urandom(1 << 20) * 3


def open_descriptors() -> int:
    """Not counting those that other tests left to the garbage collector."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


class GatheringSink(BytesSink):
    def __init__(self, workers: Workers) -> None:
        super().__init__()
        self.workers = workers
        self.pieces = 0
        self.wait: Deferred[None] | None = None

    async def write(self, data: Buffer) -> None:
        self.pieces += 1
        await super().write(data)
        if self.wait is not None:
            await self.wait


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.workers = InlineWorkers()
        self.moved = 0

    def count(self, count: int) -> None:
        self.moved += count

    def file(self, content: bytes = b"") -> int:
        handle = tempfile.TemporaryFile()
        self.addCleanup(handle.close)
        handle.write(content)
        handle.flush()
        return handle.fileno()

    def content(self, fd: int) -> bytes:
        return os.pread(fd, 1 << 30, 0)


class InMemory(Case):
    def pour(self, source: object, sink: object) -> None:
        self.successResultOf(Deferred.fromCoroutine(pour(source, sink, self.count)))  # type: ignore[arg-type]

    def test_memory_to_memory(self) -> None:
        sink = BytesSink()
        self.pour(BytesSource(BLOB), sink)
        self.assertEqual(bytes(sink.data), BLOB)
        self.assertEqual(self.moved, len(BLOB))

    def test_file_to_memory(self) -> None:
        sink = BytesSink()
        self.pour(FileSource(self.workers, self.file(BLOB), 10, len(BLOB) - 20, BLOB[10:100]), sink)
        self.assertEqual(bytes(sink.data), BLOB[10:-10])

    def test_memory_to_file_with_digest(self) -> None:
        fd, digest = self.file(b"0123456789"), hashlib.sha256()
        self.pour(BytesSource(BLOB), FileSink(self.workers, fd, 5, digest))
        self.assertEqual(self.content(fd), b"01234" + BLOB)
        self.assertEqual(digest.digest(), hashlib.sha256(BLOB).digest())

    def test_a_file_that_shrank(self) -> None:
        source = FileSource(self.workers, self.file(b"abc"), 0, 10)
        done = Deferred.fromCoroutine(pour(source, BytesSink(), self.count))
        self.failureResultOf(done, Refused)

    def test_excess_is_dropped_and_counted(self) -> None:
        fd = self.file()
        sink = FileSink(self.workers, fd, 0, hashlib.sha256(), limit=1000)
        self.pour(BytesSource(BLOB), sink)
        self.assertEqual(self.content(fd), BLOB[:1000])
        self.assertEqual(sink.excess, len(BLOB) - 1000)

    def test_a_full_disk_is_remembered(self) -> None:
        with open("/dev/full", "wb") as full:
            sink = FileSink(self.workers, full.fileno(), 0, hashlib.sha256())
            self.pour(BytesSource(BLOB), sink)
        assert sink.error is not None
        self.assertEqual(os.strerror(sink.error.errno or 0), "No space left on device")


class ThroughPipes(Case):
    def setUp(self) -> None:
        super().setUp()
        self.reactor = HandReactor()
        self.wire = Wire(self.reactor, Deadlines(stall=10))
        inlet, self.feed = os.pipe()
        self.drain, outlet = os.pipe()
        for fd in self.feed, self.drain:
            os.set_blocking(fd, False)
        self.addCleanup(lambda: [os.close(fd) for fd in (self.feed, self.drain) if fd >= 0])
        transport = PipeTransport(self.reactor, inlet, outlet)
        transport.connect(self.wire)
        self.addCleanup(transport.abortConnection)

    def start(self, source: object, sink: object) -> Deferred[None]:
        return Deferred.fromCoroutine(pour(source, sink, self.count))  # type: ignore[arg-type]

    def give(self, data: bytes) -> bytes:
        """Write what fits; what did not."""
        try:
            return data[os.write(self.feed, data) :]
        except BlockingIOError:
            return data

    def take(self) -> bytes:
        try:
            return os.read(self.drain, 1 << 20)
        except BlockingIOError:
            return b""

    def end_input(self) -> None:
        os.close(self.feed)
        self.feed = -1

    def test_into_a_file(self) -> None:
        fd, digest = self.file(), hashlib.sha256()
        rest = self.give(BLOB + b"CHECK")
        self.reactor.turn()
        done = self.start(self.wire.body(len(BLOB)), FileSink(self.workers, fd, 0, digest))
        while rest:
            rest = self.give(rest)
            self.reactor.turn()
        self.reactor.turns()
        self.successResultOf(done)
        self.assertEqual(self.content(fd), BLOB)
        self.assertEqual(digest.digest(), hashlib.sha256(BLOB).digest())
        self.assertEqual(self.moved, len(BLOB))
        # what follows the body is read by the wire again
        follow = Deferred.fromCoroutine(self.wire.read(5))
        self.reactor.turns()
        self.assertEqual(self.successResultOf(follow), b"CHECK")

    def test_into_memory_by_a_thread(self) -> None:
        sink = GatheringSink(self.workers)
        rest = self.give(BLOB + b"CHECK")
        self.reactor.turn()
        done = self.start(self.wire.body(len(BLOB)), sink)
        while rest:
            rest = self.give(rest)
            self.reactor.turn()
        self.reactor.turns()
        self.successResultOf(done)
        self.assertEqual(bytes(sink.data), BLOB)
        self.assertEqual(self.moved, len(BLOB))
        self.assertLess(sink.pieces, len(BLOB) // (64 * 1024))
        follow = Deferred.fromCoroutine(self.wire.read(5))
        self.reactor.turns()
        self.assertEqual(self.successResultOf(follow), b"CHECK")

    def test_no_more_is_read_than_the_memory_s_sink_takes(self) -> None:
        sink = GatheringSink(self.workers)
        sink.wait = Deferred()
        done = self.start(self.wire.body(len(BLOB)), sink)
        rest = BLOB
        for _ in range(50):
            rest = self.give(rest)
            self.reactor.turn()
        # one piece, and what the pipe holds
        self.assertLess(len(BLOB) - len(rest), 2 * (1 << 20) + (1 << 18))
        sink.wait.callback(None)
        while rest:
            rest = self.give(rest)
            self.reactor.turn()
        self.reactor.turns()
        self.successResultOf(done)
        self.assertEqual(bytes(sink.data), BLOB)

    def test_into_memory_until_the_input_ends(self) -> None:
        sink = GatheringSink(self.workers)
        done = self.start(self.wire.body(len(BLOB)), sink)
        self.give(b"x" * 5000)
        self.reactor.turns(3)
        self.assertEqual(bytes(sink.data), b"x" * 5000)  # without waiting for more
        self.end_input()
        self.reactor.turns(3)
        self.failureResultOf(done, PeerLost)

    def test_the_input_ends_half_way(self) -> None:
        fd = self.file()
        done = self.start(self.wire.body(len(BLOB)), FileSink(self.workers, fd, 0, hashlib.sha256()))
        self.give(b"x" * 5000)
        self.reactor.turns(3)
        self.end_input()
        self.reactor.turns(3)
        self.failureResultOf(done, PeerLost)
        self.assertEqual(self.content(fd), b"x" * 5000)
        after = Deferred.fromCoroutine(self.wire.receive())
        self.reactor.turns()
        self.failureResultOf(after, PeerLost)

    def test_a_silent_sender_is_given_up(self) -> None:
        before = open_descriptors()
        done = self.start(self.wire.body(len(BLOB)), FileSink(self.workers, self.file(), 0, hashlib.sha256()))
        self.reactor.turns(3)
        self.reactor.advance(11)
        self.failureResultOf(done, Stalled)
        self.assertEqual(open_descriptors(), before + 1)  # the file

    def test_out_of_a_file(self) -> None:
        source = FileSource(self.workers, self.file(BLOB), 7, len(BLOB) - 7, BLOB[7:1000])
        self.wire.transport.write(b"DATA\n")
        done = self.start(source, self.wire)
        got = b""
        while len(got) < len(BLOB) - 2:
            got += self.take()
            self.reactor.turn()
        self.successResultOf(done)
        self.assertEqual(got, b"DATA\n" + BLOB[7:])

    def test_a_reader_that_takes_nothing_is_given_up(self) -> None:
        before = open_descriptors()
        source = FileSource(self.workers, self.file(BLOB), 0, len(BLOB))
        done = self.start(source, self.wire)
        self.reactor.turns(3)
        self.assertNoResult(done)
        self.reactor.advance(11)
        self.failureResultOf(done, Stalled)
        self.assertEqual(open_descriptors(), before + 1)

    def test_a_reader_that_goes_away_is_lost(self) -> None:
        done = self.start(FileSource(self.workers, self.file(BLOB), 0, len(BLOB)), self.wire)
        self.reactor.turns(3)
        os.close(self.drain)
        self.drain = -1
        self.reactor.turns(3)
        self.failureResultOf(done, PeerLost)

    def test_giving_up_the_wire_ends_the_loan(self) -> None:
        before = open_descriptors()
        done = self.start(self.wire.body(len(BLOB)), FileSink(self.workers, self.file(), 0, hashlib.sha256()))
        self.reactor.turns(3)
        self.wire.abort(PeerLost("stopping"))
        self.failureResultOf(done, PeerLost)
        self.assertEqual(open_descriptors(), before + 1 - 2)
