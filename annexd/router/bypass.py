"""What a neighbour is told to bypass; why, see `annexd.router.routes`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from annexd.router.topology import unwanted_node
from annexd.router.tree import Plane, Tree, Usable

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
        self._in_order = sorted(self._forbidden)
        self._contested = _union(plane.contested, unsure)
        """Nodes that gateways have that are forbidden to nobody."""

        self._hoped = self._contested & wanted
        if self._hoped:
            self._hoped &= tree.unsure()
        self._unwanted = frozenset() if len(wanted) == len(plane.members) else plane.members - wanted
        self._unsure = unsure

    def of(self, part: set[bytes], reaches: frozenset[bytes]) -> tuple[bytes, ...]:
        forbidden = self._forbidden - part
        if len(forbidden) > _BYPASS_ALL:
            forbidden &= frozenset[bytes]().union(*(self._plane.links[gateway] for gateway in part))
        gateways = filter(forbidden.__contains__, self._in_order)
        nodes = map(unwanted_node, sorted(self._not_here(part, reaches)))
        return _fitting([*self._passed, *gateways, *nodes], len(self._passed))

    def _not_here(self, part: set[bytes], reaches: frozenset[bytes]) -> frozenset[bytes]:
        """Nodes that may be come by in this branch, but are not for it to serve."""
        nodes = (self._contested | _union(self._plane.contested, part)) - self._hoped
        if self._unwanted:
            nodes |= _union(self._plane.single, part | self._unsure) & self._unwanted
        return nodes - reaches


def _union(sets: Mapping[bytes, frozenset[bytes]], gateways: Iterable[bytes]) -> frozenset[bytes]:
    return frozenset[bytes]().union(*(sets[uuid] for uuid in gateways if uuid in sets))


def _fitting(words: Iterable[bytes], needed: int) -> tuple[bytes, ...]:
    """As many words as a line has room for; the first ``needed`` are never left out."""
    fitting = list(dict.fromkeys(words))
    length = sum(map(len, fitting)) + len(fitting)
    while length > _LONGEST_BYPASS and len(fitting) > needed:
        length -= len(fitting.pop()) + 1
    return tuple(fitting)
