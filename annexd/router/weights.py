"""
What it costs to use one of this gateway's remotes.

    cost = configured cost + 10 for the hop
         + 100 for every second that a small question and a megabyte would take
         + 100 while it lets deadlines pass
         + 1,000,000 while it is down

So a second weighs as much as the difference that git-annex makes between a
disk and a network, and of ways that cost the same the one with fewer hops is
taken, and one that is down only where there is no other: whoever uses it finds
out whether it still is.  What was not measured adds nothing.  Other gateways' remotes count
with the costs that `annexd.router.topology` assumes, and their hop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log2

HOP_COST = 10.0
COST_PER_S = 100.0
SLOW_COST = 100.0
DOWN_COST = 1e6
_MEASURE_BYTES = 1 << 20
_LEAST_S = 0.001
_NEVER_S = 3600.0


@dataclass(frozen=True, slots=True)
class Quality:
    """
    How a remote fares, by what was measured, smoothed.  ``slow``: it answers,
    but has let a deadline pass not long ago.
    """

    up: bool = True
    slow: bool = False
    latency_s: float | None = None
    bytes_per_s: float | None = None

    @property
    def penalty(self) -> float:
        """What it adds to the configured cost."""
        seconds = self.latency_s or 0.0
        if self.bytes_per_s is not None:
            seconds += _MEASURE_BYTES / max(self.bytes_per_s, 1.0)
        trouble = (SLOW_COST if self.slow else 0.0) + (0.0 if self.up else DOWN_COST)
        return _rounded(seconds) * COST_PER_S + trouble


class Weights:
    """The qualities of this gateway's remotes, by their names. Equal ones make for equal plans."""

    def __init__(self, qualities: Mapping[str, Quality] | None = None) -> None:
        self._penalties = {name: quality.penalty for name, quality in (qualities or {}).items()}
        self._key = frozenset(item for item in self._penalties.items() if item[1] != 0.0)

    def cost(self, name: str, configured: float) -> float:
        """Of one hop over the remote ``name``."""
        return max(configured, 0.0) + HOP_COST + self._penalties.get(name, 0.0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Weights) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


def _rounded(seconds: float) -> float:
    """To a step of 1.41, so that plans do not change with every measurement."""
    if seconds < _LEAST_S:
        return 0.0
    return float(2.0 ** (round(2 * log2(min(seconds, _NEVER_S))) / 2))
