"""How a peer fares, by what its requests have seen, and when to try it again."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Callable

from twisted.internet.interfaces import IReactorTime

from annexd.errors import Unavailable
from annexd.node import Condition, Health

_SLOW_S = 60.0
"""For so long a deadline that was missed is remembered."""

_WEIGHT = 0.2
"""Of a new measurement in what is smoothed."""

_MEASURABLE = 64 * 1024
"""Bytes of a transfer that say something about its speed."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds from a failure to the next try: twice as many each time, up to half of them left to chance."""

    first: float = 1.0
    most: float = 60.0

    def delay(self, failures: int, random: Random) -> float:
        longest = min(self.most, self.first * 2.0 ** min(failures, 32))
        return longest * (0.5 + random.random() / 2)


class Vitals:
    """``time_of_day`` is the wall's, for `Condition.since`; all else happens on ``clock``."""

    def __init__(
        self, clock: IReactorTime, random: Random, time_of_day: Callable[[], float], backoff: Backoff
    ) -> None:
        self._clock = clock
        self._random = random
        self._time_of_day = time_of_day
        self._backoff = backoff
        self._reason = ""
        self._down = False
        self._probing = False
        self._failures = 0
        self._missed_deadline = False
        self._retry_at = 0.0
        self._slow_until: float | None = None
        self._since = time_of_day()
        self._latency_s: float | None = None
        self._bytes_per_s: float | None = None

    @property
    def down(self) -> bool:
        return self._down

    @property
    def pause(self) -> float:
        """Seconds until it is time to try again."""
        return max(0.0, self._retry_at - self._clock.seconds())

    def condition(self, busy: int) -> Condition:
        health, since, reason = self._health()
        return Condition(health, since, reason, busy, self._latency_s, self._bytes_per_s)

    def _health(self) -> tuple[Health, float, str]:
        if self._down:
            return Health.DOWN, self._since, self._reason
        if self._slow_until is None:
            return Health.UP, self._since, ""
        left = self._slow_until - self._clock.seconds()
        if left > 0:
            return Health.SLOW, self._since, self._reason
        self._slow_until = None
        self._since = self._time_of_day() + left
        return Health.UP, self._since, ""

    # --- who may ask ---------------------------------------------------

    def admit(self) -> bool:
        """
        Raises `Unavailable` while the peer is down.  When it is time to try
        again one is let through, and told so: `True`.
        """
        if not self._down:
            return False
        if self._probing or self._clock.seconds() < self._retry_at:
            raise Unavailable(self._reason)
        self._probing = True
        return True

    def probed(self) -> None:
        """The one who was let through is done, however that went."""
        self._probing = False

    # --- what was seen -------------------------------------------------

    def failed(self, reason: str, silent: bool) -> None:
        """It cannot be reached; ``silent``: it let a deadline pass."""
        self._probing = False
        self._retry_at = self._clock.seconds() + self._backoff.delay(self._failures, self._random)
        self._failures += 1
        if not self._down:
            self._down = True
            self._missed_deadline = False
            self._since = self._time_of_day()
        self._missed_deadline = self._missed_deadline or silent
        self._reason = reason

    def missed(self, reason: str) -> None:
        """It let a deadline pass, and others have heard from it meanwhile."""
        if not self._down:
            self._slow(reason)

    def answered(self, latency_s: float | None = None) -> None:
        """A sign of life; ``latency_s`` where it was a small question."""
        if latency_s is not None:
            self._latency_s = _smoothed(self._latency_s, latency_s)
        if not self._down:
            return
        self._down = self._probing = False
        self._failures = 0
        if self._missed_deadline:
            self._slow(self._reason)
        else:
            self._since = self._time_of_day()

    def moved(self, count: int, seconds: float) -> None:
        """A transfer is over."""
        if count >= _MEASURABLE and seconds > 0:
            self._bytes_per_s = _smoothed(self._bytes_per_s, count / seconds)

    def _slow(self, reason: str) -> None:
        if self._health()[0] is not Health.SLOW:
            self._since = self._time_of_day()
        self._reason = reason
        self._slow_until = self._clock.seconds() + _SLOW_S


def _smoothed(known: float | None, measured: float) -> float:
    return measured if known is None else known + _WEIGHT * (measured - known)
