"""Sources that take each other's place half way."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import PeerLost, Refused, Unavailable
from annexd.flow.body import Buffer, FileSource, Source, Succession
from annexd.flow.loan import Loan, Turn
from annexd.flow.pour import pour
from annexd.flow.workers import InlineWorkers
from tests.support.memory_store import BytesSink, BytesSource

BLOB = os.urandom(1 << 20)


class _Breaking:
    """Gives ``count`` bytes of ``data``, then raises ``error``."""

    def __init__(self, data: bytes, count: int, error: Exception) -> None:
        self._source = BytesSource(data)
        self._left = count
        self._error = error

    @property
    def remaining(self) -> int:
        return self._source.remaining

    async def read(self, limit: int) -> Buffer:
        if not self._left:
            raise self._error
        data = await self._source.read(min(limit, self._left))
        self._left -= len(data)
        return data


class _LendingSink(BytesSink):
    """Takes ``step`` bytes of a file in a turn; ``loans`` tells how much it had after each loan."""

    def __init__(self, step: int = 1 << 30) -> None:
        super().__init__()
        self.step = step
        self.loans: list[int] = []
        self.fails: Exception | None = None

    def borrow(self) -> Loan:
        return _Loan(self)


class _Loan:
    """Of a `_LendingSink`, and what is lent."""

    leftover = b""

    def __init__(self, sink: _LendingSink) -> None:
        self._sink = sink
        self.lent: Any = self

    async def ready(self) -> None:
        pass

    def check(self) -> None:
        if self._sink.fails is not None:
            raise self._sink.fails

    def give_back(self) -> None:
        self._sink.loans.append(len(self._sink.data))

    def send(self, file: int, offset: int, most: int) -> tuple[int, Turn]:
        data = os.pread(file, min(most, self._sink.step), offset)
        self._sink.data += data
        return len(data), Turn.OVER if data else Turn.ENDED


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.moved = 0
        self.told: list[tuple[int, str]] = []

    def count(self, count: int) -> None:
        self.moved += count

    def succession(self, *parts: Source) -> Succession:
        left = list(parts)

        async def successor(remaining: int, error: Exception) -> Source:
            self.told.append((remaining, str(error)))
            if not left:
                raise Unavailable("there is no other one")
            return left.pop(0)

        return Succession(left.pop(0), successor)

    def pour(self, source: Source, sink: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(pour(source, sink, self.count))

    def file(self, content: bytes, start: int, end: int) -> FileSource:
        """Claims to go on until ``end``."""
        handle = tempfile.TemporaryFile()
        self.addCleanup(handle.close)
        handle.write(content)
        handle.flush()
        return FileSource(InlineWorkers(), handle.fileno(), start, end - start)


class Read(Case):
    def test_one_that_holds(self) -> None:
        sink = BytesSink()
        self.successResultOf(self.pour(self.succession(BytesSource(BLOB)), sink))
        self.assertEqual(bytes(sink.data), BLOB)
        self.assertEqual((self.moved, self.told), (len(BLOB), []))

    def test_one_after_the_other(self) -> None:
        for error in (PeerLost("a"), Refused("a"), Unavailable("a"), OSError("a")):
            self.setUp()
            sink = BytesSink()
            source = self.succession(
                _Breaking(BLOB, 1000, error), _Breaking(BLOB[1000:], 7, error), BytesSource(BLOB[1007:])
            )
            self.successResultOf(self.pour(source, sink))
            self.assertEqual(bytes(sink.data), BLOB)
            self.assertEqual(self.moved, len(BLOB))
            self.assertEqual(self.told, [(len(BLOB) - 1000, "a"), (len(BLOB) - 1007, "a")])

    def test_no_other_one(self) -> None:
        source = self.succession(_Breaking(BLOB, 1000, PeerLost("a")))
        self.failureResultOf(self.pour(source, BytesSink()), Unavailable)

    def test_what_is_no_failure_of_the_source(self) -> None:
        class Gone(BytesSink):
            async def write(self, data: Buffer) -> None:
                raise PeerLost("the client is gone")

        source = self.succession(BytesSource(BLOB), BytesSource(BLOB))
        self.failureResultOf(self.pour(source, Gone()), PeerLost)
        self.assertEqual(self.told, [])


class Files(Case):
    def test_the_kernel_moves_them(self) -> None:
        sink = _LendingSink()
        self.successResultOf(self.pour(self.succession(self.file(BLOB, 9, len(BLOB))), sink))
        self.assertEqual(bytes(sink.data), BLOB[9:])
        self.assertEqual(sink.loans, [len(BLOB) - 9])
        self.assertEqual(self.moved, len(BLOB) - 9)

    def test_one_that_became_shorter(self) -> None:
        sink = _LendingSink(step=1000)
        half = len(BLOB) // 2
        source = self.succession(self.file(BLOB[:half], 0, len(BLOB)), self.file(BLOB, half, len(BLOB)))
        self.successResultOf(self.pour(source, sink))
        self.assertEqual(bytes(sink.data), BLOB)
        self.assertEqual(sink.loans, [half, len(BLOB)])
        self.assertEqual(self.told, [(len(BLOB) - half, "the file became shorter while it was sent")])
        self.assertEqual(self.moved, len(BLOB))

    def test_a_file_and_then_a_connection(self) -> None:
        sink = _LendingSink()
        source = self.succession(self.file(BLOB[:500], 0, len(BLOB)), BytesSource(BLOB[500:]))
        self.successResultOf(self.pour(source, sink))
        self.assertEqual(bytes(sink.data), BLOB)

    def test_a_small_one_is_not_worth_it(self) -> None:
        sink = _LendingSink()
        self.successResultOf(self.pour(self.succession(self.file(BLOB[:500], 0, 500)), sink))
        self.assertEqual(bytes(sink.data), BLOB[:500])
        self.assertEqual(sink.loans, [])

    def test_the_client_goes_away(self) -> None:
        sink = _LendingSink()
        sink.fails = PeerLost("the client is gone")
        source = self.succession(self.file(BLOB, 0, len(BLOB)), self.file(BLOB, 0, len(BLOB)))
        self.failureResultOf(self.pour(source, sink), PeerLost)
        self.assertEqual(self.told, [])
        self.assertEqual(sink.loans, [0])

    def test_no_other_one(self) -> None:
        source = self.succession(self.file(BLOB[:500], 0, len(BLOB)))
        self.failureResultOf(self.pour(source, _LendingSink()), Unavailable)
