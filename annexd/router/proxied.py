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
from annexd.flow.body import Sink, Source
from annexd.node import Health, Node
from annexd.protocol.keys import Key
from annexd.router.clusters import is_cluster
from annexd.router.errands import Errands, quietly
from annexd.router.failing import patient
from annexd.router.fanout import Lane, tee
from annexd.router.limits import Limits
from annexd.router.ports import LocationLog
from annexd.router.recording import Recording
from annexd.router.uploads import Claim, Upload, Uploads
from annexd.store import Caller, Lease, Outcome, Reader, Store, Writer

T = TypeVar("T")


class ProxiedNode:
    """
    See `annexd.store.Store`.  ``members`` are the nodes of ``node`` where that
    is a neighbour's cluster: what it says of others is nothing that it can
    know.  ``uploads`` is common to all sessions of the gateway.  ``another``
    is asked for the way of this moment while the present one is down.
    """

    def __init__(
        self,
        node: Node,
        log: LocationLog,
        caller: Caller,
        clock: IReactorTime,
        limits: Limits | None = None,
        members: frozenset[bytes] = frozenset(),
        uploads: Uploads | None = None,
        another: Callable[[], Node | None] = lambda: None,
    ) -> None:
        self.node = node
        self.uploads = uploads or Uploads(clock)
        self._members = members
        self.log = Recording(log)
        self.limits = limits or Limits()
        self.errands = Errands(clock)
        self._caller = caller
        self._another = another
        self._stores = {node: node.store(caller)}

    @property
    def uuid(self) -> bytes:
        return self.node.uuid

    @property
    def _store(self) -> Store:
        if self.node.condition.health is Health.DOWN:
            self.node = self._another() or self.node
            if self.node not in self._stores:
                self._stores[self.node] = self.node.store(self._caller)
        return self._stores[self.node]

    async def present(self, key: Key) -> bool:
        undisturbed = self.uploads.since_now(key)
        here = await self._is_there(key)
        await self._correct(key, here, undisturbed)
        return here

    async def _is_there(self, key: Key) -> bool:
        return await self.asked(self._store.present(key), self.limits.for_answer(self.node))

    def present_now(self, key: Key) -> bool | None:
        return self._store.present_now(key)

    async def lock(self, key: Key) -> Lease:
        lease = await self.asked(self._store.lock(key), self.limits.for_answer(self.node), _release)
        return _ProxiedLease(self, lease)

    async def remove(self, key: Key, before: int | None = None) -> Outcome:
        claim = self.uploads.claim(self.uuid, key)
        try:
            outcome = await self.asked(
                self._store.remove(key, before),
                self.limits.for_removal(self.node),
                lambda late: self._removed(key, late, claim),
            )
            return await self._removed(key, outcome, claim)
        finally:
            claim.end()

    async def timestamp(self) -> int:
        return await self.asked(self._store.timestamp(), self.limits.for_answer(self.node))

    async def read(self, key: Key, offset: int, file: bytes) -> Reader:
        undisturbed = self.uploads.since_now(key)
        try:
            reader = await self.asked(
                self._store.read(key, offset, file),
                self.limits.for_answer(self.node),
                lambda late: late.close(False),
            )
        except Absent:
            await self._correct(key, False, undisturbed)
            raise
        try:
            await self._correct(key, True, undisturbed)
        except BaseException:
            await reader.close(False)
            raise
        return _ProxiedReader(self, reader)

    def read_now(self, key: Key, offset: int, file: bytes) -> bytes | None:
        return None

    async def write(self, key: Key, file: bytes) -> Union[Writer, Outcome]:
        upload = self.uploads.upload(key)
        writer = None
        try:
            answer = await self.asked(
                self._store.write(key, file), self.limits.for_answer(self.node), _close_writer
            )
            if isinstance(answer, Outcome):
                return await self.taken(key, answer, upload)
            writer = _ProxiedWriter(self, key, answer, upload)
            return writer
        finally:
            if writer is None:
                upload.end()

    async def changes(self) -> tuple[bytes, ...]:
        return await self._store.changes()

    async def close(self) -> None:
        await self.errands.close(self.limits.parting)
        for store in self._stores.values():
            await self.let_go(store.close())

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

    async def taken(self, key: Key, outcome: Outcome, upload: Upload) -> Outcome:
        """Recorded, unless somebody has removed it meanwhile: then it is looked whether it is there still."""
        while outcome.ok and upload.disturbed:
            upload.disturbed = False
            if not await self._is_there(key):
                return Outcome(False, reason="somebody else has removed it meanwhile")
        upload.recording()
        return await self._record(key, outcome, True)

    async def _removed(self, key: Key, outcome: Outcome, claim: Claim) -> Outcome:
        """Recorded, unless somebody is putting it there: then it may be back already."""
        claim.disturb()
        if outcome.ok and claim.uploading:
            try:
                if await self._is_back(key, claim):
                    return outcome
            except (Refused, Unavailable):
                pass  # to count on content that is not there would be worse
        return await self._record(key, outcome, False)

    async def _is_back(self, key: Key, claim: Claim) -> bool:
        while True:
            recorded = claim.recorded
            here = await self._is_there(key)
            if here or recorded == claim.recorded:
                return here

    async def _record(self, key: Key, outcome: Outcome, present: bool) -> Outcome:
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

    async def _correct(self, key: Key, here: bool, undisturbed: Callable[[], bool]) -> None:
        """What comes or goes right now may not be any more as it was a moment ago."""
        if is_cluster(self.uuid) or here == (self.uuid in await self.log.holders(key)):
            return
        if undisturbed():
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
    def __init__(self, proxied: ProxiedNode, key: Key, writer: Writer, upload: Upload) -> None:
        self._proxied = proxied
        self._key = key
        self._upload = upload
        self._writer = writer
        self._total = self.offset = writer.offset
        limits, errands = proxied.limits, proxied.errands
        self._lane = Lane(errands, limits, writer.sink, 0, limits.for_progress(proxied.node))
        self._tee = tee(errands.clock, [self._lane], limits, proxied.uploads.backlog)
        self.sink: Sink = self._tee

    def announce(self, length: int) -> None:
        self._total = self.offset + length
        self._writer.announce(length)

    async def commit(self, valid: bool) -> Outcome:
        await self._tee.settle()
        if self._lane.error is not None:
            return Outcome(False, reason=str(self._lane.error))
        return await self._finish(self._writer.commit(valid))

    async def recheck(self) -> Outcome:
        return await self._finish(self._writer.recheck())

    async def close(self) -> None:
        try:
            self._lane.end(Unavailable("the upload was given up"))
            await self._proxied.let_go(self._writer.close())
        finally:
            self._upload.end()

    async def _finish(self, work: Coroutine[Any, Any, Outcome]) -> Outcome:
        try:
            outcome = await self._proxied.asked(
                work, self._proxied.limits.for_commit(self._total), call_off=True
            )
            return await self._proxied.taken(self._key, outcome, self._upload)
        except Unavailable as error:
            return Outcome(False, reason=str(error))


async def _release(lease: Lease) -> None:
    await lease.release()


async def _close_writer(answer: Union[Writer, Outcome]) -> None:
    if not isinstance(answer, Outcome):
        await answer.close()
