"""
One node, for a client that cannot reach it: everything is passed on, and what
becomes known of where content is goes into the gateway's own location log.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar, Union

from twisted.internet.interfaces import IReactorTime

from annexd.errors import Absent, Refused, Unavailable
from annexd.flow.body import FileSink, Sink, Source
from annexd.node import Node
from annexd.protocol.keys import Key
from annexd.router.clusters import is_cluster
from annexd.router.errands import Errands, quietly
from annexd.router.failing import FailingSink, patient
from annexd.router.limits import Limits
from annexd.router.ports import LocationLog
from annexd.router.recording import Recording
from annexd.store import Caller, Lease, Outcome, Reader, Writer

T = TypeVar("T")


class ProxiedNode:
    """
    See `annexd.store.Store`.  ``members`` are the nodes of ``node`` where that
    is a neighbour's cluster: what it says of others is nothing that it can know.
    """

    def __init__(
        self,
        node: Node,
        log: LocationLog,
        caller: Caller,
        clock: IReactorTime,
        limits: Limits | None = None,
        members: frozenset[bytes] = frozenset(),
    ) -> None:
        self.node = node
        self._members = members
        self.log = Recording(log)
        self.limits = limits or Limits()
        self.errands = Errands(clock)
        self._store = node.store(caller)

    @property
    def uuid(self) -> bytes:
        return self.node.uuid

    async def present(self, key: Key) -> bool:
        here = await self.asked(self._store.present(key), self.limits.for_answer(self.node))
        await self._correct(key, here)
        return here

    def present_now(self, key: Key) -> bool | None:
        return self._store.present_now(key)

    async def lock(self, key: Key) -> Lease:
        lease = await self.asked(self._store.lock(key), self.limits.for_answer(self.node), _release)
        return _ProxiedLease(self, lease)

    async def remove(self, key: Key, before: int | None = None) -> Outcome:
        outcome = await self.asked(
            self._store.remove(key, before),
            self.limits.for_removal(self.node),
            lambda late: self.record(key, late, False),
        )
        return await self.record(key, outcome, False)

    async def timestamp(self) -> int:
        return await self.asked(self._store.timestamp(), self.limits.for_answer(self.node))

    async def read(self, key: Key, offset: int, file: bytes) -> Reader:
        try:
            reader = await self.asked(
                self._store.read(key, offset, file),
                self.limits.for_answer(self.node),
                lambda late: late.close(False),
            )
        except Absent:
            await self._correct(key, False)
            raise
        try:
            await self._correct(key, True)
        except BaseException:
            await reader.close(False)
            raise
        return _ProxiedReader(self, reader)

    def read_now(self, key: Key, offset: int, file: bytes) -> bytes | None:
        return None

    async def write(self, key: Key, file: bytes) -> Union[Writer, Outcome]:
        answer = await self.asked(
            self._store.write(key, file), self.limits.for_answer(self.node), _close_writer
        )
        if isinstance(answer, Outcome):
            return await self.record(key, answer, True)
        return _ProxiedWriter(self, key, answer)

    async def changes(self) -> tuple[bytes, ...]:
        return await self._store.changes()

    async def close(self) -> None:
        await self.errands.close(self.limits.parting)
        await self.let_go(self._store.close())

    # --- for what is handed out ----------------------------------------------

    async def asked(
        self,
        work: Coroutine[Any, Any, T],
        seconds: float,
        give_back: Callable[[T], Coroutine[Any, Any, object]] | None = None,
        call_off: bool = False,
    ) -> T:
        silence = f"{self.node.name} has not answered for {seconds:g} seconds"
        return await self.errands.within(seconds, work, silence, give_back, call_off)

    async def let_go(self, work: Coroutine[Any, Any, object]) -> None:
        """Without waiting long for it."""
        await quietly(self.asked(work, self.limits.parting, call_off=True))

    async def record(self, key: Key, outcome: Outcome, present: bool) -> Outcome:
        """
        What is at a cluster is at those of its nodes that it names; the
        outcome, as far as it can be believed.
        """
        outcome = replace(outcome, also=tuple(uuid for uuid in outcome.also if uuid in self._members))
        if is_cluster(self.uuid):
            await self.log.record(key, dict.fromkeys(outcome.also, present))
        elif outcome.ok:
            await self.log.record(key, {self.uuid: present})
        return outcome

    async def _correct(self, key: Key, here: bool) -> None:
        if not is_cluster(self.uuid) and here != (self.uuid in await self.log.holders(key)):
            await self.log.record(key, {self.uuid: here})


class _ProxiedLease:
    def __init__(self, proxied: ProxiedNode, lease: Lease) -> None:
        self._proxied = proxied
        self._lease = lease

    async def release(self) -> None:
        await self._proxied.let_go(self._lease.release())

    async def watch(self) -> None:
        await self._lease.watch()


class _ProxiedReader:
    def __init__(self, proxied: ProxiedNode, reader: Reader) -> None:
        self._proxied = proxied
        self._reader = reader
        self._size = reader.source.remaining
        self.source: Source = patient(
            reader.source, proxied.errands, proxied.limits.for_progress(proxied.node)
        )

    async def valid(self) -> bool:
        try:
            return await self._proxied.asked(
                self._reader.valid(), self._proxied.limits.for_commit(self._size), call_off=True
            )
        except (Refused, Unavailable):
            return False

    async def close(self, taken: bool) -> None:
        await self._proxied.let_go(self._reader.close(taken))


class _ProxiedWriter:
    def __init__(self, proxied: ProxiedNode, key: Key, writer: Writer) -> None:
        self._proxied = proxied
        self._key = key
        self._writer = writer
        self._total = self.offset = writer.offset
        self._failing: FailingSink | None = None
        self.sink: Sink = writer.sink
        if not isinstance(writer.sink, FileSink):
            seconds = proxied.limits.for_progress(proxied.node)
            self.sink = self._failing = FailingSink(writer.sink, proxied.errands, seconds)

    def announce(self, length: int) -> None:
        self._total = self.offset + length
        self._writer.announce(length)

    async def commit(self, valid: bool) -> Outcome:
        if self._failing is not None and self._failing.error is not None:
            return Outcome(False, reason=str(self._failing.error))
        return await self._finish(self._writer.commit(valid))

    async def recheck(self) -> Outcome:
        return await self._finish(self._writer.recheck())

    async def close(self) -> None:
        await self._proxied.let_go(self._writer.close())

    async def _finish(self, work: Coroutine[Any, Any, Outcome]) -> Outcome:
        try:
            outcome = await self._proxied.asked(
                work, self._proxied.limits.for_commit(self._total), call_off=True
            )
        except Unavailable as error:
            return Outcome(False, reason=str(error))
        return await self._proxied.record(self._key, outcome, True)


async def _release(lease: Lease) -> None:
    await lease.release()


async def _close_writer(answer: Union[Writer, Outcome]) -> None:
    if not isinstance(answer, Outcome):
        await answer.close()
