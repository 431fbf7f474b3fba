"""Writing in a thread behind the one that reads."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading

from twisted.trial.unittest import SynchronousTestCase

from annexd.flow.behind import _STEP, _STEPS, Behind
from annexd.flow.body import Buffer, FileSink
from annexd.flow.workers import InlineWorkers

BLOB = os.urandom(3_000_000)


class Slow(FileSink):
    """Writes when it is let."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.turns = threading.Semaphore(0)
        self.bug: Exception | None = None

    def write_blocking(self, data: Buffer) -> None:
        self.turns.acquire()
        if self.bug is not None:
            raise self.bug
        super().write_blocking(data)


class Behinds(SynchronousTestCase):
    def setUp(self) -> None:
        file = tempfile.TemporaryFile()
        self.addCleanup(file.close)
        self.fd = file.fileno()
        self.sink = Slow(InlineWorkers(), self.fd, 0, hashlib.sha256())

    def fill(self, behind: Behind, data: bytes) -> int:
        count = min(len(behind.room), len(data))
        behind.room[:count] = data[:count]
        behind.filled(count)
        return count

    def write(self, data: bytes, most: int = 1 << 30) -> None:
        with Behind(self.sink, most) as behind:
            while data:
                data = data[self.fill(behind, data) :]

    def test_everything_in_order(self) -> None:
        self.sink.turns.release(100)
        self.write(BLOB)
        self.assertEqual(os.pread(self.fd, 1 << 30, 0), BLOB)
        self.assertEqual(self.sink.digest.digest(), hashlib.sha256(BLOB).digest())  # type: ignore[attr-defined]

    def test_a_little(self) -> None:
        """Needs no other thread."""
        self.sink.turns.release(100)
        before = threading.active_count()
        with Behind(self.sink, 1 << 30) as behind:
            for start in range(0, 50_000, 10_000):
                self.fill(behind, BLOB[start : start + 10_000])
                self.assertEqual(threading.active_count(), before)
        self.assertEqual(os.pread(self.fd, 1 << 30, 0), BLOB[:50_000])

    def test_writes_begin_and_end_at_steps(self) -> None:
        """Wherever the file begins, and however the bytes come."""
        writes: list[tuple[int, int]] = []
        pwrite = os.pwrite

        def noted(fd: int, data: memoryview, offset: int) -> int:
            writes.append((offset, offset + len(data)))
            return pwrite(fd, data, offset)

        self.patch(os, "pwrite", noted)
        self.sink.turns.release(100)
        self.sink.offset = 1000
        with Behind(self.sink, 1 << 30) as behind:
            for start in range(0, 300_000, 77_777):
                data = BLOB[start : min(start + 77_777, 300_000)]
                while data:
                    data = data[self.fill(behind, data) :]
        self.assertEqual(writes, [(1000, _STEP), (_STEP, 2 * _STEP), (2 * _STEP, 301_000)])
        self.assertEqual(os.pread(self.fd, 1 << 30, 1000), BLOB[:300_000])

    def test_not_more_than_there_is(self) -> None:
        self.assertEqual(len(Behind(self.sink, 1000).room), 1000)

    def test_reading_is_ahead_by_a_little_only(self) -> None:
        with Behind(self.sink, 1 << 30) as behind:
            blob = bytes(_STEP)
            for _ in range(_STEPS - 1):
                self.fill(behind, blob)
            ahead = threading.Timer(0, self.fill, (behind, blob))
            ahead.start()
            ahead.join(0.05)
            self.assertTrue(ahead.is_alive())
            self.sink.turns.release()
            ahead.join(20)
            self.assertFalse(ahead.is_alive())
            self.sink.turns.release(100)
        self.assertEqual(self.sink.offset, _STEPS * _STEP)

    def test_a_bug_is_told(self) -> None:
        self.sink.bug = ZeroDivisionError()
        self.sink.turns.release(100)
        self.assertRaises(ZeroDivisionError, self.write, BLOB)

    def test_a_full_disk(self) -> None:
        with open("/dev/full", "wb") as full:
            self.sink = Slow(InlineWorkers(), full.fileno(), 0, hashlib.sha256())
            self.sink.turns.release(100)
            self.write(BLOB)
        assert self.sink.error is not None
