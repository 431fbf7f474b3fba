"""
A file system that repositories are on: the threads that work on it, and whether
it answers.

They are its own, so that one that hangs keeps no others from their work.  What
takes long is not what hangs: when something has taken half of a deadline, the
file system is asked a small question by a thread that is for nothing else (see
`annexd.flow.probe`).  If that has no answer by the end of the deadline, the
file system is down.  All who wait for it `patiently` are told so then, and all
who come, at once, until the answer is there: one thread waits for it, and no
other.
"""

from __future__ import annotations

import os
import time
from collections.abc import Coroutine, Iterable
from typing import Any, Callable, ParamSpec, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from annexd.errors import AnnexdError, Unavailable
from annexd.flow.mounts import Mount
from annexd.flow.probe import Probe
from annexd.flow.workers import Pool, ThreadedWorkers, Workers

_log = Logger()

P = ParamSpec("P")
T = TypeVar("T")


_PARTING_S, _HUNG_PARTING_S = 5.0, 0.1
"""For what is under way there when the daemon stops."""


class Hung(Unavailable):
    """A file system does not answer, and whoever waits for it is told to go on without it."""


class Sight(Protocol):
    """What those may look at who work there; see `annexd.flow.disks`."""

    def near(self, path: bytes) -> bool: ...

    def real(self, path: bytes) -> bytes: ...

    def has(self, paths: Iterable[bytes]) -> bool: ...


class Disk:
    """One of them, at ``mount``.  ``deadline`` is asked for each time: seconds."""

    def __init__(
        self,
        reactor: Any,
        mount: Mount,
        sight: Sight,
        workers: ThreadedWorkers,
        deadline: Callable[[], float],
        probe: Probe,
        time_of_day: Callable[[], float] = time.time,
    ) -> None:
        self.mount = mount
        self.sight = sight
        self.threads = workers
        self.disk: Pool = _WatchedPool(self, workers.disk)
        self.bulk: Pool = _WatchedPool(self, workers.bulk)
        self.down = ""
        """A sentence, while it does not answer."""
        self.since = time_of_day()
        """The time of day from which on it has been so, or has not."""
        self.file = b""
        """One that is there, as soon as there is a repository: reading it tells more than other questions."""
        self._reactor = reactor
        self._deadline = deadline
        self._probe = probe
        self._time_of_day = time_of_day
        self._begun: dict[object, float] = {}
        self._probing: float | None = None
        self._timer: IDelayedCall | None = None
        self._waiting: set[Deferred[None]] = set()
        self._ended = False

    @property
    def plain(self) -> bool:
        return self.mount.plain

    @property
    def workers(self) -> Workers:
        """For a repository that is there."""
        return self

    # --- what goes on there ----------------------------------------------------

    def begin(self) -> object:
        """Something is to be done there; until `end`, it is watched."""
        token = object()
        self._begun[token] = self._reactor.seconds()
        self._watch(self._deadline() / 2)
        return token

    def end(self, token: object) -> None:
        del self._begun[token]

    async def patiently(
        self,
        work: Coroutine[Any, Any, T],
        give_back: Callable[[T], Coroutine[Any, Any, object]] | None = None,
        anyway: bool = False,
    ) -> T:
        """
        What ``work`` returns, if it does while the file system answers.
        Raises `Hung` when it does not: then ``work`` has been called off, and
        what it brings later all the same is given back.  What is to be done
        ``anyway``, as something is released by it, is done when it answers.
        """
        if self.down and not anyway:
            work.close()
            raise Hung(self.down)
        started = Deferred.fromCoroutine(work)
        if started.called and not isinstance(started.result, Deferred):
            return await started
        if self.down:
            started.addBoth(_settle, give_back)
            raise Hung(self.down)
        return await self._unless_hung(started, give_back, anyway)

    async def _unless_hung(
        self,
        started: Deferred[T],
        give_back: Callable[[T], Coroutine[Any, Any, object]] | None,
        anyway: bool,
    ) -> T:
        waiting: list[Deferred[None]] = [Deferred()]
        outcome: list[T | Failure] = []
        given_up = False

        def arrived(result: T | Failure) -> None:
            if given_up:
                _settle(result, give_back)
                return
            outcome.append(result)
            if not waiting[0].called:
                waiting[0].callback(None)

        started.addBoth(arrived)
        try:
            while not outcome:
                self._waiting.add(waiting[0])
                try:
                    await waiting[0]
                except CancelledError:
                    started.cancel()
                    if not outcome:
                        self._waiting.discard(waiting[0])
                        waiting[0] = Deferred()
        except Hung:
            given_up = True
            if not anyway:
                started.cancel()
            raise
        finally:
            self._waiting.discard(waiting[0])
        result = outcome[0]
        if isinstance(result, Failure):
            result.raiseException()
        return result

    # --- does it answer? -------------------------------------------------------

    def _watch(self, seconds: float) -> None:
        """While it is down, the answer is waited for and nothing else."""
        if self._timer is None and not (self._ended or self.down):
            self._timer = self._reactor.callLater(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._begun:
            return
        half = self._deadline() / 2
        now = self._reactor.seconds()
        if self._probing is not None:
            due = self._probing + half
            if now >= due:
                self._go_down()
        else:
            due = next(iter(self._begun.values())) + half
            if now >= due:
                self._ask(now)
                due = now + half
        self._watch(max(due - now, half / 4))

    def _ask(self, now: float) -> None:
        self._probing = now
        self._probe(self.mount.point, self.file, self._answered)

    def _answered(self) -> None:
        self._probing = None
        # What is under way deserves another half of a deadline before it is asked again.
        now = self._reactor.seconds()
        self._begun = dict.fromkeys(self._begun, now)
        if self.down:
            _log.info("the disk at {point} answers again", point=os.fsdecode(self.mount.point))
            self.down, self.since = "", self._time_of_day()
        if self._begun:
            self._watch(self._deadline() / 2)

    def _go_down(self) -> None:
        self.since = self._time_of_day() - self._deadline()
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.since))
        self.down = f"the disk has not answered since {when}"
        _log.warn("{point}: {reason}", point=os.fsdecode(self.mount.point), reason=self.down)
        for waiting in list(self._waiting):
            if not waiting.called:
                waiting.errback(Hung(self.down))

    def stop(self) -> bool:
        """Whether all threads have ended; those that hang are left."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return self.threads.stop(_HUNG_PARTING_S if self.down else _PARTING_S)


class _WatchedPool:
    """What is to be done there is under its disk's eyes, the wait for a thread included."""

    def __init__(self, disk: Disk, pool: Pool) -> None:
        self._disk = disk
        self._pool = pool

    @property
    def crowded(self) -> bool:
        return self._pool.crowded

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        token = self._disk.begin()
        try:
            return await self._pool.run(function, *args, **kwargs)
        finally:
            self._disk.end(token)

    async def attempt(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        token = self._disk.begin()
        try:
            return await self._pool.attempt(function, *args, **kwargs)
        finally:
            self._disk.end(token)


def _settle(result: object, give_back: Callable[[Any], Coroutine[Any, Any, object]] | None) -> None:
    """Nobody waits for it any more."""
    if isinstance(result, Failure):
        if not isinstance(result.value, (AnnexdError, CancelledError)):
            _log.failure("something that a disk had kept", result)
    elif give_back is not None:
        late = Deferred.fromCoroutine(give_back(result))
        late.addErrback(lambda failure: _settle(failure, None))
