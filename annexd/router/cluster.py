"""
A cluster: many nodes as one `annexd.store.Store`, for one session.

The parts: `opening` and `writing` for uploads, `fanout` for their bytes,
`search` and `reading` for downloads, `removing`; `errands` keeps everybody's
deadlines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Union

from twisted.internet.interfaces import IReactorTime

from annexd.errors import Refused
from annexd.flow.pour import Moved
from annexd.protocol.keys import Key
from annexd.router import repairing
from annexd.router.errands import Errands, quietly
from annexd.router.limits import Limits, Waits, without_waits
from annexd.router.members import Members
from annexd.router.opening import open_upload
from annexd.router.parts import Parts, Samples
from annexd.router.ports import LocationLog, Ways, Wishes
from annexd.router.reading import open_reader
from annexd.router.recording import Recording
from annexd.router.removing import remove
from annexd.router.search import Search, present_now, read_now
from annexd.router.uploads import Uploads
from annexd.store import Caller, Lease, Outcome, Reader, Store, Writer


class Cluster:
    """
    ``uploads`` is common to all sessions of the gateway.  ``boot`` tells
    seconds on a clock that never goes back, of which `timestamp` tells.
    """

    def __init__(
        self,
        uuid: bytes,
        ways: Ways,
        log: LocationLog,
        wishes: Wishes,
        caller: Caller,
        clock: IReactorTime,
        *,
        uploads: Uploads,
        boot: Callable[[], float],
        limits: Limits | None = None,
    ) -> None:
        self._uuid = uuid
        self._errands = Errands(clock)
        self._limits = limits or Limits()
        self._members = Members(ways, caller, self._limits.outer)
        self._parts = Parts(
            uuid,
            self._members,
            Recording(log),
            wishes,
            uploads,
            self._errands,
            self._limits,
            boot,
            Samples(clock),
        )

    @property
    def uuid(self) -> bytes:
        return self._uuid

    def bypass(self, uuids: tuple[bytes, ...]) -> None:
        """The client, a gateway, says what its requests have passed through; see `Waits` for the rest."""
        limits = self._limits.behind(Waits.told(uuids))
        self._members.bypass = tuple(dict.fromkeys((*self._members.bypass, *without_waits(uuids))))
        self._members.waits = limits.outer
        self._parts = replace(self._parts, limits=limits)

    async def present(self, key: Key) -> bool:
        return await Search(self._parts, key).present()

    def present_now(self, key: Key) -> bool | None:
        return present_now(self._parts, key)

    async def lock(self, key: Key) -> Lease:
        raise Refused("a cluster's content can only be locked at its nodes")

    async def remove(self, key: Key, before: int | None = None) -> Outcome:
        return await remove(self._parts, key, before)

    async def timestamp(self) -> int:
        return int(self._parts.boot())

    async def read(self, key: Key, offset: int, file: bytes) -> Reader:
        return await open_reader(self._parts, key, offset, file)

    def read_now(self, key: Key, offset: int, file: bytes) -> bytes | None:
        return read_now(self._parts, key, offset, file)

    async def write(self, key: Key, file: bytes) -> Union[Writer, Outcome]:
        return await open_upload(self._parts, key, file)

    async def lacking(
        self, key: Key, holders: frozenset[bytes], ask_all: bool = False, file: bytes = b""
    ) -> frozenset[bytes]:
        """The nodes that are to be given it from others, see `annexd.router.repairing.lacking`."""
        return await repairing.lacking(self._parts, key, holders, ask_all, file)

    async def fill(self, key: Key, moved: Moved, file: bytes = b"") -> Outcome:
        """Give it to them, see `annexd.router.repairing.fill`."""
        return await repairing.fill(self._parts, key, moved, file)

    async def changes(self) -> tuple[bytes, ...]:
        raise Refused("a cluster has no git refs of its own")

    async def close(self) -> None:
        await self._errands.close(self._limits.parting)

        async def close(store: Store) -> None:
            closing = self._errands.within(self._limits.parting, store.close(), "it does not let go")
            await quietly(closing)

        stores = self._members.release()
        await self._errands.each(max(1, len(stores)), stores, close)
