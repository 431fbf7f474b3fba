"""What a link asks of the ways to its peer."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Callable, Protocol

from annexd.protocol.messages import Auth
from annexd.sessions.wire import Wire

Explain = Callable[[], Awaitable[str]]
"""
Why a connection has ended, as far as something beside it has said so (a
program on its standard error); empty where nothing has.  Takes a second at most.
"""


GetAuth = Callable[[], Awaitable[Auth]]
"""Asked for each connection, as a token may be replaced.  Raises `Unavailable` where there is none."""


async def nothing_said() -> str:
    return ""


class Dialer(Protocol):
    """One way to one peer; any number of connections may be asked for at once."""

    @property
    def auth(self) -> Auth | None:
        """
        What the peer wants to hear first, for whoever has just connected to it;
        `None` where the transport vouches for us.
        """

    async def connect(self, wire: Wire) -> Explain:
        """
        Give ``wire`` a transport that leads to the peer.  Raises `Unavailable`,
        and may be cancelled, as it has no deadline of its own.
        """
