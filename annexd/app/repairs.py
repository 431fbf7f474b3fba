"""`annexd cluster repair`: work in the daemon that goes on when nobody waits for it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.logger import Logger
from twisted.python.failure import Failure

from annexd.app.estate import Estate
from annexd.app.logs import clean
from annexd.app.progress import Progress
from annexd.app.proxying import Proxying
from annexd.errors import AnnexdError, Refused
from annexd.protocol.codec import encode_file
from annexd.protocol.keys import Key
from annexd.repo.census import Census, Logged
from annexd.repo.local import Repository
from annexd.repo.whereabouts import Whereabouts
from annexd.router.cluster import Cluster
from annexd.router.directory import Directory
from annexd.router.errands import together
from annexd.store import Caller

_log = Logger()


@dataclass(frozen=True, slots=True)
class Order:
    """
    ``dry_run``: only say what would be done.  ``ask_all``: do not believe
    what the location log says of nodes that are not on this machine's disks.
    """

    git_dir: bytes
    cluster: bytes
    dry_run: bool = False
    ask_all: bool = False

    @property
    def what(self) -> tuple[bytes, bytes]:
        return self.git_dir, self.cluster


class Repair:
    """One, from its beginning to its end."""

    def __init__(
        self, order: Order, repository: Repository, estate: Estate, cluster: Cluster, progress: Progress
    ) -> None:
        self.order = order
        self.progress = progress
        self._repository = repository
        self._estate = estate
        self._cluster = cluster
        self._turn = DeferredLock()
        self._waiting: list[Logged] = []

    async def run(self, jobs: int) -> None:
        try:
            census = await Whereabouts(self._repository).census()
            await together([self._work(census) for _ in range(jobs)])
        finally:
            await self._cluster.close()

    async def _work(self, census: Census) -> None:
        while (logged := await self._next(census)) is not None:
            try:
                await self._look_at(logged)
            except AnnexdError as error:
                self.progress.failed(logged.key, str(error))

    async def _next(self, census: Census) -> Logged | None:
        async with self._turn:
            if not self._waiting:
                self._waiting = await census.some()
                self._waiting.reverse()
            return self._waiting.pop() if self._waiting else None

    async def _look_at(self, logged: Logged) -> None:
        key = logged.key
        self.progress.keys += 1
        file = await self._file_of(key)
        targets = await self._cluster.lacking(key, logged.holders, self.order.ask_all, file)
        if not targets:
            return
        self.progress.lacking += 1
        if self.order.dry_run:
            self.progress.copied(map(self._estate.describe, targets), key.size or 0)
            return
        outcome = await self._cluster.fill(key, self.progress.moved, file)
        took = targets.intersection(outcome.also)
        self.progress.copied(map(self._estate.describe, took), key.size or 0)
        if not outcome.ok or (outcome.reason and took != targets):
            self.progress.failed(key, outcome.reason or "no node has taken it")

    async def _file_of(self, key: Key) -> bytes:
        """As in PUT; empty where none is known, as in a gateway without a work tree."""
        path = await Whereabouts(self._repository).file_of(key)
        return b"" if path is None else encode_file(path)


class Repairs:
    """Those that are under way, and how the last one of each cluster went."""

    def __init__(self, reactor: Any, directory: Directory[Repository], proxying: Proxying) -> None:
        self._reactor = reactor
        self._directory = directory
        self._proxying = proxying
        self._last: dict[tuple[bytes, bytes], Progress] = {}
        self._running: dict[tuple[bytes, bytes], Deferred[None]] = {}
        self._stopped = False

    async def start(self, path: bytes, order: Order, jobs: int) -> dict[str, Any]:
        """Or join the one that is under way.  ``path`` is that of the gateway."""
        if self._stopped:
            raise Refused("annexd is being stopped")
        running = self._last.get(order.what)
        if order.what in self._running and running is not None:
            if running.dry_run != order.dry_run:
                raise Refused("another repair of this cluster is under way; wait for it, or stop it")
            return {**running.document(), "joined": True}
        progress = Progress(self._reactor, order.dry_run)
        self._last[order.what] = progress
        started = Deferred.fromCoroutine(self._run(path, order, jobs, progress))
        if not started.called:
            self._running[order.what] = started
        started.addBoth(self._ended, order, progress)
        return progress.document()

    def look(self, order: Order) -> dict[str, Any]:
        progress = self._last.get(order.what)
        if progress is None:
            raise Refused("no repair of this cluster has been started since the daemon was")
        return progress.document()

    async def call_off(self, order: Order) -> dict[str, Any]:
        await self._cancel(order.what)
        return self.look(order)

    async def stop(self) -> None:
        self._stopped = True
        for what in list(self._running):
            await self._cancel(what)

    async def _cancel(self, what: tuple[bytes, bytes]) -> None:
        running = self._running.get(what)
        if running is None:
            return
        over: Deferred[None] = Deferred()
        running.addBoth(lambda _: over.callback(None))
        running.cancel()
        await over

    async def _run(self, path: bytes, order: Order, jobs: int, progress: Progress) -> None:
        with await self._directory.find(path) as repository:
            estate = await self._proxying.estate(repository)
            if not estate.is_cluster(order.cluster):
                raise Refused("the gateway does not serve the cluster; see `annexd cluster update`")
            caller = Caller(repository.uuid, "annexd")
            cluster = self._proxying.cluster(estate, repository, order.cluster, caller)
            await Repair(order, repository, estate, cluster, progress).run(jobs)
            await repository.settle()

    def _ended(self, result: object, order: Order, progress: Progress) -> None:
        self._running.pop(order.what, None)
        if not isinstance(result, Failure):
            progress.end("done")
        elif isinstance(result.value, CancelledError):
            progress.end("stopped")
        elif isinstance(result.value, AnnexdError):
            progress.end("failed", str(result.value))
        else:
            progress.end("failed", "an internal error, which the daemon's log describes")
            _log.failure("repairing a cluster", result)
        _log.info(
            "repair of {cluster} at {gateway}: {summary}",
            cluster=clean(order.cluster),
            gateway=os.fsdecode(order.git_dir),
            summary=progress.summary(),
        )
