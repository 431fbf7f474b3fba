"""Reading and writing by two threads that take turns."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from typing import Callable

from twisted.trial.unittest import SynchronousTestCase

from annexd.flow.abreast import _PART, _STEP, _STEPS, Abreast
from annexd.flow.body import Buffer, FileSink
from annexd.flow.loan import Turn
from annexd.flow.workers import InlineWorkers
from tests.support.processes import until

BLOB = os.urandom((_STEPS + 4) * _STEP)
_WAIT_S = 20.0


class Giver:
    """Fills pieces with ``data``, and ends the turn behind it; ``before`` is called for each piece."""

    def __init__(self, data: bytes, end: Turn = Turn.ENDED) -> None:
        self.data = data
        self.end = end
        self.given = 0
        self.threads: set[threading.Thread] = set()
        self.before: Callable[[], None] = lambda: None

    def __call__(self, piece: memoryview, moved: int) -> tuple[int, Turn | None]:
        assert len(piece) and moved == self.given
        self.before()
        self.threads.add(threading.current_thread())
        count = min(len(piece), len(self.data) - self.given)
        piece[:count] = self.data[self.given : self.given + count]
        self.given += count
        return count, None if count == len(piece) else self.end


class Sink(FileSink):
    """Calls ``before`` for each write."""

    def __init__(self, fd: int, offset: int = 0) -> None:
        self.sha256 = hashlib.sha256()
        super().__init__(InlineWorkers(), fd, offset, self.sha256)
        self.threads: set[threading.Thread] = set()
        self.writes: list[tuple[int, int]] = []
        self.before: Callable[[], None] = lambda: None

    def write_blocking(self, data: Buffer) -> None:
        self.before()
        self.threads.add(threading.current_thread())
        self.writes.append((self.offset, self.offset + len(data)))
        super().write_blocking(data)


class Rendezvous:
    """``meet`` returns once it was called ``count`` times, by as many threads."""

    def __init__(self, count: int) -> None:
        self._barrier = threading.Barrier(count)

    def meet(self) -> None:
        self._barrier.wait(_WAIT_S)


class Abreasts(SynchronousTestCase):
    def setUp(self) -> None:
        file = tempfile.TemporaryFile()
        self.addCleanup(file.close)
        self.fd = file.fileno()
        self.sink = Sink(self.fd)

    def run_with(self, giver: Giver, most: int = 1 << 30) -> Abreast:
        both = Abreast(giver, self.sink, most)
        both.run()
        return both

    def test_everything_in_order(self) -> None:
        both = self.run_with(Giver(BLOB))
        self.assertEqual((both.moved, both.turn), (len(BLOB), Turn.ENDED))
        self.assertEqual(os.pread(self.fd, 1 << 30, 0), BLOB)
        self.assertEqual(self.sink.sha256.digest(), hashlib.sha256(BLOB).digest())

    def test_as_much_as_is_wanted(self) -> None:
        for most in (1, _PART - 1, _PART, _PART + 1, _PART + _STEP, _PART + 5 * _STEP + 7):
            with self.subTest(most=most):
                self.setUp()
                giver = Giver(BLOB)
                both = self.run_with(giver, most)
                self.assertEqual((both.moved, both.turn, giver.given), (most, Turn.OVER, most))
                self.assertEqual(os.pread(self.fd, 1 << 30, 0), BLOB[:most])

    def test_why_a_turn_ends(self) -> None:
        for count in (0, 1000, _PART, _PART + 1000):
            for end in Turn:
                with self.subTest(count=count, end=end):
                    self.setUp()
                    both = self.run_with(Giver(BLOB[:count], end))
                    self.assertEqual((both.moved, both.turn), (count, end))
                    self.assertEqual(os.pread(self.fd, 1 << 30, 0), BLOB[:count])

    def test_a_little(self) -> None:
        """Needs no other thread."""
        giver = Giver(BLOB[:50_000], Turn.IDLE)
        self.run_with(giver)
        self.assertEqual(giver.threads | self.sink.threads, {threading.current_thread()})

    def test_writes_begin_and_end_at_parts(self) -> None:
        """Wherever the file begins."""
        self.sink.offset = 1000
        size = 2 * _PART + 9000
        self.run_with(Giver(BLOB[:size]))
        self.assertEqual(self.sink.writes, [(1000, _PART), (_PART, 2 * _PART), (2 * _PART, 1000 + size)])
        self.assertEqual(os.pread(self.fd, 1 << 30, 1000), BLOB[:size])

    def test_one_reads_while_the_other_writes(self) -> None:
        """Each waits until the other has come as well."""
        giver = Giver(BLOB)
        together = Rendezvous(2)
        self.sink.before = lambda: together.meet() if len(self.sink.writes) == 0 else None
        giver.before = lambda: together.meet() if giver.given == _PART else None
        self.run_with(giver)
        self.assertEqual(os.pread(self.fd, 1 << 30, 0), BLOB)

    def test_they_change_places(self) -> None:
        """Whoever has written all that there is reads on, while the slow one writes what it has read."""
        giver, here = Giver(BLOB), threading.current_thread()
        both = Abreast(giver, self.sink, len(BLOB))
        slow, changed = threading.Event(), threading.Event()

        def read() -> None:
            if threading.current_thread() is not here:
                changed.set()
            elif giver.given == _PART:
                slow.set()
                until(lambda: both._waiting, "the other one waits")

        def write() -> None:
            awaited = changed if threading.current_thread() is here else slow
            if not awaited.wait(_WAIT_S):
                raise AssertionError("they do not change places")

        giver.before, self.sink.before = read, write
        both.run()
        self.assertEqual((len(giver.threads), len(self.sink.threads)), (2, 2))
        self.assertEqual(os.pread(self.fd, 1 << 30, 0), BLOB)

    def test_reading_is_ahead_by_a_little_only(self) -> None:
        giver = Giver(BLOB)
        ahead: list[int] = []
        giver.before = lambda: ahead.append(giver.given - self.sink.offset)
        both = Abreast(giver, self.sink, len(BLOB))

        def wait_for_the_other() -> None:
            if self.sink.offset == 0:
                until(lambda: both._waiting, "the other one has no more room")

        self.sink.before = wait_for_the_other
        both.run()
        self.assertLessEqual(max(ahead), (_STEPS - 1) * _STEP)

    def test_a_bug_in_writing_is_told(self) -> None:
        def broken() -> None:
            raise ZeroDivisionError

        self.sink.before = broken
        self.assertRaises(ZeroDivisionError, self.run_with, Giver(BLOB))

    def test_a_bug_in_reading_is_told(self) -> None:
        giver = Giver(BLOB)

        def broken() -> None:
            if giver.given > 1_000_000:
                raise ZeroDivisionError

        giver.before = broken
        self.assertRaises(ZeroDivisionError, self.run_with, giver)

    def test_a_full_disk(self) -> None:
        with open("/dev/full", "wb") as full:
            self.sink = Sink(full.fileno())
            self.run_with(Giver(BLOB))
        assert self.sink.error is not None
