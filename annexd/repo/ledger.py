"""
The location log of a repository, used by one at a time, and committed when
there has been nothing to add for a moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Callable, ParamSpec, TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from annexd.errors import AnnexdError
from annexd.flow.workers import Pool
from annexd.protocol.keys import Key
from annexd.repo.branch import Branch
from annexd.repo.transfer import Draft

_log = Logger()

P = ParamSpec("P")
T = TypeVar("T")

_QUIET_S = 1.0
"""Commits are expensive, and what follows soon goes with it."""

_LONGEST_S = 10.0
"""Clients learn of changes from commits, so a steady stream of changes must not put them off forever."""

_RETRY_S = 10.0


class Ledger:
    """
    ``branch`` is replaced when the configuration changes.  ``commit`` is
    called in a thread, in turn.
    """

    def __init__(self, branch: Branch, commit: Callable[[], object], pool: Pool, clock: IReactorTime) -> None:
        self.branch = branch
        self._commit = commit
        self._pool = pool
        self._clock = clock
        self._turn = DeferredLock()
        self._written = False
        self._timer: IDelayedCall | None = None
        self._first_change = 0.0
        self._committing = 0

    @property
    def idle(self) -> bool:
        return not self._turn.locked

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``function`` in a thread while nobody else uses the branch; it may call `record`."""
        await self._turn.acquire()
        return await self._in_turn(function, *args, **kwargs)

    async def attempt(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for what is not to be done when nobody wants it any more, see `Pool.attempt`."""
        await self._turn.acquire()
        try:
            return await self._pool.attempt(function, *args, **kwargs)
        finally:
            self._end_turn()

    async def run_anyway(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for what must not be left undone: who is cancelled waits for his turn all the same."""
        cancelled: CancelledError | None = None
        while True:
            try:
                await self._turn.acquire()
                break
            except CancelledError as error:
                cancelled = error
        result = await self._in_turn(function, *args, **kwargs)
        if cancelled is not None:
            raise cancelled
        return result

    async def _in_turn(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The turn ends with the work, also of whoever is cancelled: that is what a `Pool` promises."""
        try:
            return await self._pool.run(function, *args, **kwargs)
        finally:
            self._end_turn()

    def _end_turn(self) -> None:
        self._turn.release()
        if self._written:
            self._written = False
            self.put_off()

    def record(
        self,
        key: Key,
        present: bool,
        still: Callable[[], bool] = lambda: True,
        draft: Draft | None = None,
    ) -> None:
        """For a thread, within `run`; see `Branch.record`."""
        if self.branch.record(key, present, still, draft):
            self._written = True

    def record_all(self, key: Key, present: Mapping[bytes, bool]) -> frozenset[bytes]:
        """The same for other repositories, see `Branch.record_all`."""
        news = self.branch.record_all(key, present)
        if news:
            self._written = True
        return news

    def rewrite(self, name: bytes, change: Callable[[bytes, float], bytes]) -> bool:
        """The same for any file of the branch, see `Branch.rewrite`."""
        changed = self.branch.rewrite(name, change)
        self._written = self._written or changed
        return changed

    def found_written(self) -> None:
        """The same, when there is something in the journal already."""
        self._written = True

    def put_off(self) -> None:
        """There is something to commit, and maybe more will come."""
        now = self._clock.seconds()
        if self._timer is None:
            self._first_change = now
            self._timer = self._clock.callLater(_QUIET_S, self._start_commit)
        elif now + _QUIET_S < self._first_change + _LONGEST_S:
            self._timer.reset(_QUIET_S)

    async def flush(self) -> None:
        """Commit what there is, now."""
        if self._committing:
            # What is under way may have begun before the last change; wait for it, then see.
            await self.run(lambda: None)
        if self._stop_timer():
            await self._commit_in_turn()

    async def close(self) -> None:
        """
        Commit and stop.  What cannot be committed stays in the journal, where
        any git-annex will find it.
        """
        try:
            await self.flush()
        except AnnexdError as error:
            _log.warn("the location log stays in the journal: {reason}", reason=str(error))
        finally:
            self._stop_timer()

    def _stop_timer(self) -> bool:
        """Was there one?"""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        return timer is not None

    def _start_commit(self) -> None:
        self._timer = None
        committing = Deferred.fromCoroutine(self._commit_now())
        committing.addErrback(lambda failure: _log.failure("committing the location log", failure))

    async def _commit_now(self) -> None:
        try:
            await self._commit_in_turn()
        except AnnexdError as error:
            _log.warn("the location log is not committed yet: {reason}", reason=str(error))

    async def _commit_in_turn(self) -> None:
        """What cannot be committed, or is not because nobody waits for it any more, is tried again."""
        self._committing += 1
        try:
            await self.run(self._commit)
        except Exception:
            if self._timer is None:
                self._first_change = self._clock.seconds()
                self._timer = self._clock.callLater(_RETRY_S, self._start_commit)
            raise
        finally:
            self._committing -= 1
