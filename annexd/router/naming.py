"""
The names under which a gateway offers what can be reached through it: what
`annexd cluster update` writes to its line in proxy.log.

Own nodes are called as their remotes are, own clusters as in the git config,
and every node behind a neighbour by one name: the neighbour's, a dash, and the
neighbour's name for it.  Of several the one with the fewest dashes is taken,
then the shortest: every hop adds a dash, so that is the shortest path, and as
names grow with every hop, all gateways' names settle, however they were before
and in whatever order the gateways update them.  (A remote that has a dash in
its own name counts as two hops.)

A name that leads through this gateway, or twice through another one, is not
taken, as far as that can be told (see `annexd.router.inference`).  It would
be outdone by a shorter one anyhow, but not where the node is gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from annexd.router.clusters import is_cluster
from annexd.router.inference import Entries, infer, legal, rank
from annexd.router.topology import Here, Network

Names = tuple[tuple[bytes, str], ...]


def proxied_names(here: Here, entries: Entries, members: Mapping[bytes, frozenset[bytes]]) -> Names:
    """
    The line of this gateway: no name twice, and no UUID.  ``members`` is
    cluster.log; nodes behind neighbours are those of clusters that both serve.
    """
    taken: dict[str, bytes] = {}
    named: set[bytes] = set()
    for name, uuid in _own(here):
        if uuid not in named and legal(name) and taken.setdefault(name, uuid) == uuid:
            named.add(uuid)
    # git-annex offers nothing by a name that a remote has.
    reserved = {node.name for node in here.nodes} | {neighbour.name for neighbour in here.neighbours}
    behind = _Behind(infer(here, entries, members), entries)
    for name, uuid in sorted(behind, key=lambda item: (rank(item[0]), item[1])):
        if uuid not in named and name not in taken and name not in reserved:
            taken[name] = uuid
            named.add(uuid)
    return tuple((uuid, name) for name, uuid in taken.items())


def _own(here: Here) -> Iterator[tuple[str, bytes]]:
    yield from sorted((name, uuid) for uuid, name in here.clusters.items())
    for node in sorted(here.nodes, key=lambda node: (node.cost, node.name)):
        yield node.name, node.uuid


class _Behind:
    """The names that the neighbours make possible."""

    def __init__(self, network: Network, entries: Entries) -> None:
        self._network = network
        self._entries = entries
        self._own = {node.uuid for node in network.here.nodes}

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        here = self._network.here
        for neighbour in here.neighbours:
            if neighbour.uuid == here.uuid:
                continue
            nodes = self._nodes_of(neighbour.clusters & here.clusters.keys())
            for uuid, listed in self._entries.get(neighbour.uuid, ()):
                name = f"{neighbour.name}-{listed}"
                if uuid in nodes and legal(listed) and legal(name):
                    if not self._circular(neighbour.uuid, uuid, listed):
                        yield name, uuid

    def _nodes_of(self, clusters: frozenset[bytes]) -> frozenset[bytes]:
        members = frozenset[bytes]().union(*(self._network.members.get(c, ()) for c in clusters))
        return frozenset(uuid for uuid in members - self._own if not is_cluster(uuid))

    def _circular(self, gateway: bytes, uuid: bytes, name: str) -> bool:
        """Whether it can be read as a way that comes twice to one place, and not as one that does not."""
        straight, circular = False, False
        todo = [(gateway, name, frozenset((self._network.here.uuid, gateway)))]
        while todo and not straight:
            at, rest, passed = todo.pop()
            known = self._network.gateways.get(at)
            if known is None:
                continue
            links = [link for link in known.links if rest.startswith(link.name + "-")]
            back = any(link.to in passed for link in links)
            circular |= back
            straight = known.nodes.get(uuid) == rest and not back
            for link in links:
                if link.to not in passed:
                    todo.append((link.to, rest[len(link.name) + 1 :], passed | {link.to}))
        return circular and not straight
