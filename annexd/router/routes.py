"""
Which way a request goes from this gateway: to each node once, over the
cheapest path, around what is down.

The tree of cheapest paths is cut at this gateway.  Its own nodes are asked by
themselves; every neighbour is given the part of the tree behind it, by a list
of gateways to bypass: those that the request has passed through, this one, and
all that are not in that part.  git-annex's gateways pass a request on to
all neighbours that are not in the list, so they, too, send nothing where
another branch goes.  A gateway to which no way is known, or only one that is
down, is forbidden to nobody: that may reach a node twice, where forbidding it
might not reach it at all.  Nodes of several gateways are kept from all branches but
one by `unwanted_node`, which only annexd understands.

Every list holds the gateways that a request has passed through, so it ends,
whatever is wrong with what is known.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from annexd.router.bypass import Lists
from annexd.router.share import Share
from annexd.router.topology import Edge, Network
from annexd.router.tree import Plane, Tree, Usable, cluster_plane, node_plane
from annexd.router.weights import DOWN_COST, Weights

_CACHED_PLANS = 256

_NO_WEIGHTS = Weights()


@dataclass(frozen=True, slots=True)
class Branch:
    """
    One way out.  ``name`` is the remote, ``uuid`` its node or gateway,
    ``reaches`` the nodes at its end, ``cost`` that of the path to the nearest
    of them, and ``bypass`` what is to be said there.
    """

    uuid: bytes
    name: str
    is_gateway: bool
    reaches: frozenset[bytes]
    cost: float
    bypass: tuple[bytes, ...]

    @property
    def down(self) -> bool:
        """All known ways to these nodes are down, or were to be avoided."""
        return self.cost >= DOWN_COST


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """
    The branches, in the order in which to ask them (`nearest`), and what they
    were found in.  ``unreached`` are wanted nodes without a way to them.
    """

    branches: tuple[Branch, ...]
    unreached: frozenset[bytes]
    plane: Plane
    tree: Tree
    usable: Usable

    unsure: frozenset[bytes]
    """Nodes that more neighbours than one may come by, since no way to them is known that is up."""


class Routes:
    """
    The ways through one network.  Plans are kept: a request under the same
    circumstances as one before costs nothing.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self._planes: dict[tuple[bytes, bool], Plane] = {}
        self._plans: OrderedDict[tuple[object, ...], Plan] = OrderedDict()

    def plan(
        self,
        cluster: bytes,
        bypass: Sequence[bytes] = (),
        weights: Weights = _NO_WEIGHTS,
        targets: frozenset[bytes] | None = None,
        avoid: frozenset[Edge] = frozenset(),
    ) -> Plan:
        """
        The ways to all nodes of a cluster, or to its ``targets`` only, for a
        request that came with ``bypass``.  Edges in ``avoid`` are used only
        where there is no other way: for a second try, see `suspects`.
        """
        return self._plan(cluster, True, tuple(bypass), weights, targets, avoid)

    def path_to(
        self,
        node: bytes,
        bypass: Sequence[bytes] = (),
        weights: Weights = _NO_WEIGHTS,
        avoid: frozenset[Edge] = frozenset(),
    ) -> Plan:
        """The way to one node by itself, cluster or not: a plan with one branch or none."""
        return self._plan(node, False, tuple(bypass), weights, None, avoid)

    def _plan(
        self,
        uuid: bytes,
        is_cluster: bool,
        bypass: tuple[bytes, ...],
        weights: Weights,
        targets: frozenset[bytes] | None,
        avoid: frozenset[Edge],
    ) -> Plan:
        circumstances = (uuid, is_cluster, bypass, weights, targets, avoid)
        plan = self._plans.pop(circumstances, None)
        if plan is None:
            usable = Usable(weights, bypass, targets, avoid)
            plan = _cut(self._plane(uuid, is_cluster), bypass, usable, is_cluster)
        self._plans[circumstances] = plan
        if len(self._plans) > _CACHED_PLANS:
            self._plans.popitem(last=False)
        return plan

    def _plane(self, uuid: bytes, is_cluster: bool) -> Plane:
        plane = self._planes.get((uuid, is_cluster))
        if plane is None:
            plane = (cluster_plane if is_cluster else node_plane)(self.network, uuid)
            if is_cluster:
                self._planes[uuid, True] = plane  # of the other kind anybody may ask for any number
        return plane


def nearest(branches: Iterable[Branch]) -> list[Branch]:
    """In the order in which to ask them for content: own nodes before gateways, then by cost."""
    return sorted(branches, key=lambda b: (b.is_gateway, b.cost, b.uuid, b.name))


def suspects(plan: Plan, reached: Iterable[bytes], answered: Iterable[bytes] = ()) -> frozenset[Edge]:
    """
    Where it may have failed, when only ``reached`` were reached, by this plan
    and by those tried before it: the edges to gateways with nodes of their own
    none of which were reached, nor any behind them, and those to single nodes.
    Gateways that ``answered`` are known to be well, whatever they reached.
    With these avoided and the missing nodes as targets, another plan is a
    second try.  When nothing is suspected that has not been avoided before,
    there is nothing left to try.  Only the gateway where a request entered
    should try again: if all did, tries would multiply.
    """
    got = set(reached)
    alive = set(answered)
    found: set[Edge] = set()
    tree = plan.tree
    for uuid in reversed(tree.stops):
        nodes = (*plan.plane.single.get(uuid, ()), *tree.shares.get(uuid, ()))
        if uuid in alive or not got.isdisjoint(nodes):
            alive |= {uuid, tree.stops[uuid].before}
    for gateway, share in tree.shares.items():
        if gateway == plan.plane.network.here.uuid or gateway in alive:
            found |= {(gateway, node) for node in share.keys() - got}
        elif not _has_silent_before(gateway, plan, alive):
            found.add(_suspect_before(gateway, plan, alive))
    return frozenset(found)


def _suspect_before(gateway: bytes, plan: Plan, alive: set[bytes]) -> Edge:
    """The nearest edge on the way there that is not suspected yet, of those that nothing speaks for."""
    edge = plan.tree.stops[gateway].before, gateway
    while edge in plan.usable.avoid and edge[0] in plan.tree.stops and edge[0] not in alive:
        edge = plan.tree.stops[edge[0]].before, edge[0]
    return edge


def _has_silent_before(gateway: bytes, plan: Plan, alive: set[bytes]) -> bool:
    """Whether there is, nearer to here, a gateway with nodes none of which were reached."""
    stops, here = plan.tree.stops, plan.plane.network.here.uuid
    before = stops[gateway].before
    while before != here and before not in alive:
        if plan.tree.shares.get(before):
            return True
        before = stops[before].before
    return False


def _cut(plane: Plane, bypass: tuple[bytes, ...], usable: Usable, is_cluster: bool) -> Plan:
    here = plane.network.here.uuid
    if here in usable.bypass:
        # It has been here, and what there is to be done here was done then.
        return Plan((), frozenset(), plane, Tree({}, {}), usable, frozenset())
    tree = plane.grow(usable)
    passed = tuple(dict.fromkeys((*bypass, here)))
    branches = [
        Branch(node, tree.own[node], False, frozenset((node,)), cost, passed)
        for node, cost in tree.shares.get(here, Share()).items()
    ]
    parts = _parts(tree)
    lists = Lists(plane, tree, usable, passed, parts.values()) if is_cluster else None
    for neighbour, part in parts.items():
        shares = [tree.shares[gateway] for gateway in part if gateway in tree.shares]
        reaches = frozenset[bytes]().union(*(nodes for share in shares for nodes in share.parts))
        told = lists.of(part, reaches) if lists is not None else passed
        cost = min(share.least for share in shares)
        branches.append(Branch(neighbour, tree.remotes[neighbour], True, reaches, cost, told))
    branches = nearest(branches)
    return Plan(tuple(branches), frozenset(tree.unreached), plane, tree, usable, tree.unsure())


def _parts(tree: Tree) -> dict[bytes, set[bytes]]:
    """For each neighbour the gateways of its part of the tree, without those that lead to no node."""
    neighbour: dict[bytes, bytes] = {}
    for uuid, stop in tree.stops.items():
        neighbour[uuid] = neighbour.get(stop.before, uuid)
    parts: dict[bytes, set[bytes]] = defaultdict(set)
    needed: set[bytes] = set()
    for uuid in reversed(tree.stops):
        if uuid in needed or tree.shares.get(uuid):
            needed.add(tree.stops[uuid].before)
            parts[neighbour[uuid]].add(uuid)
    return dict(sorted(parts.items()))
