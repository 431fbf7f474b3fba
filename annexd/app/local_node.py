"""A node that is another repository on this machine's disks: opened in the daemon, without any process."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, Union

from twisted.internet.defer import DeferredLock

from annexd.app.on_disk import PatientLease, PatientReader, PatientWriter
from annexd.errors import Refused, Unavailable
from annexd.flow.disk import Hung
from annexd.node import Condition, Health
from annexd.protocol.keys import Key
from annexd.repo.local import Repository
from annexd.router.directory import Directory, Disk, Visit
from annexd.router.places import Place
from annexd.store import Caller, Lease, Outcome, Reader, Store, Writer

T = TypeVar("T")


class LocalNode:
    """
    The repository ``uuid`` at ``path``.  It need not be among those that are
    served: who may use it is the gateway's decision.  ``now`` is the time of day.
    """

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
        self._condition = Condition(since=now())
        self.disk: Disk = directory.disk_at(path)
        """The one that it was on when somebody looked last."""

    @property
    def is_local(self) -> bool:
        """What a network, or a program, is asked for is no better than a repository elsewhere."""
        return self.disk.plain

    @property
    def condition(self) -> Condition:
        if self.disk.down:
            return Condition(Health.DOWN, self.disk.since, self.disk.down)
        return self._condition

    def store(self, caller: Caller) -> Store:
        return _LazyStore(self, caller)

    def close(self) -> None:
        """Sessions close what they have opened."""

    async def visit(self) -> Visit[Repository]:
        """
        Raises `Unavailable` when the repository is not there, or is another
        one now, and when its disk does not answer.
        """
        try:
            place = await self._place()
            self.disk = self._directory.disk(place)
            visit = await self._directory.visit(place)
        except Refused as error:
            raise self._down(str(error)) from error
        except Hung as error:
            raise self.hung(error) from None
        found = visit.repository.uuid
        if found != self.uuid:
            visit.leave()
            raise self._down(f"{os.fsdecode(self.path)} is repository {os.fsdecode(found)}")
        if self._condition.health is not Health.UP:
            self._condition = Condition(since=self._now())
        return visit

    async def _place(self) -> Place:
        """As it is served, if it is: everybody shares one open instance then."""
        try:
            return await self._directory.locate(self.path)
        except Refused:
            return await self._directory.locate_alone(self.path)

    def hung(self, error: Hung) -> Unavailable:
        return Unavailable(f"{self.name}: {error}")

    def _down(self, reason: str) -> Unavailable:
        if self._condition.health is not Health.DOWN:
            self._condition = Condition(Health.DOWN, self._now(), reason)
        return Unavailable(f"{self.name}: {reason}")


class _LazyStore:
    """One session's view; the repository is opened when it is used first, and stays open until `close`."""

    def __init__(self, node: LocalNode, caller: Caller) -> None:
        self._node = node
        self._caller = caller
        self._turn = DeferredLock()
        self._visit: Visit[Repository] | None = None
        self._store: Store | None = None
        self._disk = node.disk
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
        self._disk = self._node.disk
        self._visit = visit
        self._store = visit.repository.store(self._caller)

    async def _patiently(
        self,
        work: Coroutine[Any, Any, T],
        give_back: Callable[[T], Coroutine[Any, Any, object]] | None = None,
        anyway: bool = False,
    ) -> T:
        """See `annexd.app.on_disk.Patience`."""
        try:
            return await self._disk.patiently(work, give_back, anyway)
        except Hung as error:
            raise self._node.hung(error) from None

    async def present(self, key: Key) -> bool:
        store = await self._opened()
        return await self._patiently(store.present(key))

    def present_now(self, key: Key) -> bool | None:
        return None if self._store is None or self._disk.down else self._store.present_now(key)

    async def lock(self, key: Key) -> Lease:
        store = await self._opened()
        return PatientLease(await self._patiently(store.lock(key), _release), self._patiently)

    async def remove(self, key: Key, before: int | None = None) -> Outcome:
        store = await self._opened()
        return await self._patiently(store.remove(key, before))

    async def timestamp(self) -> int:
        return await (await self._opened()).timestamp()

    async def read(self, key: Key, offset: int, file: bytes) -> Reader:
        store = await self._opened()
        return PatientReader(await self._patiently(store.read(key, offset, file), _close), self._patiently)

    def read_now(self, key: Key, offset: int, file: bytes) -> bytes | None:
        if self._store is None or self._disk.down:
            return None
        return self._store.read_now(key, offset, file)

    async def write(self, key: Key, file: bytes) -> Union[Writer, Outcome]:
        store = await self._opened()
        answer = await self._patiently(store.write(key, file), _close_writer)
        return answer if isinstance(answer, Outcome) else PatientWriter(answer, self._patiently)

    async def changes(self) -> tuple[bytes, ...]:
        return await (await self._opened()).changes()

    async def close(self) -> None:
        """The node's location log is committed, as git-annex-shell does when it ends."""
        self._closed = True
        visit, self._visit, self._store = self._visit, None, None
        if visit is not None:
            try:
                await self._patiently(visit.repository.settle())
            finally:
                visit.leave()


async def _release(lease: Lease) -> None:
    await lease.release()


async def _close(reader: Reader) -> None:
    await reader.close(False)


async def _close_writer(answer: Union[Writer, Outcome]) -> None:
    if not isinstance(answer, Outcome):
        await answer.close()
