"""What a store promises, of a node reached by ssh: sessions with git-annex-shell, new and old."""

from __future__ import annotations

from collections.abc import Awaitable

from annexd.errors import Refused, Unavailable
from annexd.store import Outcome, Store
from tests.support.far_ssh import CALLER, OverSsh
from tests.support.programs import OLDEST
from tests.support.store_contract import StoreContract


class Contract(OverSsh, StoreContract):
    one_upload_at_a_time = False  # the second one is told only when it sends its data
    keeps_partials = False  # what was announced here comes whole: then it is wrong, not unfinished

    async def make_store(self) -> Store:
        # Servers that were left still hold their locks for a moment.
        while self.left_servers():
            await self.pause()
        return self.node.store(CALLER)

    def left_servers(self) -> bool:
        sessions = len(self.node._link._used) + len(self.node._link._idle)
        return len(self.shells()) > sessions

    async def assert_not_done(self, awaitable: Awaitable[Outcome]) -> None:
        """git-annex-shell dies of being asked to remove what is locked."""
        try:
            self.assertFalse((await awaitable).ok)
        except (Refused, Unavailable):
            pass


class OldContract(Contract):
    """Version 1 of the protocol."""

    version = OLDEST
