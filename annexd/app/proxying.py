"""Sessions for what a repository proxies: single nodes, and clusters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Callable

from annexd.app.estate import Estate, EstateWishes
from annexd.app.exchanges import Exchanges
from annexd.app.hosting import Seat
from annexd.app.node_settings import NodeSettings
from annexd.app.nodes import Nodes
from annexd.node import Node
from annexd.repo.local import Repository
from annexd.repo.whereabouts import Whereabouts
from annexd.router.cluster import Cluster
from annexd.router.directory import Directory
from annexd.router.limits import Limits
from annexd.router.ports import Way, Wishes
from annexd.router.proxied import ProxiedNode
from annexd.store import Caller


class Proxying:
    """See `annexd.app.hosting.Proxies`.  ``settings`` are asked each time."""

    def __init__(
        self,
        reactor: Any,
        directory: Directory[Repository],
        nodes: Nodes,
        settings: Callable[[], NodeSettings],
        environ: Mapping[str, str],
    ) -> None:
        self._reactor = reactor
        self._directory = directory
        self._nodes = nodes
        self._settings = settings
        self._estates: dict[bytes, Estate] = {}
        self._exchanges = Exchanges(reactor, directory, nodes, settings, environ)

    def start(self) -> None:
        """Gateways are looked at when somebody comes."""

    def reload(self) -> None:
        """The next session asks; what may be no more ends."""
        self._nodes.reload()
        if not self._settings().exchange:
            self._exchanges.end_all()

    async def stop(self) -> None:
        await self._exchanges.stop()
        for estate in list(self._estates.values()):
            estate.close()
            await estate.fullness.stop()
        await self._nodes.close()

    async def estate(self, repository: Repository) -> Estate:
        """As it is now."""
        estate = self._estates.get(repository.git_dir)
        if estate is None or estate.uuid != repository.uuid:
            if estate is not None:
                self._forget(repository.git_dir, estate)
            estate = Estate(repository.uuid, self._reactor, self._nodes.of(repository))
            self._estates[repository.git_dir] = estate
        await estate.refresh(repository)
        if not estate.configured.is_gateway:
            self._forget(repository.git_dir, estate)
            return estate
        if estate.asks_for_sizes:
            await self._count(repository.git_dir, estate)
        if self._settings().exchange and estate.neighbours():
            self._exchanges.begin(repository, estate)
        return estate

    def _forget(self, git_dir: bytes, estate: Estate) -> None:
        """It is a gateway no more, or another one; of thousands of repositories few are gateways."""
        if self._estates.get(git_dir) is estate:
            del self._estates[git_dir]
            self._exchanges.end(git_dir)
        estate.close()

    async def _count(self, git_dir: bytes, estate: Estate) -> None:
        """The first one to ask waits for an open repository, and nobody for the result."""
        if not estate.fullness.due:
            return
        visit = await self._directory.find(git_dir)
        members = frozenset().union(*estate.knowledge.clusters.values())
        estate.fullness.count(Whereabouts(visit.repository), members, visit.leave)

    async def seat(self, repository: Repository, uuid: bytes, caller: Caller) -> Seat | None:
        if not repository.uuid:
            return None
        estate = await self.estate(repository)
        names = (*estate.ruled_as(uuid), uuid.decode("ascii", "backslashreplace"))
        ours = Caller(repository.uuid, caller.name)  # to the nodes the gateway is the client
        if estate.is_cluster(uuid):
            cluster = self.cluster(estate, repository, uuid, ours)
            return Seat(cluster, names, cluster.bypass)
        way = estate.way_to(uuid)
        if way is None:
            return None
        node = ProxiedNode(
            way.node,
            estate.whereabouts(repository),
            ours,
            self._reactor,
            limits=self.limits,
            members=estate.knowledge.members(uuid),
            uploads=estate.uploads,
            another=lambda: _node_at(estate.way_to(uuid)),
        )
        return Seat(node, names)

    @property
    def estates(self) -> Mapping[bytes, Estate]:
        """Of the gateways that somebody came to, by their git directories."""
        return self._estates

    @property
    def limits(self) -> Limits:
        return self._settings().limits

    def wishes(self, estate: Estate, repository: Repository) -> Wishes:
        return EstateWishes(estate, repository)

    def cluster(self, estate: Estate, repository: Repository, uuid: bytes, caller: Caller) -> Cluster:
        """A cluster that the gateway serves, for one session."""
        return Cluster(
            uuid,
            lambda bypass: estate.ways(uuid, bypass),
            estate.whereabouts(repository),
            self.wishes(estate, repository),
            caller,
            self._reactor,
            uploads=estate.uploads,
            boot=repository.clocks.boot,
            limits=replace(self.limits, jobs=estate.configured.jobs),
        )


def _node_at(way: Way | None) -> Node | None:
    return None if way is None else way.node
