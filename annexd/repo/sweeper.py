"""
Empty directories, taken away behind the back of whoever emptied them.

Removing the three directories of an object takes most file systems longer
than removing the object, and nobody waits for it: an empty directory that
outlives a crash means nothing to git-annex, and goes with the next object.
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from annexd.flow.workers import Pool

_log = Logger()

Sweep = Callable[[bytes], None]


class Sweeper:
    """`add` is for any thread, the rest for the reactor's."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._paths: deque[bytes] = deque()
        self._busy = False
        self._waiting: list[Deferred[None]] = []

    def add(self, path: bytes) -> None:
        """The object that was at ``path`` is gone."""
        self._paths.append(path)

    def start(self, sweep: Sweep) -> None:
        """Have ``sweep`` called, in a thread, for all that was added."""
        if self._paths and not self._busy:
            self._busy = True
            sweeping = Deferred.fromCoroutine(self._run(sweep))
            sweeping.addErrback(lambda failure: _log.failure("removing empty directories", failure))

    async def done(self) -> None:
        """Until all that was added before is swept, however much is added meanwhile."""
        if self._busy:
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            await waiting

    async def _run(self, sweep: Sweep) -> None:
        try:
            while self._paths:
                waiting, self._waiting = self._waiting, []
                try:
                    await self._pool.run(self._sweep_some, sweep, len(self._paths))
                finally:
                    _tell(waiting)
        finally:
            self._busy = False
            waiting, self._waiting = self._waiting, []
            _tell(waiting)

    def _sweep_some(self, sweep: Sweep, count: int) -> None:
        for _ in range(count):
            with contextlib.suppress(OSError):  # somebody needs them again, or they are not ours
                sweep(self._paths.popleft())


def _tell(waiting: list[Deferred[None]]) -> None:
    for one in waiting:
        one.callback(None)
