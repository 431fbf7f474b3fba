"""
Second tries in the same request: what a neighbour gateway has not reached,
although it answered, may be reached through another one.
"""

from __future__ import annotations

from collections.abc import Sequence

from annexd.router.members import Member, Members


def detours(
    members: Members, tried: Sequence[Member], missed: Sequence[tuple[Member, frozenset[bytes]]]
) -> list[Member]:
    """
    The ways by which to try again.  ``missed`` are gateways that answered, each
    with the nodes that it has not reached; ``tried`` are all that were asked.
    """
    if not any(nodes for member, nodes in missed if member.way.is_gateway):
        return []
    for member, nodes in missed:
        member.missed(nodes)  # from now on there are other ways, if there are
    left = frozenset[bytes]().union(*(nodes for _, nodes in missed))
    stores = {member.store for member in tried}
    own = {member.node: nodes for member, nodes in missed}
    return [
        member
        for member in members.now()
        if member.way.is_gateway
        and member.store not in stores
        and member.way.reaches & left - own.get(member.node, frozenset())
    ]
