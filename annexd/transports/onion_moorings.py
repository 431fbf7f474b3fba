"""
Whether an onion service still has introduction points, by which clients come.

A tor whose network goes away loses them all, tries again a few times within
seconds, and then lets minutes pass (five, counted from its first try) though
the network may be back.  Published anew it begins at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

_log = Logger()

_SETTLE_S, _LONGEST_S = 5.0, 300.0
"""From the first sign of a network: tor may still help itself; longer, where it was of no use before."""

_MANY = 12
"""Circuits to introduction points that failed in a row: that is no bad luck any more."""

_OURS, _THERE = "PURPOSE=HS_SERVICE_INTRO", "HS_STATE=HSSI_ESTABLISHED"


class Moorings:
    """
    ``circuits`` asks for tor's list of circuits, ``adrift`` is called when
    there is a network and the service is not at it.
    """

    def __init__(
        self,
        clock: IReactorTime,
        hostname: str,
        circuits: Callable[[], Awaitable[str]],
        adrift: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._query = f"REND_QUERY={hostname.removesuffix('.onion')}"
        self._circuits = circuits
        self._adrift = adrift
        self._settle_s = _SETTLE_S
        self._failures = 0
        self._doubtful = False
        self._timer: IDelayedCall | None = None
        self._looking: Deferred[None] | None = None

    def heard(self, said: str) -> None:
        """As in ``17 FAILED PATH BUILD_FLAGS=... PURPOSE=HS_SERVICE_INTRO HS_STATE=... REND_QUERY=...``."""
        words = said.split()
        status = words[1] if len(words) > 1 else ""
        if status in ("CLOSED", "FAILED") and _OURS in words and self._query in words:
            self._failures += 1
            if _THERE in words or self._failures >= _MANY:
                self._doubtful = True
        elif status == "BUILT" and self._doubtful and self._timer is None:
            self._timer = self._clock.callLater(self._settle_s, self._look)

    def published(self) -> None:
        """Which takes introduction points."""
        self._settle_s = _SETTLE_S

    def close(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()

    def _look(self) -> None:
        self._looking = Deferred.fromCoroutine(self._decide())
        self._looking.addErrback(_not_told)

    async def _decide(self) -> None:
        try:
            listed = await self._circuits()
        finally:
            self._timer = None
        self._failures, self._doubtful = 0, False
        for line in listed.splitlines():
            words = line.split()
            if _OURS in words and _THERE in words and self._query in words:
                return
        self._settle_s = min(2 * self._settle_s, _LONGEST_S)
        self._adrift()


def _not_told(failure: Failure) -> None:
    """The next beat of the heart notices what is wrong with tor."""
    if not isinstance(failure.value, CancelledError):
        _log.debug("tor does not say which circuits there are: {reason}", reason=str(failure.value))
