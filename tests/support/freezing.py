"""A disk that hangs while a test wants it to, without threads."""

from __future__ import annotations

from typing import Any, Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from annexd.flow.disk import Disk
from annexd.flow.disks import Disks, Sight
from annexd.flow.mounts import Mount, Mounts

DEADLINE = 10.0


class FreezingPool:
    """Work is done at once, or when it thaws, whoever has given it up."""

    def __init__(self) -> None:
        self.frozen: Deferred[None] | None = None
        self.stuck = 0

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.stuck += 1
        cancelled: CancelledError | None = None
        while self.frozen is not None:
            waiting: Deferred[None] = Deferred()
            self.frozen.addCallback(_pass, waiting)
            try:
                await waiting
            except CancelledError as error:
                cancelled = error
        self.stuck -= 1
        if cancelled is not None:
            raise cancelled
        return function(*args, **kwargs)

    attempt = run


def _pass(_: None, waiting: Deferred[None]) -> None:
    if not waiting.called:
        waiting.callback(None)


class _Workers:
    def __init__(self, pool: FreezingPool) -> None:
        self.disk = self.bulk = pool

    def stop(self, seconds: float) -> bool:
        return self.disk.frozen is None


class FreezingDisk(Disk):
    """Of an NFS server, by its mount; see also `annexd.flow.disks.Disks`: it is all of them."""

    def __init__(self, clock: Clock, kind: bytes = b"nfs") -> None:
        mount = Mount(b"/nas", b"0:40", kind)
        self.pool = FreezingPool()
        self.clock = clock
        disks = Disks(clock, Mounts(lambda: b""), lambda: DEADLINE)
        workers: Any = _Workers(self.pool)
        super().__init__(
            clock, mount, Sight(disks, b""), workers, lambda: DEADLINE, self._probed, clock.seconds
        )
        self._answers: list[Callable[[], None]] = []

    def at(self, path: bytes) -> Disk:
        return self

    async def of(self, path: bytes) -> Disk:
        return self

    def under(self, *paths: bytes) -> Disk:
        return self

    def freeze(self) -> None:
        self.pool.frozen = Deferred()

    def thaw(self) -> None:
        frozen, self.pool.frozen = self.pool.frozen, None
        assert frozen is not None
        frozen.callback(None)
        answers, self._answers = self._answers, []
        for answer in answers:
            answer()

    def pass_deadline(self) -> None:
        for _ in range(2):
            self.clock.advance(DEADLINE / 2)

    def _probed(self, point: bytes, file: bytes, answered: Callable[[], None]) -> None:
        if self.pool.frozen is None:
            answered()
        else:
            self._answers.append(answered)
