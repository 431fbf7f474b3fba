"""Nodes of a cluster in memory, which fail as they are told to; and what else a cluster is given."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, Union

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from annexd.errors import PeerLost
from annexd.flow.body import Buffer
from annexd.node import Allowance, Condition
from annexd.protocol.keys import Key
from annexd.router.ports import Way, Wish
from annexd.store import Caller, Lease, Outcome, Reader, Store, Writer
from tests.support.memory_store import MemoryStore, Shelf

T = TypeVar("T")


@dataclass
class Faults:
    """
    ``frozen`` names methods that never answer (``sink``, ``source``,
    ``commit``, ``valid``, ``close`` included), ``refusing`` what others raise.
    ``held`` are answers that wait for somebody to let them go: after the deed,
    for ``looked``, ``removed`` and ``committed``, where the other names are those of methods.
    ``takes`` and ``gives`` are bytes after which a sink or a source is frozen,
    or raises what ``refusing`` has for it.
    """

    frozen: set[str] = field(default_factory=set)
    refusing: dict[str, Exception] = field(default_factory=dict)
    held: dict[str, Deferred[None]] = field(default_factory=dict)
    takes: int | None = None
    gives: int | None = None
    slow: Clock | None = None
    """Whose next moment a sink waits for with every piece."""

    async def meet(self, what: str) -> None:
        if what in self.frozen:
            await Deferred[None]()
        await self.after(what)
        if what in self.refusing:
            raise self.refusing[what]

    async def after(self, what: str) -> None:
        if what in self.held:
            await self.held[what]


class FakeNode:
    """A `Node`; its stores share a shelf and faults."""

    def __init__(self, name: str, cost: float = 100.0, is_local: bool = True) -> None:
        self.uuid = name.encode()
        self.name = name
        self.cost = cost
        self.is_local = is_local
        self.allowance: Allowance | None = None
        self.condition = Condition()
        self.shelf = Shelf(uuid=self.uuid)
        self.faults = Faults()
        self.asked: list[str] = []
        self.callers: list[Caller] = []
        self.sent = 0
        """Bytes that were sent to it."""
        self.answers: dict[str, Outcome] = {}
        """Instead of what ``remove``, ``write`` and ``commit`` really come to."""
        self.befores: list[int | None] = []
        """The times by which it was to remove something."""
        self.stores: list[_FaultyStore] = []

    def store(self, caller: Caller) -> Store:
        self.callers.append(caller)
        self.stores.append(_FaultyStore(self))
        return self.stores[-1]

    def way(self, *, bypass: tuple[bytes, ...] = (), reaches: Sequence[bytes] | None = None) -> Way:
        return Way(self, frozenset((self.uuid,) if reaches is None else reaches), self.cost, bypass)

    @property
    def closed(self) -> bool:
        return not self.shelf.open and all(store.closed for store in self.stores)


class _FaultyStore(MemoryStore):
    def __init__(self, node: FakeNode) -> None:
        super().__init__(node.shelf)
        self._node = node

    async def _meet(self, what: str) -> None:
        self._node.asked.append(what)
        await self._node.faults.meet(what)

    def present_now(self, key: Key) -> bool | None:
        if not self._node.is_local or "present" in self._node.faults.refusing:
            return None
        return super().present_now(key)

    def read_now(self, key: Key, offset: int, file: bytes) -> bytes | None:
        if not self._node.is_local or "read" in self._node.faults.refusing:
            return None
        return super().read_now(key, offset, file)

    async def present(self, key: Key) -> bool:
        await self._meet("present")
        here = await super().present(key)
        await self._node.faults.after("looked")
        return here

    async def lock(self, key: Key) -> Lease:
        await self._meet("lock")
        return await super().lock(key)

    async def remove(self, key: Key, before: int | None = None) -> Outcome:
        await self._meet("remove")
        self._node.befores.append(before)
        outcome = await super().remove(key, before)
        await self._node.faults.after("removed")
        return self._node.answers.get("remove", outcome)

    async def timestamp(self) -> int:
        await self._meet("timestamp")
        return await super().timestamp()

    async def read(self, key: Key, offset: int, file: bytes) -> Reader:
        await self._meet("read")
        return _FaultyReader(self._node, await super().read(key, offset, file))

    async def write(self, key: Key, file: bytes) -> Union[Writer, Outcome]:
        await self._meet("write")
        answer = await super().write(key, file)
        if isinstance(answer, Outcome):
            return self._node.answers.get("write", answer)
        return _FaultyWriter(self._node, answer)

    async def close(self) -> None:
        await super().close()
        await self._node.faults.meet("close store")


class _FaultyReader:
    def __init__(self, node: FakeNode, reader: Reader) -> None:
        self._node = node
        self._reader = reader
        self.source = _FaultySource(node, reader)

    async def valid(self) -> bool:
        await self._node.faults.meet("valid")
        return await self._reader.valid()

    async def close(self, taken: bool) -> None:
        await self._reader.close(taken)
        await self._node.faults.meet("close")


class _FaultySource:
    def __init__(self, node: FakeNode, reader: Reader) -> None:
        self._faults = node.faults
        self._source = reader.source
        self._given = 0

    @property
    def remaining(self) -> int:
        return self._source.remaining

    async def read(self, limit: int) -> Buffer:
        if self._faults.gives is not None:
            limit = min(limit, self._faults.gives - self._given)
            if limit <= 0:
                await self._faults.meet("source")
                raise PeerLost("the connection was closed")
        data = await self._source.read(limit)
        self._given += len(data)
        return data


class _FaultyWriter:
    def __init__(self, node: FakeNode, writer: Writer) -> None:
        self._node = node
        self._writer = writer
        self.offset = writer.offset
        self.sink = _FaultySink(node, writer)

    def announce(self, length: int) -> None:
        self._writer.announce(length)

    async def commit(self, valid: bool) -> Outcome:
        await self._node.faults.meet("commit")
        outcome = await self._writer.commit(valid)
        await self._node.faults.after("committed")
        return self._node.answers.get("commit", outcome)

    async def recheck(self) -> Outcome:
        await self._node.faults.meet("recheck")
        return await self._writer.recheck()

    async def close(self) -> None:
        await self._writer.close()
        await self._node.faults.meet("close")


class _FaultySink:
    def __init__(self, node: FakeNode, writer: Writer) -> None:
        self._node = node
        self._sink = writer.sink
        self._taken = 0

    async def write(self, data: Buffer) -> None:
        faults = self._node.faults
        if faults.slow is not None:
            moment: Deferred[None] = Deferred()
            faults.slow.callLater(1, moment.callback, None)
            await moment
        room = len(data) if faults.takes is None else max(0, faults.takes - self._taken)
        piece = bytes(data)[:room]
        await self._sink.write(piece)
        self._taken += len(piece)
        self._node.sent += len(piece)
        if room < len(data):
            await faults.meet("sink")
            raise PeerLost("the connection was closed")


class MemoryLog:
    """A `LocationLog`.  ``news`` is everything that was recorded."""

    def __init__(self) -> None:
        self.known: dict[Key, set[bytes]] = {}
        self.news: list[tuple[bytes, bool]] = []
        self.error: Exception | None = None

    async def holders(self, key: Key) -> frozenset[bytes]:
        return frozenset(self.known.get(key, ()))

    async def record(self, key: Key, present: Mapping[bytes, bool]) -> None:
        if self.error is not None:
            raise self.error
        holders = self.known.setdefault(key, set())
        for uuid, here in present.items():
            self.news.append((uuid, here))
            (holders.add if here else holders.discard)(uuid)


class FixedWishes:
    """`Wishes` that are the same for every key; what is not named is wanted."""

    def __init__(self, wishes: Mapping[bytes, Wish] | None = None) -> None:
        self.wishes = dict(wishes or {})
        self.files: list[bytes] = []

    async def of(
        self, key: Key, file: bytes, uuids: Sequence[bytes], holders: frozenset[bytes]
    ) -> Mapping[bytes, Wish]:
        self.files.append(file)
        return {uuid: self.wishes.get(uuid, Wish.WANTED) for uuid in uuids}


class Running:
    """A coroutine that is under way while a test moves the clock."""

    def __init__(self, clock: Clock, work: Coroutine[Any, Any, Any]) -> None:
        self._clock = clock
        self.result: Any = None
        self.over = False
        self.deferred = Deferred.fromCoroutine(work)
        self.deferred.addBoth(self._end)
        self.turn()

    def _end(self, result: Any) -> None:
        self.result = result
        self.over = True

    def turn(self, seconds: float = 0) -> Running:
        self._clock.advance(seconds)
        for _ in range(200):
            if not any(call.getTime() <= self._clock.seconds() for call in self._clock.getDelayedCalls()):
                break
            self._clock.advance(0)
        return self

    def cancel(self) -> Running:
        self.deferred.cancel()
        return self.turn()

    def value(self) -> Any:
        """What it returned; what it raised is raised."""
        assert self.over, "it is still under way"
        if isinstance(self.result, Failure):
            self.result.raiseException()
        return self.result
