"""Who waits for a connection that others use: first come, first served."""

from __future__ import annotations

import itertools
from bisect import insort

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from annexd.errors import AnnexdError, Unavailable

_SOON = 0.25
"""Of the longest wait: when nothing has moved for so long, nothing may for long."""

_A_MOMENT_S = 0.01


class Queue:
    """Nobody waits when nothing has moved for ``seconds``: he is told the sentence ``busy``."""

    def __init__(self, clock: IReactorTime, seconds: float, busy: str) -> None:
        self._clock = clock
        self.seconds = seconds
        self._busy = busy
        self._waiting: list[tuple[float, int, Deferred[None]]] = []
        self._numbers = itertools.count()
        self._moved_at = float("-inf")

    def moved(self) -> None:
        """There was one more, or one has come back."""
        self._moved_at = self._clock.seconds()

    def stands_still(self, began: float) -> bool:
        """As whoever has come at ``began`` sees it."""
        return self._standstill(began) >= self.seconds * _SOON

    def _standstill(self, began: float) -> float:
        return self._clock.seconds() - max(began, self._moved_at)

    async def wait(self, began: float) -> None:
        """Until it is worth another look.  Raises `Unavailable`."""
        standstill = self._standstill(began)
        if standstill >= self.seconds:
            raise Unavailable(self._busy)
        turn: Deferred[None] = Deferred()
        waiter = began, next(self._numbers), turn
        insort(self._waiting, waiter)
        pause = self.seconds * (1 if self.stands_still(began) else _SOON)
        late = self._clock.callLater(max(_A_MOMENT_S, pause - standstill), turn.callback, None)
        try:
            await turn
        finally:
            if late.active():
                late.cancel()
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def next(self) -> None:
        """Something has moved, so the first one looks again."""
        self.moved()
        if self._waiting:
            self._waiting.pop(0)[2].callback(None)

    def fail(self, error: AnnexdError) -> None:
        waiting, self._waiting = self._waiting, []
        for _, _, turn in waiting:
            if not turn.called:
                turn.errback(error)
