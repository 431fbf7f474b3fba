"""
Where blocking work runs: one pool for short work on disks, one for work that
takes as long as the bytes are many.  They are apart so that hashing a large
file never keeps a small question waiting.
"""

from __future__ import annotations

from typing import Callable, ParamSpec, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

P = ParamSpec("P")
T = TypeVar("T")


class Pool(Protocol):
    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """
        Call ``function`` where it may block.  A wait that is cancelled still
        lasts until the function is done: what it uses may be closed then.
        """


class Workers(Protocol):
    @property
    def disk(self) -> Pool: ...

    @property
    def bulk(self) -> Pool: ...


class ThreadedPool:
    """A `Pool` of threads; idle ones end."""

    def __init__(self, reactor: IReactorFromThreads, name: str, most: int) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=most, name=name)

    def start(self) -> None:
        self._pool.start()

    def stop(self) -> None:
        """Wait for what is under way, then end the threads."""
        self._pool.stop()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        job = deferToThreadPool(self._reactor, self._pool, function, *args, **kwargs)
        outcome: list[T | Failure] = []
        cancelled: CancelledError | None = None
        done: Deferred[None] = Deferred()
        job.addBoth(outcome.append).addCallback(lambda _: done.callback(None))
        while not outcome:
            try:
                await done
            except CancelledError as error:
                cancelled, done = error, Deferred()
        if cancelled is not None:
            raise cancelled
        result = outcome[0]
        if isinstance(result, Failure):
            assert result.value is not None
            raise result.value
        return result


class ThreadedWorkers:
    def __init__(self, reactor: IReactorFromThreads, disk: int = 8, bulk: int = 8) -> None:
        self.disk = ThreadedPool(reactor, "disk", disk)
        self.bulk = ThreadedPool(reactor, "bulk", bulk)

    def start(self) -> None:
        self.disk.start()
        self.bulk.start()

    def stop(self) -> None:
        self.disk.stop()
        self.bulk.stop()


class _Inline:
    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)


class InlineWorkers:
    """For tests without a reactor: does the work at once, in the caller's thread."""

    def __init__(self) -> None:
        self.disk: Pool = _Inline()
        self.bulk: Pool = _Inline()
