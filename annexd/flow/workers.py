"""
Where blocking work runs: one pool for short work on disks, one for work that
takes as long as the bytes are many.  They are apart so that hashing a large
file never keeps a small question waiting.
"""

from __future__ import annotations

from typing import Callable, ParamSpec, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorFromThreads

from annexd.flow.threads import Threads

_PARTING_S = 5.0
"""For what is under way when the threads are to end; what hangs is not waited for."""

P = ParamSpec("P")
T = TypeVar("T")


class Pool(Protocol):
    @property
    def crowded(self) -> bool:
        """Whether something waits for a thread; for any thread to ask."""

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """
        Call ``function`` where it may block.  A wait that is cancelled still
        lasts until the function is done: what it uses may be closed then.
        """

    async def attempt(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """
        The same for what is not to be done when nobody wants it any more.
        Who is cancelled before it has begun may be sure that it never will;
        who is cancelled too late for that gets the result all the same.
        """


class Workers(Protocol):
    @property
    def disk(self) -> Pool: ...

    @property
    def bulk(self) -> Pool: ...


class ThreadedPool:
    """A `Pool` of ``most`` threads, which start when they are needed first."""

    def __init__(self, reactor: IReactorFromThreads, name: str, most: int) -> None:
        self._reactor = reactor
        # Not Twisted's ThreadPool, whose way there and back takes twice as long.
        self._threads = Threads(name, most)

    @property
    def crowded(self) -> bool:
        return self._threads.waiting > 0

    def stop(self, seconds: float = _PARTING_S) -> bool:
        """Wait for what is under way, then end the threads; whether all have, as one that hangs does not."""
        return self._threads.stop(seconds)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        job = self._threads.submit(function, *args, **kwargs)
        back: list[Deferred[None]] = [Deferred()]
        job.add_done_callback(lambda _: self._reactor.callFromThread(_arrive, back))
        cancelled: CancelledError | None = None
        while back:
            try:
                await back[0]
            except CancelledError as error:
                cancelled = error
                if back:
                    back[0] = Deferred()
        if cancelled is not None:
            raise cancelled
        return job.result()

    async def attempt(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        job = self._threads.submit(function, *args, **kwargs)
        back: list[Deferred[None]] = [Deferred()]
        job.add_done_callback(lambda _: self._reactor.callFromThread(_arrive, back))
        while back:
            try:
                await back[0]
            except CancelledError:
                if job.cancel():  # `_arrive` is on its way, and finds nobody
                    raise
                if back:
                    back[0] = Deferred()
        return job.result()


def _arrive(back: list[Deferred[None]]) -> None:
    waiting = back.pop()
    if not waiting.called:
        waiting.callback(None)


class ThreadedWorkers:
    def __init__(self, reactor: IReactorFromThreads, disk: int = 8, bulk: int = 8) -> None:
        self.disk = ThreadedPool(reactor, "disk", disk)
        self.bulk = ThreadedPool(reactor, "bulk", bulk)

    def stop(self, seconds: float = _PARTING_S) -> bool:
        return all([self.disk.stop(seconds), self.bulk.stop(seconds)])


class _Inline:
    crowded = False

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    async def attempt(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)


class InlineWorkers:
    """For tests without a reactor: does the work at once, in the caller's thread."""

    def __init__(self) -> None:
        self.disk: Pool = _Inline()
        self.bulk: Pool = _Inline()
