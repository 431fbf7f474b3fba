"""
Empty directories, taken away behind the back of whoever emptied them.

Removing the three directories of an object takes most file systems longer
than removing the object, and nobody waits for it: an empty directory that
outlives a crash means nothing to git-annex, and goes with the next object.
It is put off until there is a pause: the file system lets only one change a
directory at a time, so sweeping would hold up the next removals.
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from annexd.flow.workers import Pool

_log = Logger()

Sweep = Callable[[bytes], None]

_QUIET_S = 0.2
"""Longer than a client takes from one removal to the next."""

_MOST_PUT_OFF = 1000


class Sweeper:
    """``sweep`` is called in a thread.  `add` is for any thread, the rest for the reactor's."""

    def __init__(self, clock: IReactorTime, pool: Pool, sweep: Sweep) -> None:
        self._clock = clock
        self._pool = pool
        self._sweep = sweep
        self._timer: IDelayedCall | None = None
        self._paths: deque[bytes] = deque()
        self._busy = False
        self._waiting: list[Deferred[None]] = []

    def add(self, path: bytes) -> None:
        """The object that was at ``path`` is gone."""
        self._paths.append(path)

    def start(self) -> None:
        """Sweep, soon, all that was added."""
        if not self._paths or self._busy:
            return
        if len(self._paths) > _MOST_PUT_OFF:
            self._begin()
        elif self._timer is None:
            self._timer = self._clock.callLater(_QUIET_S, self._begin)
        else:
            self._timer.reset(_QUIET_S)

    def _begin(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        self._busy = True
        sweeping = Deferred.fromCoroutine(self._run())
        sweeping.addErrback(lambda failure: _log.failure("removing empty directories", failure))

    async def done(self) -> None:
        """Until all that was added before is swept, however much is added meanwhile."""
        if self._paths and not self._busy:
            self._begin()
        if self._busy:
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            await waiting

    async def _run(self) -> None:
        try:
            while self._paths:
                waiting, self._waiting = self._waiting, []
                try:
                    await self._pool.run(self._sweep_some, len(self._paths))
                finally:
                    _tell(waiting)
        finally:
            self._busy = False
            waiting, self._waiting = self._waiting, []
            _tell(waiting)

    def _sweep_some(self, count: int) -> None:
        for _ in range(count):
            with contextlib.suppress(OSError):  # somebody needs them again, or they are not ours
                self._sweep(self._paths.popleft())


def _tell(waiting: list[Deferred[None]]) -> None:
    for one in waiting:
        one.callback(None)
