"""A repository elsewhere that speaks git-annex's protocol, as a `annexd.node.Node`."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Callable, TypeVar, Union

from annexd.errors import Refused, Unavailable
from annexd.flow.body import Sink, Source
from annexd.node import Allowance, Condition
from annexd.protocol.keys import Key
from annexd.remotes.link import Link
from annexd.remotes.pool import Connection
from annexd.sessions.ask import Peer
from annexd.sessions.deadlines import Patience
from annexd.store import Caller, Lease, Outcome, Reader, Store, Writer

T = TypeVar("T")


class PeerNode:
    """
    ``boot`` is the machine's clock that never goes back, in seconds: what
    peers whose protocol is too old to have a time are held to.  ``allowance``
    is for those that need longer than others.
    """

    is_local = False

    def __init__(
        self,
        link: Link,
        cost: float,
        boot: Callable[[], float],
        allowance: Allowance | None = None,
    ) -> None:
        self.allowance = allowance
        self._link = link
        self._cost = cost
        self._boot = boot

    @property
    def uuid(self) -> bytes:
        return self._link.uuid

    @property
    def name(self) -> str:
        return self._link.name

    @property
    def cost(self) -> float:
        return self._cost

    @property
    def condition(self) -> Condition:
        return self._link.condition

    def store(self, caller: Caller) -> Store:
        return _PeerStore(self._link, caller, self._boot)

    def use(self, patience: Patience, most: int, allowance: Allowance | None) -> None:
        """From now on."""
        self.allowance = allowance
        self._link.use(patience, most)

    def close(self) -> None:
        """End all connections, whatever they are in use for."""
        self._link.close()


class _PeerStore:
    """Each request has a connection of the link's to itself until all of it is given back."""

    def __init__(self, link: Link, caller: Caller, boot: Callable[[], float]) -> None:
        self._link = link
        self._bypass = caller.bypass
        self._boot = boot
        self._time_is_ours: bool | None = None

    @property
    def uuid(self) -> bytes:
        return self._link.uuid

    def present_now(self, key: Key) -> bool | None:
        return None

    async def present(self, key: Key) -> bool:
        return await self._question(lambda peer: peer.present(key))

    async def lock(self, key: Key) -> Lease:
        connection, lease = await self._begin(lambda c: c.peer.lock(key))
        self._link.lasts(connection)
        return _Lease(self._link, connection, lease)

    async def read(self, key: Key, offset: int, file: bytes) -> Reader:
        connection, reader = await self._begin(lambda c: c.peer.read(key, offset, file))
        return _Reader(_Transfer(self._link, connection), reader)

    def read_now(self, key: Key, offset: int, file: bytes) -> bytes | None:
        return None

    async def write(self, key: Key, file: bytes) -> Union[Writer, Outcome]:
        connection, writer = await self._begin(lambda c: c.peer.write(key, file))
        if isinstance(writer, Outcome):
            self._link.give_back(connection)
            return writer
        return _Writer(_Transfer(self._link, connection), writer)

    async def changes(self) -> tuple[bytes, ...]:
        async def ask(connection: Connection) -> tuple[bytes, ...]:
            self._link.answered(connection)  # when it will, says nothing about how the peer fares
            self._link.lasts(connection)
            return await connection.peer.changes()

        return await self._whole(ask, again=False)

    async def close(self) -> None:
        """Connections belong to the link."""

    # --- removal, and the time -----------------------------------------

    async def timestamp(self) -> int:
        return await self._whole(self._timestamp, again=True)

    async def _timestamp(self, connection: Connection) -> int:
        self._time_is_ours = not connection.peer.tells_time
        return int(self._boot()) if self._time_is_ours else await connection.peer.timestamp()

    async def remove(self, key: Key, before: int | None = None) -> Outcome:
        async def ask(connection: Connection) -> Outcome:
            peer = connection.peer
            self._link.changed(connection)
            if before is None:
                return await peer.remove(key)
            if self._time_is_ours is peer.tells_time:
                raise Refused("the peer has another clock than when it was asked for the time")
            if peer.tells_time:
                return await peer.remove(key, before)
            return await self._remove_by_our_time(connection, key, before)

        # Not twice: what somebody has put there meanwhile would go as well.
        return await self._whole(ask, again=False)

    async def _remove_by_our_time(self, connection: Connection, key: Key, before: int) -> Outcome:
        left = before - self._boot()
        if left <= 0:
            if await connection.peer.present(key):
                return Outcome(False, reason="the time by which the content was to be removed has passed")
            return Outcome(True)
        answer = self._link.patience.answer
        connection.hurried = left < answer
        return await connection.peer.remove(key, seconds=min(left, answer))

    # --- requests ------------------------------------------------------

    async def _question(self, ask: Callable[[Peer], Awaitable[T]]) -> T:
        """What can be asked again, and is answered as fast as the peer is."""
        return await self._whole(lambda connection: ask(connection.peer), again=True, measured=True)

    async def _whole(
        self, ask: Callable[[Connection], Awaitable[T]], again: bool, measured: bool = False
    ) -> T:
        connection, result = await self._begin(ask, again, measured)
        self._link.give_back(connection)
        return result

    async def _begin(
        self, ask: Callable[[Connection], Awaitable[T]], again: bool = True, measured: bool = False
    ) -> tuple[Connection, T]:
        """
        The answer, and the connection, which is still in use.  One that turns
        out to have died while it was idle is replaced, if asking ``again`` does no harm.
        """
        connection = await self._link.take(self._bypass)
        try:
            return connection, await self._answer(connection, ask, measured)
        except Unavailable:
            stale = connection.reused and not connection.wire.stalled and not self._link.vitals.down
            if not (again and stale):
                raise
        connection = await self._link.take(self._bypass, fresh=True)
        return connection, await self._answer(connection, ask, measured)

    async def _answer(
        self, connection: Connection, ask: Callable[[Connection], Awaitable[T]], measured: bool
    ) -> T:
        began = self._link.clock.seconds()
        try:
            result = await ask(connection)
        except Refused:
            self._link.answered(connection)
            self._link.give_back(connection)
            raise
        except Unavailable as error:
            self._link.give_back(connection)
            raise await _explained(error, self._link, connection) from None
        except BaseException:
            self._link.give_back(connection)
            raise
        self._link.answered(connection, self._link.clock.seconds() - began if measured else None)
        return result


async def _explained(error: Unavailable, link: Link, connection: Connection) -> Unavailable:
    if link.vitals.down:
        return Unavailable(link.condition.reason)
    said = "" if connection.wire.stalled else await connection.explain()
    return Unavailable(f"{link.name}: {said or error}")


class _Lease:
    def __init__(self, link: Link, connection: Connection, lease: Lease) -> None:
        self._link = link
        self._connection = connection
        self._lease = lease

    async def release(self) -> None:
        try:
            await self._lease.release()
        finally:
            self._link.give_back(self._connection)

    async def watch(self) -> None:
        await self._lease.watch()


class _Transfer:
    """Content under way on a connection."""

    def __init__(self, link: Link, connection: Connection) -> None:
        self.link = link
        self.connection = connection
        self._began = link.clock.seconds()
        self._moved = self._over = False
        link.transfers += 1

    def moved(self, count: int) -> None:
        """All of ``count`` bytes are there, and the peer has said so."""
        if not self._moved:
            self._moved = True
            self.link.answered(self.connection)
            self.link.vitals.moved(count, self.link.clock.seconds() - self._began)

    async def explained(self, error: Unavailable) -> Unavailable:
        return await _explained(error, self.link, self.connection)

    def end(self) -> None:
        if not self._over:
            self._over = True
            self.link.transfers -= 1
            self.link.give_back(self.connection)


class _Reader:
    def __init__(self, transfer: _Transfer, reader: Reader) -> None:
        self._transfer = transfer
        self._reader = reader
        self._length = reader.source.remaining
        self.source: Source = reader.source

    async def valid(self) -> bool:
        valid = await self._reader.valid()
        self._transfer.moved(self._length)
        return valid

    async def close(self, taken: bool) -> None:
        try:
            await self._reader.close(taken)
        finally:
            self._transfer.end()


class _Writer:
    def __init__(self, transfer: _Transfer, writer: Writer) -> None:
        self._transfer = transfer
        self._writer = writer
        self._length = 0
        self.offset = writer.offset
        self.sink: Sink = writer.sink

    def announce(self, length: int) -> None:
        self._length = length
        self._writer.announce(length)

    async def commit(self, valid: bool) -> Outcome:
        self._transfer.link.changed(self._transfer.connection)
        try:
            outcome = await self._writer.commit(valid)
        except Unavailable as error:
            raise await self._transfer.explained(error) from None
        self._transfer.moved(self._length)
        return outcome

    async def recheck(self) -> Outcome:
        return await self._writer.recheck()

    async def close(self) -> None:
        try:
            await self._writer.close()
        finally:
            self._transfer.end()
