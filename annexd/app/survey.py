"""`annexd cluster status`: a gateway's clusters, their nodes, and how they fare."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from annexd.app.estate import Estate
from annexd.app.fill import disk_of, tally
from annexd.app.logs import clean
from annexd.errors import Refused, Unavailable
from annexd.node import Node
from annexd.repo.local import Repository
from annexd.repo.whereabouts import Whereabouts
from annexd.router.configured import Remote
from annexd.router.errands import Errands
from annexd.router.limits import Limits
from annexd.router.routes import Plan
from annexd.router.tree import Stop
from annexd.router.weights import DOWN_COST
from annexd.store import Caller

_QUICK_S = 3.0
"""For so long keys are counted where nobody has asked for it."""

_NO_LIMIT_S = 1e9
_AT_ONCE = 16


class Survey:
    def __init__(self, reactor: Any, repository: Repository, estate: Estate, limits: Limits) -> None:
        self._reactor = reactor
        self._repository = repository
        self._estate = estate
        self._limits = limits

    async def document(self, name: str, cluster: str, count_all: bool) -> dict[str, Any]:
        """
        ``name`` is what the gateway is called, ``cluster`` the one that is
        asked about, or all.  Own nodes and neighbours are asked whether they
        are there.  Costs as git-annex counts them; bytes; seconds since 1970.
        """
        estate = self._estate
        asked = {estate.cluster_called(cluster)} if cluster else set(estate.configured.clusters.values())
        await self._ask_all(asked)
        members = frozenset().union(*(estate.knowledge.members(uuid) for uuid in asked))
        single = () if cluster else tuple(self._single(members))
        wanted = members.union(remote.uuid for remote in single)
        whereabouts = Whereabouts(self._repository)
        counts = await tally(whereabouts, wanted, self._reactor, _NO_LIMIT_S if count_all else _QUICK_S)
        self._counts = counts.of
        return {
            "path": name,
            "uuid": clean(estate.uuid),
            "description": clean(estate.knowledge.descriptions.get(estate.uuid, b"")),
            "counted": counts.whole,
            "clusters": [await self._cluster(uuid) for uuid in sorted(asked, key=estate.describe)],
            "proxied": [await self._own_node(remote, {"cost": remote.cost}) for remote in single],
        }

    def _single(self, members: Collection[bytes]) -> Iterable[Remote]:
        """Those that are proxied, and no nodes of clusters."""
        return (
            remote
            for remote in self._estate.configured.remotes
            if remote.proxied and remote.uuid not in members
        )

    # --- are they there? -----------------------------------------------------------

    async def _ask_all(self, clusters: Iterable[bytes]) -> None:
        configured = self._estate.configured
        nodes = [self._estate.node(remote, remote.uuid) for remote in configured.remotes if remote.proxied]
        for cluster in clusters:
            nodes += [self._estate.node(remote, cluster) for remote in configured.gateways_of(cluster)]
        errands = Errands(self._reactor)
        try:
            await errands.each(_AT_ONCE, nodes, lambda node: self._ask(errands, node))
        finally:
            await errands.close(self._limits.parting)

    async def _ask(self, errands: Errands, node: Node) -> None:
        """What comes of it is in the node's condition."""
        store = node.store(Caller(self._estate.uuid, "annexd"))
        try:
            await errands.within(self._limits.for_answer(node), store.timestamp(), "it does not answer")
        except (Refused, Unavailable):
            pass
        finally:
            errands.start(store.close())

    # --- what there is ---------------------------------------------------------------

    async def _cluster(self, uuid: bytes) -> dict[str, Any]:
        plan = self._estate.plan(uuid)
        self._remotes = {remote.name: remote for remote in self._estate.configured.remotes}
        here = self._estate.uuid
        gateways = [{**self._itself(), "before": None, "cost": 0.0, "remote": None}]
        nodes = [await self._node(uuid, plan, here, node) for node in plan.tree.shares.get(here, ())]
        for stop in plan.tree.stops.values():
            gateways.append(self._gateway(uuid, plan, stop))
            shares = plan.tree.shares.get(stop.gateway, ())
            nodes += [await self._node(uuid, plan, stop.gateway, node) for node in shares]
        return {
            "name": clean(self._estate.describe(uuid)),
            "uuid": clean(uuid),
            "listed": bool(self._estate.names(uuid)),
            "gateways": gateways,
            "nodes": sorted(nodes, key=lambda node: (node["cost"], node["name"])),
            "unreached": [self._named(node) for node in sorted(plan.unreached)],
        }

    def _gateway(self, cluster: bytes, plan: Plan, stop: Stop) -> dict[str, Any]:
        remote = self._remotes.get(plan.tree.remotes.get(stop.gateway, ""))
        return {
            **self._named(stop.gateway),
            "before": clean(stop.before),
            **_cost(stop.cost, stop.down),
            "remote": None if remote is None else clean(remote.name),
            **(self._behind(cluster, plan, stop.gateway) if remote is None else {}),
            **({} if remote is None else _condition(self._estate.node(remote, cluster))),
        }

    def _behind(self, cluster: bytes, plan: Plan, gateway: bytes) -> dict[str, Any]:
        """The neighbour by which it is reached: how that one fares is all that is known here."""
        stops = plan.tree.stops
        while stops[gateway].before != self._estate.uuid:
            gateway = stops[gateway].before
        node = self._estate.node(self._remotes[plan.tree.remotes[gateway]], cluster)
        return {"behind": {**self._named(gateway), **_condition(node)}}

    async def _node(self, cluster: bytes, plan: Plan, gateway: bytes, uuid: bytes) -> dict[str, Any]:
        total = plan.tree.shares[gateway][uuid]
        cost = _cost(total, total >= DOWN_COST)
        if gateway == self._estate.uuid:
            return await self._own_node(self._remotes[plan.tree.own[uuid]], cost)
        known = {**self._known(uuid), "gateway": clean(gateway), **cost, "remote": None}
        return {**known, **self._behind(cluster, plan, gateway), **self._by_itself(uuid)}

    def _by_itself(self, uuid: bytes) -> dict[str, Any]:
        """How it fares by what sessions with it alone have seen through the neighbour, if there were any."""
        for nodes in self._estate.known_nodes().values():
            for node in nodes:
                if node.uuid == uuid:
                    return _condition(node)
        return {}

    async def _own_node(self, remote: Remote, cost: dict[str, Any]) -> dict[str, Any]:
        node = self._estate.node(remote, remote.uuid)
        return {
            **self._known(remote.uuid),
            "gateway": clean(self._estate.uuid),
            **cost,
            "remote": clean(remote.name),
            **_condition(node),
            **await disk_of(node),
        }

    def _known(self, uuid: bytes) -> dict[str, Any]:
        """From the git-annex branch."""
        keys, size = self._counts.get(uuid, (0, 0)) if self._counts is not None else (None, None)
        return {
            **self._named(uuid),
            "keys": keys,
            "bytes": size,
            "maxsize": self._estate.knowledge.maxsizes.get(uuid),
        }

    def _itself(self) -> dict[str, Any]:
        described = self._estate.knowledge.descriptions.get(self._estate.uuid) or b"this one"
        return {"name": clean(described), "uuid": clean(self._estate.uuid)}

    def _named(self, uuid: bytes) -> dict[str, Any]:
        return {"name": clean(self._estate.describe(uuid)), "uuid": clean(uuid)}


def _cost(cost: float, down: bool) -> dict[str, Any]:
    """``way`` is false where everything that leads there is known to be down."""
    return {"cost": cost % DOWN_COST, "way": not down}


def _condition(node: Node) -> dict[str, Any]:
    found = node.condition
    return {
        "health": found.health.value,
        "since": round(found.since, 3),
        "reason": clean(found.reason),
        "busy": found.busy,
        "latency": found.latency_s,
        "rate": found.bytes_per_s,
    }
