"""
The cheapest way from this gateway to each gateway of a cluster, and to each of
its nodes: one tree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple

from annexd.router.share import Share
from annexd.router.topology import LINK_COST, NODE_COST, Attached, Edge, Neighbour, Network, unwanted_nodes
from annexd.router.weights import DOWN_COST, HOP_COST, Weights

_FAR_NODE = NODE_COST + HOP_COST
_FAR_LINK = LINK_COST + HOP_COST
_NOTHING: frozenset[bytes] = frozenset()


class Usable:
    """
    What a request may use: no gateways and ``nodes`` in ``bypass``, edges in
    ``avoid`` like those that are down, and only nodes in ``targets``, if any.
    """

    def __init__(
        self,
        weights: Weights,
        bypass: Iterable[bytes] = (),
        targets: frozenset[bytes] | None = None,
        avoid: frozenset[Edge] = frozenset(),
    ) -> None:
        self.weights = weights
        self.bypass = frozenset(bypass)
        self.targets = targets
        self.avoid = avoid
        self._unwanted = unwanted_nodes(self.bypass)
        self._avoided_from: dict[bytes, frozenset[bytes]] = {}
        for source, to in avoid:
            self._avoided_from[source] = self._avoided_from.get(source, _NOTHING) | {to}

    def extra(self, source: bytes, to: bytes) -> float:
        """On top of what the edge costs otherwise."""
        return DOWN_COST if (source, to) in self.avoid else 0.0

    def avoided(self, source: bytes, others: frozenset[bytes]) -> frozenset[bytes]:
        """Those of ``others`` to which the edge is to be avoided."""
        return self._avoided_from.get(source, _NOTHING) & others

    def wanted(self, nodes: frozenset[bytes]) -> frozenset[bytes]:
        """Those of ``nodes`` that are to be reached."""
        if self.targets is not None:
            nodes &= self.targets
        return nodes - self._unwanted if self._unwanted else nodes


class _Waves:
    """
    Where to go next: what costs the same over as many links is one wave, in
    which the order is that of the UUIDs.  New ones are added on the way.
    """

    def __init__(self) -> None:
        self._waves: dict[tuple[float, int], list[tuple[bytes, bytes]]] = {}
        self._heap: list[tuple[float, int]] = []

    def add(self, cost: float, hops: int, gateways: Iterable[bytes], before: bytes) -> None:
        wave = self._waves.get((cost, hops))
        if wave is None:
            wave = self._waves[cost, hops] = []
            heappush(self._heap, (cost, hops))
        wave += [(uuid, before) for uuid in gateways]

    def __iter__(self) -> Iterator[tuple[float, int, list[tuple[bytes, bytes]]]]:
        """Cost, links, and the gateways, each with the one before it."""
        while self._heap:
            wave = heappop(self._heap)
            yield *wave, sorted(self._waves.pop(wave))


class Stop(NamedTuple):
    """A gateway on the tree: what it costs to get there, over how many links, and the one before."""

    cost: float
    hops: int
    gateway: bytes
    before: bytes

    @property
    def down(self) -> bool:
        """No way there is known but over what is down, or to be avoided."""
        return self.cost >= DOWN_COST


@dataclass(slots=True)
class Tree:
    """
    ``stops`` are in the order of their costs; ``shares`` are the nodes that
    each gateway serves, this one too, with the costs of their paths.
    """

    stops: dict[bytes, Stop]
    remotes: dict[bytes, str]
    """The names for the neighbours that are on the tree."""

    shares: dict[bytes, Share] = field(default_factory=dict)
    own: dict[bytes, str] = field(default_factory=dict)
    """The names for the own nodes; a gateway may be one, too, and by another name."""

    unreached: set[bytes] = field(default_factory=set)
    """Wanted nodes to which there is no way."""

    def unsure(self) -> frozenset[bytes]:
        """Wanted nodes to which no way is known that is up."""
        dear = [share.beyond(DOWN_COST) for share in self.shares.values() if share.most >= DOWN_COST]
        return frozenset(self.unreached).union(*dear)


class Plane:
    """
    The part of the network that one kind of request may use: those gateways
    that serve a cluster, or one node, and the links between them.  Computed
    once; what changes from request to request is in `Usable`.
    """

    def __init__(
        self,
        network: Network,
        members: frozenset[bytes],
        gateways: Collection[bytes],
        attached: Sequence[Attached],
        neighbours: Sequence[Neighbour],
    ) -> None:
        self.network = network
        self.members = members
        self._attached: dict[bytes, list[Attached]] = defaultdict(list)
        for one in attached:
            if one.uuid in members:
                self._attached[one.uuid].append(one)
        self.neighbours = [n for n in neighbours if n.uuid != network.here.uuid]
        self.gateways = (set(gateways) | {n.uuid for n in self.neighbours}) - {network.here.uuid}
        self.unheard = {n.uuid for n in self.neighbours if n.uuid not in network.gateways}
        """Neighbours of which nothing is known but that they are there."""

        self.links = {gateway: self._links_of(gateway) for gateway in self.gateways}
        self._find_owners()

    def _links_of(self, gateway: bytes) -> frozenset[bytes]:
        known = self.network.gateways.get(gateway)
        links = known.links if known is not None else ()
        reached = {
            link.to
            for link in links
            if link.to in self.gateways and not link.carries.isdisjoint(self.members)
        }
        return frozenset(reached - {gateway})

    def _find_owners(self) -> None:
        """By whole sets, as nodes are many."""
        known = {uuid: self.network.gateways[uuid] for uuid in self.gateways & self.network.gateways.keys()}
        unowned = set(self.members - self._attached.keys())
        first: dict[bytes, frozenset[bytes]] = {}
        shared = set(self._attached)
        for uuid, gateway in known.items():
            new = first[uuid] = frozenset(unowned.intersection(gateway.nodes))
            unowned -= new
            if len(new) < len(gateway.nodes):
                shared |= self.members.intersection(gateway.nodes) - new
        self.single = {uuid: nodes - shared for uuid, nodes in first.items()}
        """The nodes that only one other gateway has."""

        self.shared = frozenset(shared)
        """All others that somebody has."""

        self.unplaced = frozenset(unowned)
        self.contested: dict[bytes, frozenset[bytes]] = {}
        """The nodes that a gateway has, or may have, and that others have, too."""

        self._owners: dict[bytes, list[bytes]] = defaultdict(list)
        for uuid in sorted(known):
            contested = self.shared.intersection(known[uuid].nodes)
            for node in contested:
                self._owners[node].append(uuid)
            if known[uuid].maybe:
                contested |= (known[uuid].maybe & self.members) - self.single[uuid]
            if contested:
                self.contested[uuid] = contested

    def owners_of(self, node: bytes) -> list[bytes]:
        """The gateways that have it."""
        here = [self.network.here.uuid] if node in self._attached else []
        if node in self.shared:
            return [*self._owners.get(node, ()), *here]
        return [uuid for uuid, nodes in self.single.items() if node in nodes]

    def grow(self, usable: Usable) -> Tree:
        """One tree to all that is wanted and can be reached."""
        tree = self._to_gateways(usable)
        self._place_single(tree, usable)
        for node in usable.wanted(self.shared):
            way = min(self._ways_to(node, tree, usable), default=None)
            if way is None:
                tree.unreached.add(node)
                continue
            cost, _, gateway, name = way
            tree.shares.setdefault(gateway, Share()).others[node] = cost
            if name:
                tree.own[node] = name
        self._place_unplaced(tree, usable)
        return tree

    def _to_gateways(self, usable: Usable) -> Tree:
        """
        Beyond our own remotes all links cost the same, so whoever comes by a
        gateway first is on the cheapest way to it, unless that link is to be avoided.
        """
        here = self.network.here.uuid
        tree = Tree({}, {})
        remotes = self._remotes(usable)
        waves = _Waves()
        for uuid, (cost, _) in remotes.items():
            waves.add(cost, 1, (uuid,), here)
        found = set(usable.bypass)
        for cost, hops, gateways in waves:
            for uuid, before in gateways:
                if uuid in tree.stops:
                    continue
                tree.stops[uuid] = Stop(cost, hops, uuid, before)
                if before == here:
                    tree.remotes[uuid] = remotes[uuid][1]
                onward = self.links[uuid] - found
                avoided = usable.avoided(uuid, onward)
                if avoided:
                    onward -= avoided
                    waves.add(cost + _FAR_LINK + DOWN_COST, hops + 1, avoided, uuid)
                if onward:
                    found |= onward
                    waves.add(cost + _FAR_LINK, hops + 1, onward, uuid)
        return tree

    def _remotes(self, usable: Usable) -> dict[bytes, tuple[float, str]]:
        """The best remote for each neighbour, and its cost."""
        best: dict[bytes, tuple[float, str]] = {}
        for neighbour in self.neighbours:
            if neighbour.uuid not in usable.bypass:
                cost = usable.weights.cost(neighbour.name, neighbour.cost)
                found = (cost + usable.extra(self.network.here.uuid, neighbour.uuid), neighbour.name)
                best[neighbour.uuid] = min(best.get(neighbour.uuid, found), found)
        return best

    def _place_single(self, tree: Tree, usable: Usable) -> None:
        for uuid, stop in tree.stops.items():
            nodes = usable.wanted(self.single.get(uuid, _NOTHING))
            if nodes:
                tree.shares[uuid] = _share(nodes, stop, usable)
        for uuid in self.single.keys() - tree.stops.keys():
            tree.unreached |= usable.wanted(self.single[uuid])

    def _ways_to(self, node: bytes, tree: Tree, usable: Usable) -> Iterable[tuple[float, int, bytes, str]]:
        """Cost, hops, gateway, and the remote for it where that is this one."""
        here = self.network.here.uuid
        for attached in self._attached.get(node, ()):
            cost = usable.weights.cost(attached.name, attached.cost) + usable.extra(here, node)
            yield cost, 1, here, attached.name
        for gateway in self._owners.get(node, ()):
            stop = tree.stops.get(gateway)
            if stop is not None:
                yield stop.cost + _FAR_NODE + usable.extra(gateway, node), stop.hops + 1, gateway, ""

    def _place_unplaced(self, tree: Tree, usable: Usable) -> None:
        """A node that no gateway is known to have may be with a neighbour of which nothing is known."""
        stop = next((stop for uuid, stop in tree.stops.items() if uuid in self.unheard), None)
        nodes = usable.wanted(self.unplaced)
        if stop is None:
            tree.unreached |= nodes
        elif nodes:
            tree.shares[stop.gateway] = _share(nodes, stop, usable)


def cluster_plane(network: Network, cluster: bytes) -> Plane:
    here = network.here
    return Plane(
        network,
        network.members.get(cluster, frozenset()),
        [uuid for uuid, gateway in network.gateways.items() if cluster in gateway.clusters],
        [node for node in here.nodes if cluster in node.clusters],
        [neighbour for neighbour in here.neighbours if cluster in neighbour.clusters],
    )


def node_plane(network: Network, node: bytes) -> Plane:
    """For one node by itself: a gateway is asked for it only where it says that it proxies it."""
    here = network.here
    proxying = {uuid for uuid, gateway in network.gateways.items() if node in gateway.proxies}
    neighbours = [neighbour for neighbour in here.neighbours if neighbour.uuid in proxying]
    return Plane(network, frozenset((node,)), proxying, here.nodes, neighbours)


def _share(nodes: frozenset[bytes], stop: Stop, usable: Usable) -> Share:
    cost = stop.cost + _FAR_NODE
    avoided = usable.avoided(stop.gateway, nodes)
    if not avoided:
        return Share(nodes, cost)
    share = Share(nodes - avoided, cost)
    share.others = dict.fromkeys(avoided, cost + DOWN_COST)
    return share
