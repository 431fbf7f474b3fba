"""Something that one coroutine waits for, always with a deadline."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList, FirstError
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from annexd.errors import AnnexdError, Stalled

T = TypeVar("T")


async def first_of(*waits: Coroutine[Any, Any, T]) -> T:
    """What the first of ``waits`` returns or raises; the others are cancelled."""
    started = [Deferred.fromCoroutine(wait) for wait in waits]
    try:
        result: tuple[T, int] = await DeferredList(
            started, fireOnOneCallback=True, fireOnOneErrback=True, consumeErrors=True
        )
        return result[0]
    except FirstError as error:
        failure = error.subFailure.value
        assert failure is not None
        raise failure from None
    finally:
        for wait in started:
            wait.cancel()


class Signal:
    """
    Wakes the coroutine in `wait`, of which there is one at a time.

    A wake-up that nobody waits for is lost: whoever waits looks at the state
    first, and again afterwards.  The timer outlives the waits and is put off
    only when it fires, which makes a wait cost no more than its Deferred.
    """

    __slots__ = ("_clock", "_waiter", "_expiry", "_timer", "_lost", "_silence", "expired")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiter: Deferred[None] | None = None
        self._expiry = 0.0
        self._timer: IDelayedCall | None = None
        self._lost: AnnexdError | None = None
        self._silence = ""
        self.expired = False
        """A wait has ended in silence."""

    async def wait(self, seconds: float, silence: str) -> None:
        """
        Until `wake`.  Raises what `fail` was given, and `Stalled` with the
        sentence ``silence`` when ``seconds`` have passed.
        """
        if self._lost is not None:
            raise self._again(self._lost)
        assert self._waiter is None, "the one who waits already would never be woken"
        self._silence = silence
        self._expire(seconds)
        waiter: Deferred[None] = Deferred(self._forget)
        self._waiter = waiter
        await waiter

    def _expire(self, seconds: float) -> None:
        self._expiry = self._clock.seconds() + seconds
        if self._timer is None:
            self._timer = self._clock.callLater(seconds, self._check)
        elif self._timer.getTime() > self._expiry:
            self._timer.reset(seconds)

    @property
    def awaited(self) -> bool:
        return self._waiter is not None

    def put_off(self, seconds: float, silence: str) -> None:
        """Whoever waits does so for ``seconds`` from now on, as if he had just begun to."""
        self._silence = silence
        self._expire(seconds)

    def wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)

    def fail(self, error: AnnexdError) -> None:
        """From now on every wait raises ``error``; the first one given counts."""
        if self._lost is not None:
            return
        self._lost = error
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.errback(self._again(error))

    @property
    def failed(self) -> bool:
        return self._lost is not None

    def check(self) -> None:
        """Raise what `fail` was given, if it was."""
        if self._lost is not None:
            raise self._again(self._lost)

    @staticmethod
    def _again(error: AnnexdError) -> AnnexdError:
        # A fresh one each time: a raised exception keeps its traceback, and so all its frames, alive.
        return type(error)(*error.args)

    def _forget(self, waiter: Deferred[None]) -> None:
        self._waiter = None

    def _check(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        left = self._expiry - self._clock.seconds()
        if left > 0:
            self._timer = self._clock.callLater(left, self._check)
            return
        self.expired = True
        waiter, self._waiter = self._waiter, None
        waiter.errback(Stalled(self._silence))
