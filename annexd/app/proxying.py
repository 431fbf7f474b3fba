"""Sessions for what a repository proxies: single nodes, and clusters."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from annexd.app.estate import Estate, EstateWishes
from annexd.app.exchange import Exchange, git_in
from annexd.app.hosting import Seat
from annexd.app.node_settings import NodeSettings
from annexd.app.nodes import Nodes
from annexd.repo.local import Repository
from annexd.repo.whereabouts import Whereabouts
from annexd.router.cluster import Cluster
from annexd.router.directory import Directory, Visit
from annexd.router.limits import Limits
from annexd.router.ports import Wishes
from annexd.router.proxied import ProxiedNode
from annexd.store import Caller

_log = Logger()


@dataclass(frozen=True, slots=True)
class _Exchanging:
    """The repository stays open meanwhile."""

    exchange: Exchange
    visit: Visit[Repository]


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
        self._environ = {os.fsencode(name): os.fsencode(value) for name, value in environ.items()}
        self._estates: dict[bytes, Estate] = {}
        self._exchanging: dict[bytes, _Exchanging] = {}
        self._starting: dict[bytes, Deferred[None]] = {}

    def start(self) -> None:
        """Gateways are looked at when somebody comes."""

    def reload(self) -> None:
        """The next session asks."""

    async def stop(self) -> None:
        for starting in list(self._starting.values()):
            starting.cancel()
        for one in self._exchanging.values():
            await one.exchange.stop()
            one.visit.leave()
        self._exchanging.clear()
        for estate in self._estates.values():
            await estate.fullness.stop()
            estate.close()
        await self._nodes.close()

    async def estate(self, repository: Repository) -> Estate:
        """As it is now."""
        estate = self._estates.get(repository.git_dir)
        if estate is None or estate.uuid != repository.uuid:
            if estate is not None:
                estate.close()
            estate = Estate(repository.uuid, self._reactor, self._nodes.of(repository))
            self._estates[repository.git_dir] = estate
        await estate.refresh(repository)
        if not estate.configured.is_gateway:
            self._forget(repository.git_dir, estate)
            return estate
        if estate.asks_for_sizes:
            await self._count(repository.git_dir, estate)
        if self._settings().exchange and estate.neighbours():
            self._exchange(repository.git_dir, estate)
        return estate

    def _forget(self, git_dir: bytes, estate: Estate) -> None:
        """Of thousands of repositories few are gateways."""
        if self._estates.get(git_dir) is estate:
            del self._estates[git_dir]
        estate.close()

    async def _count(self, git_dir: bytes, estate: Estate) -> None:
        """The first one to ask waits for an open repository, and nobody for the result."""
        if not estate.fullness.due:
            return
        visit = await self._directory.find(git_dir)
        members = frozenset().union(*estate.knowledge.clusters.values())
        estate.fullness.count(Whereabouts(visit.repository), members, visit.leave)

    def _exchange(self, git_dir: bytes, estate: Estate) -> None:
        """Once for each gateway, from the moment that somebody uses it; nobody waits for it."""
        if git_dir not in self._exchanging and git_dir not in self._starting:
            starting = Deferred.fromCoroutine(self._start_exchange(git_dir, estate))
            self._starting[git_dir] = starting
            starting.addErrback(_not_started)
            starting.addBoth(lambda _: self._starting.pop(git_dir, None))

    async def _start_exchange(self, git_dir: bytes, estate: Estate) -> None:
        visit = await self._directory.find(git_dir)
        git = git_in(self._reactor, git_dir, self._environ)
        exchange = Exchange(self._reactor, visit.repository, git, estate.neighbours)
        self._exchanging[git_dir] = _Exchanging(exchange, visit)
        exchange.start()

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
            limits=self.limits,
        )


def _not_started(failure: Failure) -> None:
    if failure.check(CancelledError) is None:  # type: ignore[no-untyped-call]
        _log.failure("exchanging git-annex branches", failure)
