"""
The cheapest way from this gateway to each gateway of a cluster, and to each of
its nodes: one tree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from annexd.router.topology import LINK_COST, NODE_COST, Attached, Edge, Neighbour, Network, unwanted_node
from annexd.router.weights import DOWN_COST, HOP_COST, Weights

_FAR_NODE = NODE_COST + HOP_COST
_FAR_LINK = LINK_COST + HOP_COST


@dataclass(frozen=True, slots=True)
class Usable:
    """What a request may use: nothing in ``bypass``, and edges in ``avoid`` like those that are down."""

    weights: Weights
    bypass: frozenset[bytes]
    avoid: frozenset[Edge] = frozenset()

    def allows(self, gateway: bytes) -> bool:
        return gateway not in self.bypass

    def allows_node(self, node: bytes) -> bool:
        return unwanted_node(node) not in self.bypass

    def extra(self, source: bytes, to: bytes) -> float:
        """On top of what the edge costs otherwise."""
        return DOWN_COST if (source, to) in self.avoid else 0.0


@dataclass(frozen=True, slots=True)
class Stop:
    """A gateway on the tree: what it costs to get there, over how many links, from where."""

    cost: float
    hops: int
    gateway: bytes
    before: bytes

    @property
    def down(self) -> bool:
        """No way there is known but over what is down, or to be avoided."""
        return self.cost >= DOWN_COST


@dataclass(frozen=True, slots=True)
class Leaf:
    """A node on the tree, at the gateway that serves it; ``name`` is its remote, of an own one."""

    node: bytes
    gateway: bytes
    cost: float
    hops: int
    name: str = ""

    @property
    def down(self) -> bool:
        return self.cost >= DOWN_COST


@dataclass(slots=True)
class Tree:
    """``stops`` are in the order of their costs; ``shares`` the nodes of each."""

    stops: dict[bytes, Stop]
    first: dict[bytes, str]
    """The remote for each neighbour that is on the tree."""

    shares: dict[bytes, list[Leaf]] = field(default_factory=lambda: defaultdict(list))


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
        self.attached = [node for node in attached if node.uuid in members]
        self.neighbours = [n for n in neighbours if n.uuid != network.here.uuid]
        self.gateways = (set(gateways) | {n.uuid for n in self.neighbours}) - {network.here.uuid}
        self.unheard = {n.uuid for n in self.neighbours if n.uuid not in network.gateways}
        """Neighbours of which nothing is known but that they are there."""

        self.links = {gateway: self._links_of(gateway) for gateway in self.gateways}
        self._keep_nodes()

    def _links_of(self, gateway: bytes) -> list[bytes]:
        known = self.network.gateways.get(gateway)
        links = known.links if known is not None else ()
        reached = {link.to for link in links if link.to in self.gateways and link.carries & self.members}
        return sorted(reached - {gateway})

    def _keep_nodes(self) -> None:
        self.owners: dict[bytes, list[bytes]] = defaultdict(list)
        for gateway in sorted(self.gateways & self.network.gateways.keys()):
            for node in self.network.gateways[gateway].nodes.keys() & self.members:
                self.owners[node].append(gateway)
        for attached in self.attached:
            if self.network.here.uuid not in self.owners[attached.uuid]:
                self.owners[attached.uuid].append(self.network.here.uuid)
        self.unplaced = self.members - self.owners.keys()
        self.perhaps = {
            gateway: frozenset(self.network.gateways[gateway].maybe & self.members)
            for gateway in self.gateways & self.network.gateways.keys()
        }
        self.single: dict[bytes, list[bytes]] = defaultdict(list)
        self.shared: list[bytes] = []
        for node in sorted(self.owners):
            owners = self.owners[node]
            if len(owners) == 1 and owners[0] != self.network.here.uuid:
                self.single[owners[0]].append(node)
            else:
                self.shared.append(node)

    def grow(self, usable: Usable, targets: frozenset[bytes] | None) -> Tree:
        """One tree to all nodes, or to the ``targets``, that can be reached."""
        tree = self._to_gateways(usable)
        self._place_single(tree, usable, targets)
        for node in self.shared:
            if targets is None or node in targets:
                leaf = min(self._ways_to(node, tree, usable), key=_preference, default=None)
                if leaf is not None:
                    tree.shares[leaf.gateway].append(leaf)
        self._place_unplaced(tree, usable, targets)
        return tree

    def _to_gateways(self, usable: Usable) -> Tree:
        here = self.network.here.uuid
        tree = Tree({}, {})
        remotes = self._remotes(usable)
        heap = [(cost, 1, uuid, here) for uuid, (cost, _) in remotes.items()]
        heap.sort()
        while heap:
            cost, hops, uuid, before = heappop(heap)
            if uuid in tree.stops:
                continue
            tree.stops[uuid] = Stop(cost, hops, uuid, before)
            if before == here:
                tree.first[uuid] = remotes[uuid][1]
            for other in self.links[uuid]:
                if other not in tree.stops and usable.allows(other):
                    onward = cost + _FAR_LINK + usable.extra(uuid, other)
                    heappush(heap, (onward, hops + 1, other, uuid))
        return tree

    def _remotes(self, usable: Usable) -> dict[bytes, tuple[float, str]]:
        """The best remote for each neighbour, and its cost."""
        best: dict[bytes, tuple[float, str]] = {}
        for neighbour in self.neighbours:
            if usable.allows(neighbour.uuid):
                cost = usable.weights.cost(neighbour.name, neighbour.cost)
                found = (cost + usable.extra(self.network.here.uuid, neighbour.uuid), neighbour.name)
                best[neighbour.uuid] = min(best.get(neighbour.uuid, found), found)
        return best

    def _place_single(self, tree: Tree, usable: Usable, targets: frozenset[bytes] | None) -> None:
        picky = any(word.startswith(unwanted_node(b"")) for word in usable.bypass)
        for uuid, stop in tree.stops.items():
            nodes: Iterable[bytes] = self.single.get(uuid, ())
            if targets is not None:
                nodes = [node for node in nodes if node in targets]
            if picky:
                nodes = [node for node in nodes if usable.allows_node(node)]
            if nodes:
                tree.shares[uuid] = [_leaf(node, stop, usable) for node in nodes]

    def _ways_to(self, node: bytes, tree: Tree, usable: Usable) -> Iterable[Leaf]:
        if not usable.allows_node(node):
            return
        here = self.network.here.uuid
        for attached in self.attached:
            if attached.uuid == node:
                cost = usable.weights.cost(attached.name, attached.cost) + usable.extra(here, node)
                yield Leaf(node, here, cost, 1, attached.name)
        for gateway in self.owners[node]:
            stop = tree.stops.get(gateway)
            if stop is not None:
                yield _leaf(node, stop, usable)

    def _place_unplaced(self, tree: Tree, usable: Usable, targets: frozenset[bytes] | None) -> None:
        """A node that no gateway is known to have may be with a neighbour of which nothing is known."""
        wanted = self.unplaced if targets is None else self.unplaced & targets
        stop = next((tree.stops[uuid] for uuid in tree.stops if uuid in self.unheard), None)
        if stop is not None:
            tree.shares[stop.gateway] += [
                _leaf(node, stop, usable) for node in sorted(wanted) if usable.allows_node(node)
            ]


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


def _leaf(node: bytes, stop: Stop, usable: Usable) -> Leaf:
    cost = stop.cost + _FAR_NODE + usable.extra(stop.gateway, node)
    return Leaf(node, stop.gateway, cost, stop.hops + 1)


def _preference(leaf: Leaf) -> tuple[float, int, bytes, str]:
    return leaf.cost, leaf.hops, leaf.gateway, leaf.name
