"""
How many bytes each repository holds, by the location log: what preferred
content with ``sizebalanced`` and maxsize asks for.

Counting goes through all logs, so it is done once, beside everything else,
where somebody asks; from then on what is recorded here is added and taken off,
and once in a while it is counted anew, for what others have recorded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from annexd.app.fill import tally
from annexd.errors import AnnexdError
from annexd.protocol.keys import Key
from annexd.repo.whereabouts import Whereabouts

_log = Logger()

_AGAIN_S = 3600.0
_FOR_EVER_S = float("inf")


class Fullness:
    """Of one gateway."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._counted: Mapping[bytes, int] = {}
        self._former: Mapping[bytes, int] = {}  # noted before the count that is under way
        self._since: defaultdict[bytes, int] = defaultdict(int)
        self._counted_at = -_FOR_EVER_S
        self._counting: Deferred[None] | None = None

    @property
    def sizes(self) -> dict[bytes, int]:
        """Of those that are known so far."""
        found: defaultdict[bytes, int] = defaultdict(int)
        for part in (self._counted, self._former, dict(self._since)):
            for uuid, size in part.items():
                found[uuid] += size
        return {uuid: max(0, size) for uuid, size in found.items()}

    def note(self, key: Key, present: Mapping[bytes, bool]) -> None:
        """This has been recorded, and is news."""
        for uuid, here in present.items():
            self._since[uuid] += (key.size or 0) if here else -(key.size or 0)

    @property
    def due(self) -> bool:
        return self._counting is None and self._clock.seconds() >= self._counted_at + _AGAIN_S

    def count(self, whereabouts: Whereabouts, uuids: frozenset[bytes], over: Callable[[], None]) -> None:
        """Have it done, if it is time; nobody waits for it.  The repository stays open until ``over``."""
        if not self.due:
            over()
            return
        self._counted_at = self._clock.seconds()
        counting = Deferred.fromCoroutine(self._count(whereabouts, uuids))
        self._counting = counting.addErrback(_said)
        counting.addBoth(self._over, over)

    def call_off(self) -> None:
        if self._counting is not None:
            self._counting.cancel()

    async def stop(self) -> None:
        self.call_off()
        if self._counting is not None:
            await self._counting

    async def _count(self, whereabouts: Whereabouts, uuids: frozenset[bytes]) -> None:
        self._former, self._since = self._since, defaultdict(int)
        try:
            counts = await tally(whereabouts, uuids, self._clock, _FOR_EVER_S)
            self._counted = {uuid: size for uuid, (_, size) in (counts.of or {}).items()}
        except BaseException:
            for uuid, size in self._former.items():
                self._since[uuid] += size
            raise
        finally:
            self._former = {}

    def _over(self, _: object, over: Callable[[], None]) -> None:
        self._counting = None
        over()


def _said(failure: Failure) -> None:
    if isinstance(failure.value, AnnexdError):
        _log.warn("what repositories hold is not counted: {reason}", reason=str(failure.value))
    elif not isinstance(failure.value, CancelledError):
        _log.failure("counting what repositories hold", failure)
