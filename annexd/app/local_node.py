"""A node that is another repository on this machine's disks: opened in the daemon, without any process."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Union

from twisted.internet.defer import DeferredLock

from annexd.errors import Refused, Unavailable
from annexd.node import Condition, Health
from annexd.protocol.keys import Key
from annexd.repo.local import Repository
from annexd.router.directory import Directory, Visit
from annexd.router.places import Map, Place, Served
from annexd.store import Caller, Lease, Outcome, Reader, Store, Writer


class LocalNode:
    """
    The repository ``uuid`` at ``path``.  It need not be among those that are
    served: who may use it is the gateway's decision.  ``now`` is the time of day.
    """

    is_local = True
    allowance = None

    def __init__(
        self,
        uuid: bytes,
        name: str,
        cost: float,
        path: bytes,
        directory: Directory[Repository],
        now: Callable[[], float],
    ) -> None:
        self.uuid = uuid
        self.name = name
        self.cost = cost
        self.path = path
        self._directory = directory
        self._now = now
        self.condition = Condition(since=now())

    def store(self, caller: Caller) -> Store:
        return _LazyStore(self, caller)

    def close(self) -> None:
        """Sessions close what they have opened."""

    async def visit(self) -> Visit[Repository]:
        """Raises `Unavailable` when the repository is not there, or is another one now."""
        try:
            visit = await self._directory.visit(await self._place())
        except Refused as error:
            raise self._down(str(error)) from error
        found = visit.repository.uuid
        if found != self.uuid:
            visit.leave()
            raise self._down(f"{os.fsdecode(self.path)} is repository {os.fsdecode(found)}")
        if self.condition.health is not Health.UP:
            self.condition = Condition(since=self._now())
        return visit

    async def _place(self) -> Place:
        """As it is served, if it is: everybody shares one open instance then."""
        try:
            return await self._directory.locate(self.path)
        except Refused:
            return await self._directory.run(Map([Served(self.path)]).locate, self.path, None)

    def _down(self, reason: str) -> Unavailable:
        if self.condition.health is not Health.DOWN:
            self.condition = Condition(Health.DOWN, self._now(), reason)
        return Unavailable(f"{self.name}: {reason}")


class _LazyStore:
    """One session's view; the repository is opened when it is used first, and stays open until `close`."""

    def __init__(self, node: LocalNode, caller: Caller) -> None:
        self._node = node
        self._caller = caller
        self._turn = DeferredLock()
        self._visit: Visit[Repository] | None = None
        self._store: Store | None = None
        self._closed = False

    @property
    def uuid(self) -> bytes:
        return self._node.uuid

    async def _opened(self) -> Store:
        if self._store is None:
            async with self._turn:
                if self._store is None:
                    await self._open()
        assert self._store is not None
        return self._store

    async def _open(self) -> None:
        visit = await self._node.visit()
        if self._closed:
            visit.leave()
            raise Unavailable("the session is over")
        self._visit = visit
        self._store = visit.repository.store(self._caller)

    async def present(self, key: Key) -> bool:
        return await (await self._opened()).present(key)

    def present_now(self, key: Key) -> bool | None:
        return None if self._store is None else self._store.present_now(key)

    async def lock(self, key: Key) -> Lease:
        return await (await self._opened()).lock(key)

    async def remove(self, key: Key, before: int | None = None) -> Outcome:
        return await (await self._opened()).remove(key, before)

    async def timestamp(self) -> int:
        return await (await self._opened()).timestamp()

    async def read(self, key: Key, offset: int, file: bytes) -> Reader:
        return await (await self._opened()).read(key, offset, file)

    def read_now(self, key: Key, offset: int, file: bytes) -> bytes | None:
        return None if self._store is None else self._store.read_now(key, offset, file)

    async def write(self, key: Key, file: bytes) -> Union[Writer, Outcome]:
        return await (await self._opened()).write(key, file)

    async def changes(self) -> tuple[bytes, ...]:
        return await (await self._opened()).changes()

    async def close(self) -> None:
        """The node's location log is committed, as git-annex-shell does when it ends."""
        self._closed = True
        visit, self._visit, self._store = self._visit, None, None
        if visit is not None:
            try:
                await visit.repository.settle()
            finally:
                visit.leave()
