"""
Given what is known, which of a cluster's nodes are to get a key.

As git-annex does it: of the nodes that do not have it those that want it, and
if none wants it all of them, since somebody asked for it to be kept.  But where
it was only room that the wanting ones lacked, or where a node has it already,
nobody gets it who does not want it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from annexd.router.ports import Way, Wish


@dataclass(frozen=True, slots=True)
class Placement:
    """``targets`` are nodes; ``reason`` says in one sentence why these, or why none."""

    targets: frozenset[bytes]
    reason: str


def place(ways: Sequence[Way], holders: AbstractSet[bytes], wishes: Mapping[bytes, Wish]) -> Placement:
    """
    ``holders`` is whatever repositories have the key, ``wishes`` what the nodes
    make of it; a node that is not in it wants everything.
    """
    nodes = dict.fromkeys(uuid for way in ways for uuid in sorted(way.reaches))
    if not nodes:
        return Placement(frozenset(), "the cluster has no node that can be reached from here")
    lacking = [uuid for uuid in nodes if uuid not in holders]
    if not lacking:
        return Placement(frozenset(nodes), "every node is known to have it, and is asked whether that is so")
    wanting = [uuid for uuid in lacking if wishes.get(uuid, Wish.WANTED) is Wish.WANTED]
    if wanting:
        return Placement(frozenset(wanting), "the nodes that lack it and want it")
    full = [uuid for uuid in lacking if wishes[uuid] is Wish.FULL]
    if full:
        return Placement(frozenset(), f"no room by annex maxsize on {_listed(full, ways)}")
    if len(lacking) < len(nodes):
        return Placement(frozenset(), "those nodes of the cluster that want it have it")
    return Placement(frozenset(lacking), "no node wants it, so all that lack it get it")


def _listed(nodes: Sequence[bytes], ways: Sequence[Way]) -> str:
    return ", ".join(_called(uuid, ways) for uuid in nodes)


def _called(uuid: bytes, ways: Sequence[Way]) -> str:
    """By its name where it has one here: nodes behind a gateway go by their UUID."""
    text = uuid.decode("ascii", "backslashreplace")
    for way in ways:
        if uuid in way.reaches:
            return f"{text} (through {way.node.name})" if way.is_gateway else way.node.name
    return text
