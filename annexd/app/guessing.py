"""How long those wait for an answer who come from where tokens are guessed."""

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime

_FIRST_S = 1.0
_LONGEST_S = 30.0
_GOOD_S = 1.0
"""
A good token waits no longer than this, whatever others do from there: what
failures are slowed down for is that nobody sees at once that one was none.
"""

_FORGOTTEN_S = 600.0
_MOST_PLACES = 10_000
_ENOUGH = 6
"""So many failures make the longest wait; there is no need to count on."""


@dataclass(slots=True)
class _Record:
    failures: int
    last: float


class Guessing:
    """Failures by the place that they come from, see `annexd.app.anteroom.neighbourhood`."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        # In the order of their last failures.
        self._records: dict[str, _Record] = {}

    def failed(self, place: str) -> float:
        """Seconds until the failure may be told."""
        self._forget()
        record = self._records.pop(place, None) or _Record(0, 0.0)
        record.failures = min(record.failures + 1, _ENOUGH)
        record.last = self._clock.seconds()
        self._records[place] = record
        if len(self._records) > _MOST_PLACES:
            del self._records[next(iter(self._records))]
        return _wait(record.failures)

    def passed(self, place: str) -> float:
        """Seconds until the success may be told."""
        self._forget()
        record = self._records.get(place)
        return 0.0 if record is None else min(_wait(record.failures), _GOOD_S)

    def _forget(self) -> None:
        before = self._clock.seconds() - _FORGOTTEN_S
        while self._records:
            place = next(iter(self._records))
            if self._records[place].last > before:
                return
            del self._records[place]

    def __len__(self) -> int:
        return len(self._records)


def _wait(failures: int) -> float:
    return float(min(_FIRST_S * 2 ** (failures - 1), _LONGEST_S))
