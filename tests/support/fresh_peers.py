"""A store made of connections, one for each request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from annexd.sessions.ask import Peer


class FreshPeers:
    """A connection carries one request at a time; here each gets its own."""

    uuid = b"memory"

    def __init__(self, dial: Callable[[], Awaitable[Peer]]) -> None:
        self._dial = dial

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any) -> Any:
            return await getattr(await self._dial(), name)(*arguments)

        return call

    def read_now(self, *arguments: object) -> None:
        return None

    async def close(self) -> None:
        pass
