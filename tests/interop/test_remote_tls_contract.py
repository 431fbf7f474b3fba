"""What a store promises, of a node behind an annexd, over TLS."""

from __future__ import annotations

from collections.abc import Awaitable

from annexd.errors import Refused
from annexd.protocol.keys import Key
from annexd.store import Outcome, Store
from tests.support.annex import litter
from tests.support.far_tls import CALLER, OverTls
from tests.support.scenes import key_file
from tests.support.store_contract import StoreContract, send


class Contract(OverTls, StoreContract):
    one_upload_at_a_time = False  # the node has all in its memory until it is complete

    async def make_store(self) -> Store:
        return self.node.store(CALLER)

    async def interrupted(self, store: Store, key: Key, content: bytes) -> None:
        writer = await store.write(key, b"")
        assert not isinstance(writer, Outcome)
        await send(writer, content)
        await writer.close()
        await self.ask()  # on another connection, which comes after the end of that one
        partial = self.git_dir / "annex" / "tmp" / key_file(key.raw).decode()
        while not partial.exists() or partial.stat().st_size < len(content) or self.is_locked():
            await self.pause()

    def is_locked(self) -> bool:
        """An upload, until all that there is to do when it is interrupted has been done."""
        return "transfer" in litter(self.git_dir)

    async def assert_not_done(self, awaitable: Awaitable[Outcome]) -> None:
        try:
            self.assertFalse((await awaitable).ok)
        except Refused as error:
            self.assertTrue(str(error))
