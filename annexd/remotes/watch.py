"""Looking after a peer that is down, so that nobody who asks for it has to wait for it again."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from annexd.errors import AnnexdError
from annexd.remotes.vitals import Vitals

_log = Logger()

_INTEREST_S = 600.0
"""For so long after somebody has asked for it; whoever comes later waits for it himself."""

_RARELY_S = 900.0
"""Between tries, when nobody asks: whoever has another way does not, until the peer is up."""


class Watch:
    """``look`` asks the peer something, and tells ``vitals`` how that went; what it raises is no matter."""

    def __init__(self, clock: IReactorTime, vitals: Vitals, look: Callable[[], Awaitable[None]]) -> None:
        self._clock = clock
        self._vitals = vitals
        self._look = look
        self._timer: IDelayedCall | None = None
        self._looking: Deferred[None] | None = None
        self._wanted_at = clock.seconds()
        self._ended = False

    @property
    def _of_interest(self) -> bool:
        return self._clock.seconds() < self._wanted_at + _INTEREST_S

    @property
    def awake(self) -> bool:
        return self._timer is not None or self._looking is not None

    def wanted(self) -> None:
        """Somebody has asked for the peer."""
        if self._timer is not None and not self._of_interest:
            self._timer.cancel()
            self._timer = None
        self._wanted_at = self._clock.seconds()

    def begin(self) -> None:
        """The peer is down: it is tried when it is time, and again, until it is up."""
        if not self.awake and not self._ended:
            pause = self._vitals.pause
            self._timer = self._clock.callLater(pause if self._of_interest else _RARELY_S, self._try)

    def end(self) -> None:
        self._ended = True
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        if self._looking is not None:
            self._looking.cancel()

    def _try(self) -> None:
        self._timer = None
        if self._vitals.down:
            self._looking = Deferred()  # it is awake from now on, even if all is over at once
            looking = Deferred.fromCoroutine(self._looked())
            if self._looking is not None:
                self._looking = looking
            looking.addErrback(_expected)

    async def _looked(self) -> None:
        try:
            await self._look()
        except AnnexdError as error:
            if self._vitals.down and self._vitals.pause <= 0:
                self._vitals.failed(str(error), silent=False)
        finally:
            self._looking = None
        if self._vitals.down:
            self.begin()


def _expected(failure: Failure) -> None:
    if not isinstance(failure.value, CancelledError):
        _log.failure("looking after a peer that is down", failure)
