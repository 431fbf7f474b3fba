"""What a neighbour is told to bypass; why, see `annexd.router.routes`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from annexd.router.topology import unwanted_node
from annexd.router.tree import Plane, Tree, Usable
from annexd.router.weights import DOWN_COST

_BYPASS_ALL = 256
"""Of more gateways only those are named to a branch that its own are linked to: it knows no way to others."""

_LONGEST_BYPASS = 24_000
"""Bytes; a line of the protocol has at most 32,767, and the gateways behind add their own words."""


class Lists:
    """
    The lists for one plan.  ``passed`` goes into all of them; ``parts`` are
    the gateways that each neighbour is to use, itself included.
    """

    def __init__(
        self,
        plane: Plane,
        tree: Tree,
        usable: Usable,
        passed: tuple[bytes, ...],
        parts: Iterable[set[bytes]],
    ) -> None:
        self._plane = plane
        self._passed = passed
        wanted = usable.wanted(plane.members)
        known = plane.gateways - usable.bypass
        # A node that nobody is known to have may be anywhere.
        reached = {uuid for uuid, stop in tree.stops.items() if not stop.down}
        if plane.unplaced & wanted:
            reached &= set[bytes]().union(*parts)
        unsure = known - reached
        self._forbidden = known & reached
        self._contested = _union(plane.contested, unsure)
        """Nodes that gateways have that are forbidden to nobody."""

        self._hoped = self._contested & wanted
        if self._hoped:
            self._hoped -= _served(tree)
        self._unwanted = plane.members - wanted
        self._unsure = unsure

    def of(self, part: set[bytes], reaches: frozenset[bytes]) -> tuple[bytes, ...]:
        forbidden = self._forbidden - part
        if len(forbidden) > _BYPASS_ALL:
            forbidden &= {other for gateway in part for other in self._plane.links[gateway]}
        words = [*sorted(forbidden), *map(unwanted_node, sorted(self._not_here(part, reaches)))]
        return _fitting(self._passed, words)

    def _not_here(self, part: set[bytes], reaches: frozenset[bytes]) -> frozenset[bytes]:
        """Nodes that may be come by in this branch, but are not for it to serve."""
        nodes = (self._contested | _union(self._plane.contested, part)) - self._hoped
        if self._unwanted:
            nodes |= _union(self._plane.single, part | self._unsure) & self._unwanted
        return nodes - reaches


def _union(sets: Mapping[bytes, frozenset[bytes]], gateways: Iterable[bytes]) -> frozenset[bytes]:
    return frozenset[bytes]().union(*(sets[uuid] for uuid in gateways if uuid in sets))


def _served(tree: Tree) -> set[bytes]:
    """The nodes to which there is a way that is up."""
    return {node for share in tree.shares.values() for node, cost in share.items() if cost < DOWN_COST}


def _fitting(passed: tuple[bytes, ...], words: Iterable[bytes]) -> tuple[bytes, ...]:
    """As many words as a line has room for; those of the gateways passed through are never left out."""
    known = dict.fromkeys(passed)
    left = _LONGEST_BYPASS - sum(len(word) + 1 for word in known)
    for word in words:
        if word not in known:
            left -= len(word) + 1
            if left < 0:
                break
            known[word] = None
    return tuple(known)
