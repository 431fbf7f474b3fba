"""Sessions for what a repository proxies: single nodes, and clusters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from annexd.app.estate import Estate, EstateWishes
from annexd.app.hosting import Seat
from annexd.app.nodes import Nodes
from annexd.repo.local import Repository
from annexd.repo.whereabouts import Whereabouts
from annexd.router.cluster import Cluster
from annexd.router.limits import Limits
from annexd.router.ports import Wishes
from annexd.router.proxied import ProxiedNode
from annexd.store import Caller


class Proxying:
    """See `annexd.app.hosting.Proxies`.  ``limits`` are asked for each session."""

    def __init__(self, reactor: Any, nodes: Nodes, limits: Callable[[], Limits]) -> None:
        self._reactor = reactor
        self._nodes = nodes
        self._limits = limits
        self._estates: dict[bytes, Estate] = {}

    def start(self) -> None:
        """Gateways are looked at when somebody comes."""

    def reload(self) -> None:
        """The next session asks."""

    async def stop(self) -> None:
        await self._nodes.close()

    async def estate(self, repository: Repository) -> Estate:
        """As it is now."""
        estate = self._estates.get(repository.git_dir)
        if estate is None or estate.uuid != repository.uuid:
            estate = Estate(repository.uuid, self._reactor, self._nodes.of(repository))
            self._estates[repository.git_dir] = estate
        await estate.refresh(repository)
        return estate

    async def seat(self, repository: Repository, uuid: bytes, caller: Caller) -> Seat | None:
        if not repository.uuid:
            return None
        estate = await self.estate(repository)
        names = (*estate.names(uuid), uuid.decode("ascii", "backslashreplace"))
        ours = Caller(repository.uuid, caller.name)  # to the nodes the gateway is the client
        if estate.is_cluster(uuid):
            cluster = self.cluster(estate, repository, uuid, ours)
            return Seat(cluster, names, cluster.bypass)
        way = estate.way_to(uuid)
        if way is None:
            return None
        node = ProxiedNode(
            way.node,
            Whereabouts(repository),
            ours,
            self._reactor,
            boot=repository.clocks.boot,
            limits=self._limits(),
        )
        return Seat(node, names)

    @property
    def estates(self) -> Mapping[bytes, Estate]:
        """Of the gateways that somebody came to, by their git directories."""
        return self._estates

    @property
    def limits(self) -> Limits:
        return self._limits()

    def wishes(self, estate: Estate, repository: Repository) -> Wishes:
        return EstateWishes(estate, repository)

    def cluster(self, estate: Estate, repository: Repository, uuid: bytes, caller: Caller) -> Cluster:
        """A cluster that the gateway serves, for one session."""
        return Cluster(
            uuid,
            lambda bypass: estate.ways(uuid, bypass),
            Whereabouts(repository),
            self.wishes(estate, repository),
            caller,
            self._reactor,
            uploads=estate.uploads,
            boot=repository.clocks.boot,
            limits=self._limits(),
        )
