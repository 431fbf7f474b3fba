"""
An upload beside another one of the same content, for a gateway.

A client can wait until somebody else is done; a gateway cannot.  It may be the
one from which the other upload gets its bytes, over a detour: git-annex's own
gateways take all ways to a node that there are.  Or it is at the end of a
circle: two clients upload the same at two gateways, and each of these waits
for the other.  So it is told at once that it need not send anything, and at
the end which nodes have the content by then.
"""

from __future__ import annotations

from annexd.flow.body import Buffer, Sink
from annexd.protocol.keys import Key
from annexd.router.members import nodes_of, told
from annexd.router.parts import Parts
from annexd.store import Outcome


class Bystander:
    """See `annexd.store.Writer`; what comes in is dropped."""

    def __init__(self, parts: Parts, key: Key) -> None:
        self._parts = parts
        self._key = key
        self.offset = key.size or 0
        """As if all of it were here, which spares the bytes where it is known how many they are."""

        self.sink: Sink = _Nowhere()

    def announce(self, length: int) -> None:
        """However many."""

    async def commit(self, valid: bool) -> Outcome:
        return await self.recheck()

    async def recheck(self) -> Outcome:
        holders = await self._parts.log.holders(self._key)
        have = nodes_of(self._parts.members.now()) & holders
        reason = "somebody else is uploading the same content"
        return Outcome(True, also=told(have)) if have else Outcome(False, reason=reason)

    async def close(self) -> None:
        """Nothing is held."""


class _Nowhere:
    async def write(self, data: Buffer) -> None:
        pass
