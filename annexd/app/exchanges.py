"""Which gateways exchange what they know with their neighbours, and for how long."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Callable

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from annexd.app.estate import Estate
from annexd.app.exchange import Exchange, tell_failed
from annexd.app.exchange_git import ExchangeGit, git_in
from annexd.app.neighbour_ways import NeighbourWays
from annexd.app.node_settings import NodeSettings
from annexd.app.nodes import Nodes
from annexd.repo.local import Repository
from annexd.repo.whereabouts import Whereabouts
from annexd.router.directory import Directory, Visit

_log = Logger()


class _One:
    """Of one gateway, which stays open meanwhile."""

    def __init__(self, git_dir: bytes) -> None:
        self.git_dir = git_dir
        self.visit: Visit[Repository] | None = None
        self.exchange: Exchange | None = None
        self.starting: Deferred[None] | None = None

    async def stop(self) -> None:
        if self.starting is not None:
            self.starting.cancel()
        if self.exchange is not None:
            await self.exchange.stop()
        self.leave()

    def leave(self) -> None:
        if self.visit is not None:
            self.visit.leave()


class Exchanges:
    """``nodes`` has the connections; ``settings`` are asked for each gateway."""

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
        self._known: dict[bytes, _One] = {}
        self._ending: set[Deferred[None]] = set()

    def begin(self, repository: Repository, estate: Estate) -> None:
        """Once for each gateway, from the moment that somebody uses it; nobody waits for it."""
        if repository.git_dir in self._known:
            return
        one = self._known[repository.git_dir] = _One(repository.git_dir)
        starting = Deferred.fromCoroutine(self._start(one, estate))
        starting.addErrback(self._not_started, one)
        if not starting.called:
            one.starting = starting

    async def _start(self, one: _One, estate: Estate) -> None:
        one.visit = await self._directory.find(one.git_dir)
        repository = one.visit.repository
        config = await Whereabouts(repository).config()
        ways = NeighbourWays(
            self._reactor,
            estate,
            self._nodes.account,
            self._nodes.links(repository),
            lambda: self._settings().patience,
            config,
            self._environ,
        )
        exchange = Exchange(
            self._reactor,
            repository,
            ExchangeGit(git_in(self._reactor, one.git_dir, self._environ, config), ways.passage),
            estate.neighbours,
            ways.listen,
            poll_s=self._settings().exchange_poll,
            over=lambda: self._forget(one),
        )
        one.starting = None
        one.exchange = exchange
        exchange.start()

    def _not_started(self, failure: Failure, one: _One) -> None:
        self._forget(one)
        tell_failed(failure)

    def _forget(self, one: _One) -> None:
        one.leave()
        if self._known.get(one.git_dir) is one:
            del self._known[one.git_dir]

    def end(self, git_dir: bytes) -> None:
        """Nobody waits for that either."""
        known = self._known.get(git_dir)
        if known is not None:
            self._end(known)

    def end_all(self) -> None:
        for one in list(self._known.values()):
            self._end(one)

    def _end(self, one: _One) -> None:
        if self._known.get(one.git_dir) is one:
            del self._known[one.git_dir]
        ending = Deferred.fromCoroutine(one.stop())
        self._ending.add(ending)
        ending.addErrback(lambda failure: _log.failure("exchanging git-annex branches", failure))
        ending.addBoth(lambda _: self._ending.discard(ending))

    async def stop(self) -> None:
        self.end_all()
        while self._ending:
            await DeferredList(list(self._ending))
