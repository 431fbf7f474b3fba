"""
What is under way on somebody's behalf, with a deadline for each.

A place that does not answer may not answer to being called off either: a disk
that hangs keeps its thread.  So nobody waits for an errand beyond its
deadline; what it brings later is given back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredList, FirstError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from annexd.errors import AnnexdError, PeerLost, Unavailable

_log = Logger()

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741
R = TypeVar("R")


class Errands:
    """Whoever makes one closes it: then all that is still under way is called off."""

    def __init__(self, clock: IReactorTime) -> None:
        self.clock = clock
        self._under_way: set[Deferred[Any]] = set()

    async def within(
        self,
        seconds: float,
        work: Coroutine[Any, Any, T],
        silence: str,
        give_back: Callable[[T], Coroutine[Any, Any, object]] | None = None,
        call_off: bool = True,
    ) -> T:
        """
        What ``work`` returns.  Raises `Unavailable`, with the sentence
        ``silence`` when it takes longer, and also where ``work`` raises
        `PeerLost`: that is for the peer at the other end to mean.

        Work that takes longer is called off, or else goes on for itself, so
        that whoever does it comes to its own conclusions about the delay.
        """
        try:
            started = Deferred.fromCoroutine(work)
            if started.called and not isinstance(started.result, Deferred):
                return await started
            return await self._result(started, seconds, silence, give_back, call_off)
        except PeerLost as error:
            raise Unavailable(str(error)) from error

    async def _result(
        self,
        started: Deferred[T],
        seconds: float,
        silence: str,
        give_back: Callable[[T], Coroutine[Any, Any, object]] | None,
        call_off: bool,
    ) -> T:
        result: Deferred[T] = Deferred()
        late = False

        def arrived(outcome: T | Failure) -> None:
            self._under_way.discard(started)
            if not late and not result.called:
                result.callback(outcome)  # a Failure counts as one
            elif isinstance(outcome, Failure):
                _forget(outcome)
            elif give_back is not None:
                self.start(give_back(outcome))

        def expired() -> None:
            nonlocal late
            late = True
            if call_off:
                started.cancel()
            result.errback(Unavailable(silence))

        self._under_way.add(started)
        started.addBoth(arrived)
        timer = self.clock.callLater(seconds, expired)
        try:
            return await result
        finally:
            if timer.active():
                timer.cancel()
                if started in self._under_way:  # whoever waits has been called off himself
                    started.cancel()

    def start(self, work: Coroutine[Any, Any, object]) -> Deferred[None]:
        """``work`` goes on by itself; the result fires when it is over, and never fails."""
        started = Deferred.fromCoroutine(work)
        self._under_way.add(started)

        def over(outcome: object) -> None:
            self._under_way.discard(started)
            if isinstance(outcome, Failure):
                _forget(outcome)

        return started.addBoth(over)

    async def each(self, most: int, items: Sequence[I], do: Callable[[I], Coroutine[Any, Any, R]]) -> list[R]:
        """
        What ``do`` returns for each of ``items``, ``most`` of them at once.
        It says with its result how it went; what it raises ends it all.
        """
        results: dict[int, R] = {}
        waiting = iter(enumerate(items))

        async def work() -> None:
            for index, item in waiting:
                results[index] = await do(item)

        await together([work() for _ in range(min(most, len(items)))])
        return [results[index] for index in range(len(items))]

    async def first(
        self,
        most: int,
        stagger: float,
        items: Sequence[I],
        do: Callable[[I], Coroutine[Any, Any, R | None]],
    ) -> R | None:
        """
        The first result that is not `None`, if there is one.  The next of
        ``items`` comes to its turn when one has none to give, or has not
        answered for ``stagger`` seconds; ``most`` at once.
        """
        if not items:
            return None
        found: Deferred[R | None] = Deferred()
        left = len(items)
        waiting = iter(items)

        async def work(delay: float) -> R | None:
            nonlocal left
            if delay:
                await deferLater(self.clock, delay)
            for item in waiting:
                result = await do(item)
                left -= 1
                if result is not None:
                    return result
            return None

        def ended(result: R | None) -> None:
            if not found.called and (result is not None or not left):
                found.callback(result)

        def broke(failure: Failure) -> None:
            if found.called:
                _forget(failure)
            else:
                found.errback(failure)

        workers: list[Deferred[None]] = []
        try:
            for number in range(min(most, len(items))):
                if found.called:
                    break
                workers.append(Deferred.fromCoroutine(work(number * stagger)).addCallbacks(ended, broke))
            return await found
        finally:
            for worker in workers:
                worker.cancel()

    async def close(self, seconds: float) -> None:
        """Call everything off, and give it ``seconds`` to end."""
        under_way = list(self._under_way)
        for one in under_way:
            one.cancel()
        left = [one for one in under_way if one in self._under_way]
        if left:
            ended = DeferredList([_shadow(one) for one in left], consumeErrors=True)
            ended.addTimeout(seconds, self.clock, lambda result, _: None)
            await ended


async def together(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Until all are done; what the first one raises calls the others off."""
    started = [Deferred.fromCoroutine(work) for work in works]
    try:
        await DeferredList(started, fireOnOneErrback=True, consumeErrors=True)
    except FirstError as error:
        reason = error.subFailure.value
        assert reason is not None
        raise reason from None
    finally:
        for one in started:
            one.cancel()


def _shadow(deferred: Deferred[Any]) -> Deferred[None]:
    """Fires when the other one does, and may be forgotten without calling that off."""
    shadow: Deferred[None] = Deferred()

    def pass_on(outcome: T) -> T:
        if not shadow.called:
            shadow.callback(None)
        return outcome

    deferred.addBoth(pass_on)
    return shadow


def _forget(failure: Failure) -> None:
    """Nobody waits for it any more; what annexd did not foresee is told all the same."""
    if not isinstance(failure.value, (AnnexdError, CancelledError)):
        _log.failure("something that a cluster had under way", failure)


async def quietly(work: Awaitable[object]) -> None:
    """For what is let go of: that it cannot be reached is no news any more."""
    try:
        await work
    except AnnexdError:
        pass
