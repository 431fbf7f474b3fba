"""Which of a cluster's nodes are to have a key that arrives.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from annexd.router.ports import Way, Wish


@dataclass(frozen=True, slots=True)
class Placement:
    """``reason`` says why there are no ``targets``."""

    targets: frozenset[bytes]
    reason: str = ""


def place(ways: Sequence[Way], holders: frozenset[bytes], wishes: Mapping[bytes, Wish]) -> Placement:
    """
    Of the nodes that ``ways`` reach and that are not among ``holders``, those
    that want it.  Where none does although there is room, and none has it, all
    of them, as git-annex has it: the content is better there than nowhere.
    """
    reached = frozenset[bytes]().union(*(way.reaches for way in ways))
    candidates = reached - holders
    if not candidates:
        return Placement(candidates, "the cluster has no node that could take it")
    wanting = frozenset(uuid for uuid in candidates if wishes.get(uuid) is Wish.WANTED)
    if wanting:
        return Placement(wanting)
    if any(wishes.get(uuid) is Wish.FULL for uuid in candidates):
        return Placement(frozenset(), "the nodes of the cluster that want it are full")
    if reached & holders:
        return Placement(frozenset(), "those nodes of the cluster that want it have it")
    return Placement(candidates)
