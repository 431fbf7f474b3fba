"""How the remotes of a gateway fare, by what the sessions with them have seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from annexd.node import Condition, Health, Node
from annexd.router.configured import Remote
from annexd.router.weights import Quality, Weights


class Weighing:
    """It is asked for every request, and mostly nothing has changed since the one before."""

    def __init__(self) -> None:
        self._conditions: Sequence[tuple[str, Condition]] = ()
        self._weights = Weights()

    def of(self, nodes: Mapping[tuple[Remote, bytes], Node]) -> Weights:
        """By the names of the remotes by which ``nodes`` are reached."""
        conditions = [(remote.name, node.condition) for (remote, _), node in nodes.items()]
        if conditions != self._conditions:
            self._conditions, self._weights = conditions, _weights(conditions)
        return self._weights


def _weights(conditions: Sequence[tuple[str, Condition]]) -> Weights:
    """The best of what is known of each."""
    qualities: dict[str, Quality] = {}
    for name, condition in conditions:
        quality = Quality(
            condition.health is not Health.DOWN,
            condition.health is Health.SLOW,
            condition.latency_s,
            condition.bytes_per_s,
        )
        former = qualities.get(name)
        if former is None or (quality.up and not former.up):
            qualities[name] = quality
    return Weights(qualities)
