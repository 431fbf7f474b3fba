"""How far a repair has come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from twisted.internet.interfaces import IReactorTime

from annexd.app.logs import clean
from annexd.protocol.keys import Key

_MOST_REASONS = 20
_MOST_EXAMPLES = 20
_OTHERS = "other reasons"


class Progress:
    """Of one; bytes and seconds.  Its size does not depend on how much goes wrong."""

    def __init__(self, clock: IReactorTime, dry_run: bool) -> None:
        self.dry_run = dry_run
        self.keys = 0
        """Looked at."""
        self.lacking = 0
        """Keys that some node should have and does not."""
        self._clock = clock
        self._since = clock.seconds()
        self._seconds: float | None = None
        self._state = "running"
        self._error = ""
        self._bytes = 0
        self._copies: Counter[str] = Counter()
        self._sizes: Counter[str] = Counter()
        self._failures = 0
        self._reasons: Counter[str] = Counter()
        self._examples: list[dict[str, str]] = []

    def moved(self, count: int) -> None:
        self._bytes += count

    def copied(self, nodes: Iterable[str], size: int) -> None:
        """These have a key of this size now, or would."""
        for node in nodes:
            self._copies[node] += 1
            self._sizes[node] += size

    def failed(self, key: Key, reason: str) -> None:
        self._failures += 1
        known = reason in self._reasons or len(self._reasons) < _MOST_REASONS
        self._reasons[reason if known else _OTHERS] += 1
        if len(self._examples) < _MOST_EXAMPLES:
            self._examples.append({"key": clean(key.raw), "reason": clean(reason)})

    def end(self, state: str, error: str = "") -> None:
        """``done``, ``stopped`` or ``failed``."""
        self._state, self._error = state, error
        self._seconds = self._clock.seconds() - self._since

    def summary(self) -> str:
        copies, failures = sum(self._copies.values()), self._failures
        said = f"{self._state}, {self.keys} keys looked at, {copies} copies made, {failures} failures"
        return f"{said}: {self._error}" if self._error else said

    def document(self) -> dict[str, Any]:
        seconds = self._clock.seconds() - self._since if self._seconds is None else self._seconds
        return {
            "state": self._state,
            "trouble": clean(self._error),
            "dry_run": self.dry_run,
            "keys": self.keys,
            "lacking": self.lacking,
            "copies": sum(self._copies.values()),
            "bytes": self._bytes,
            "seconds": round(seconds, 3),
            "nodes": [
                {"name": clean(name), "copies": self._copies[name], "bytes": self._sizes[name]}
                for name in sorted(self._copies)
            ],
            "failures": self._failures,
            "reasons": [
                {"reason": clean(reason), "count": count} for reason, count in self._reasons.most_common()
            ],
            "examples": self._examples,
        }
