"""
One stream into several nodes, each at its own pace and from its own offset.

What a slow node has not taken yet is kept for it, up to a limit that holds for
all of them together, since the pieces are shared; and for all uploads there is
another.  At these limits the client is made to wait, but not for long: a node
that takes nothing for a while is left out, and so is one that fails.  What it
has got stays there for the next time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from annexd.errors import AnnexdError, Refused, Unavailable
from annexd.flow.body import Buffer, FileSink, Sink
from annexd.flow.workers import Workers
from annexd.router.errands import Errands
from annexd.router.failing import FailingSink
from annexd.router.limits import Limits

_TRIP = 2 << 20
"""Bytes for which a disk is given a thread at once: a trip there costs as much as many pieces."""


class Backlog:
    """What all uploads keep for slow nodes."""

    def __init__(self) -> None:
        self.bytes = 0


class Lane:
    """
    The way into one node, which has ``ahead`` bytes of the stream already and
    is given ``seconds`` for each piece (a disk of this machine: what ``limits`` say).
    ``error`` says why nothing goes there any more.
    """

    def __init__(
        self, errands: Errands, limits: Limits, sink: Sink, ahead: int, seconds: float | None = None
    ) -> None:
        self._errands = errands
        self._seconds = limits.disk_progress
        if not isinstance(sink, FileSink):
            sink = FailingSink(sink, errands, limits.progress if seconds is None else seconds)
        self._sink: FileSink | FailingSink = sink
        self._ahead = ahead
        self._waiting: deque[memoryview] = deque()
        self._draining: Deferred[None] | None = None
        self._busy = False
        self.backlog = 0
        """Bytes that are kept for it."""
        self.error: AnnexdError | None = None
        self.moved: Callable[[], None] = lambda: None
        """Called when the backlog has become less, or the lane has ended."""

    @property
    def workers(self) -> Workers | None:
        """Those that write to a disk."""
        return self._sink.workers if isinstance(self._sink, FileSink) else None

    def put(self, data: bytes) -> None:
        view = memoryview(data)[self._ahead :]
        self._ahead -= len(data) - len(view)
        if not view or self.error is not None:
            return
        self._waiting.append(view)
        self.backlog += len(view)
        if not self._busy:
            self._busy = True
            self._draining = self._errands.start(self._drain())

    def end(self, error: AnnexdError) -> None:
        """Nothing goes there any more."""
        if self.error is None:
            self.error = error
        if self._busy and self._draining is not None:
            self._draining.cancel()

    async def _drain(self) -> None:
        try:
            while self._waiting and self.error is None:
                await self._take()
                self.moved()
        except BaseException:
            self.error = self.error or Unavailable("the upload was given up")
            raise
        finally:
            self._busy = False
            if self.error is not None:
                self._waiting.clear()
                self.backlog = 0
            self.moved()

    async def _take(self) -> None:
        if isinstance(self._sink, FileSink):
            size = await self._write_to_disk(self._sink)
        else:
            piece = self._waiting.popleft()
            size = len(piece)
            await self._sink.write(piece)
            self.error = self.error or self._sink.error
        self.backlog -= size

    async def _write_to_disk(self, sink: FileSink) -> int:
        """The disk's own errors the sink remembers by itself."""
        pieces, size = [], 0
        while self._waiting and size < _TRIP:
            pieces.append(self._waiting.popleft())
            size += len(pieces[-1])
        silence = f"it has taken nothing for {self._seconds:g} seconds"
        try:
            await self._errands.within(self._seconds, _write_all(sink, pieces), silence)
        except (Refused, Unavailable) as error:
            self.error = self.error or error
        return size


def tee(clock: IReactorTime, lanes: Sequence[Lane], limits: Limits, backlog: Backlog) -> Tee:
    """Where disks are among the lanes, bytes come fast enough to be read by a thread, too."""
    workers = next((lane.workers for lane in lanes if lane.workers is not None), None)
    if workers is None:
        return Tee(clock, lanes, limits, backlog)
    return GatheringTee(clock, lanes, limits, backlog, workers)


class Tee:
    """A `Sink` for one writer at a time."""

    def __init__(self, clock: IReactorTime, lanes: Sequence[Lane], limits: Limits, backlog: Backlog) -> None:
        self._clock = clock
        self._lanes = lanes
        self._limits = limits
        self._of_all = backlog
        self._kept = 0
        self._waiter: Deferred[None] | None = None
        for lane in lanes:
            lane.moved = self._moved

    async def write(self, data: Buffer) -> None:
        piece = bytes(data)
        for lane in self._lanes:
            lane.put(piece)
        self._count()
        while self._kept > self._room:
            await self._move()

    async def settle(self) -> None:
        """Until every node has taken all, or has failed."""
        while self._kept:
            await self._move()

    @property
    def _room(self) -> int:
        limits = self._limits
        return limits.backlog if self._of_all.bytes <= limits.backlog_of_all else 0

    def _count(self) -> None:
        kept = max((lane.backlog for lane in self._lanes if lane.error is None), default=0)
        self._of_all.bytes += kept - self._kept
        self._kept = kept

    async def _move(self) -> None:
        self._waiter = waiter = Deferred[None]()
        try:
            await waiter
        finally:
            self._waiter = None

    def _moved(self) -> None:
        """Whoever waits may end the lane that says so, which must not be in the middle of something then."""
        self._count()
        if self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            self._clock.callLater(0, _wake, waiter)


class GatheringTee(Tee):
    """See `annexd.flow.body.Gatherer`."""

    def __init__(
        self,
        clock: IReactorTime,
        lanes: Sequence[Lane],
        limits: Limits,
        backlog: Backlog,
        workers: Workers,
    ) -> None:
        super().__init__(clock, lanes, limits, backlog)
        self.workers = workers


def _wake(waiter: Deferred[None]) -> None:
    if not waiter.called:
        waiter.callback(None)


async def _write_all(sink: FileSink, pieces: Sequence[memoryview]) -> None:
    def write() -> None:
        for piece in pieces:
            sink.write_blocking(piece)

    await sink.workers.bulk.run(write)
