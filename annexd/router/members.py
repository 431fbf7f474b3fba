"""
The places that a cluster is made of, as one session uses them: each way with
its store, in the order in which they are asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from operator import is_

from annexd.node import Condition, Health, Node
from annexd.router.clusters import is_cluster
from annexd.router.limits import Waits
from annexd.router.ports import Way, Ways
from annexd.store import Caller, Outcome, Store


@dataclass(frozen=True, slots=True)
class Member:
    way: Way
    store: Store

    @property
    def node(self) -> Node:
        return self.way.node

    @property
    def name(self) -> str:
        return self.way.node.name

    @property
    def sole(self) -> bytes | None:
        """The only node that an answer can be about; `None` where there are several."""
        if not self.way.is_gateway:
            return self.node.uuid
        return next(iter(self.way.reaches)) if len(self.way.reaches) == 1 else None

    def took(self, outcome: Outcome) -> frozenset[bytes]:
        """
        The nodes that have the content by what was answered to PUT.  A
        gateway names them; one that does not (its protocol is too old, or it
        is no gateway any more) may mean any of several, and then none is told of.
        """
        if not self.way.is_gateway:
            return frozenset((self.node.uuid,)) if outcome.ok else frozenset()
        named = self._named(outcome)
        if outcome.ok and not outcome.also and self.sole is not None:
            return frozenset((self.sole,))
        return named

    def dropped(self, outcome: Outcome) -> frozenset[bytes]:
        """
        The nodes that do not have the content any more by what was answered
        to REMOVE.  A gateway that names none means all that it has.
        """
        if not self.way.is_gateway:
            return frozenset((self.node.uuid,)) if outcome.ok else frozenset()
        if outcome.ok and not outcome.also:
            return self.way.reaches
        return self._named(outcome)

    def _named(self, outcome: Outcome) -> frozenset[bytes]:
        return frozenset(outcome.also) & (self.way.reaches | self.way.perhaps)

    def missed(self, nodes: frozenset[bytes]) -> None:
        """Nodes that a gateway should have reached and did not, although it answered."""
        if self.way.is_gateway and nodes:
            self.way.missed(nodes)


class Members:
    """``waits`` is what gateways are told, who pass the request on."""

    def __init__(self, ways: Ways, caller: Caller, waits: Waits) -> None:
        self._ways = ways
        self._caller = caller
        self._stores: dict[tuple[Node, tuple[bytes, ...]], Store] = {}
        self._seen: tuple[Sequence[Way], Sequence[tuple[bool, Condition]]] = (), ()
        self._members: Sequence[Member] = ()
        self.bypass = caller.bypass
        self.waits = waits

    def now(self) -> Sequence[Member]:
        """Those of this moment, in the order in which they are read from; mostly the same as before."""
        ways = self._ways(self.bypass)
        conditions = [(way.node.is_local, way.node.condition) for way in ways]
        if conditions != self._seen[1] or not all(map(is_, ways, self._seen[0])):
            self._seen = tuple(ways), conditions
            self._members = tuple(Member(way, self._store(way)) for way in in_order(ways))
        return self._members

    def _store(self, way: Way) -> Store:
        place = way.node, way.bypass
        store = self._stores.get(place)
        if store is None:
            told = (*way.bypass, self.waits.word) if way.is_gateway else way.bypass
            store = self._stores[place] = way.node.store(replace(self._caller, bypass=told))
        return store

    def release(self) -> list[Store]:
        """All stores that were opened; whoever takes them closes them."""
        stores, self._stores = list(self._stores.values()), {}
        self._seen, self._members = ((), ()), ()
        return stores


def in_order(ways: Iterable[Way]) -> list[Way]:
    """As they are read from."""
    return sorted(ways, key=_order)


def _order(way: Way) -> tuple[bool, bool, bool, bool, float, int, float]:
    """
    Those that are down last; never a gateway for what a node of our own has;
    then what users say it costs, whoever has least to do, whoever answers soonest.
    """
    condition = way.node.condition
    latency_s = float("inf") if condition.latency_s is None else condition.latency_s
    return (
        condition.health is Health.DOWN,
        way.is_gateway,
        not way.node.is_local,
        condition.health is Health.SLOW,
        way.cost,
        condition.busy,
        latency_s,
    )


def place_in_order(way: Way) -> str:
    """Why it is asked when it is, for people; the same things in the same order as `_order`."""
    condition = way.node.condition
    marks = {
        "down": condition.health is Health.DOWN,
        "behind a gateway": way.is_gateway,
        "on a disk of this machine": way.node.is_local,
        "slow": condition.health is Health.SLOW,
    }
    said = [mark for mark, holds in marks.items() if holds]
    said.append(f"cost {way.cost:.0f}")
    if condition.busy:
        said.append(f"{condition.busy} transfers under way")
    if condition.latency_s is not None:
        said.append(f"answers in {condition.latency_s * 1000:.1f} ms")
    return ", ".join(said)


def nodes_of(members: Sequence[Member]) -> frozenset[bytes]:
    return frozenset().union(*(member.way.reaches for member in members))


def reasons(said: Sequence[tuple[str, str]]) -> str:
    """One sentence of what several places said: ``a: full; b: down``."""
    said = [(name, sentence.removeprefix(f"{name}: ")) for name, sentence in said]  # some name themselves
    sentences = dict.fromkeys(sentence for _, sentence in said)
    if len(sentences) == 1:
        names = ", ".join(name for name, _ in said)
        return f"{names}: {next(iter(sentences))}"
    return "; ".join(f"{name}: {sentence}" for name, sentence in said)


def told(uuids: frozenset[bytes]) -> tuple[bytes, ...]:
    """As peers are told of them: never a cluster, which has nothing by itself."""
    return tuple(sorted(uuid for uuid in uuids if not is_cluster(uuid)))
