"""Peers at ``tor-annex::HOST.onion:PORT``, by a tor's SOCKS port."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from annexd.errors import Unavailable
from annexd.protocol.messages import Auth
from annexd.remotes.dialing import Explain, GetAuth, nothing_said
from annexd.remotes.url import TorAnnex
from annexd.sessions.wire import Wire
from annexd.transports.pipes import PipeTransport
from annexd.transports.through_socks import connected_through

_USER = "annexd"


class TorDialer:
    """
    ``socks`` and ``auth`` are asked for each connection, as a tor and a token
    may be replaced.  Connections with the same ``isolation`` share circuits,
    and with no others.
    """

    def __init__(
        self,
        reactor: Any,
        place: TorAnnex,
        socks: Callable[[], str],
        auth: GetAuth,
        isolation: str,
    ) -> None:
        self._reactor = reactor
        self._place = place
        self._socks = socks
        self._get_auth = auth
        self._isolation = isolation
        self.auth: Auth | None = None

    async def connect(self, wire: Wire) -> Explain:
        self.auth = await self._get_auth()
        place = self._place
        try:
            sock = await connected_through(
                self._reactor, self._socks(), place.host, place.port, (_USER, self._isolation)
            )
        except Unavailable as error:
            raise Unavailable(f"{place.onion} by tor: {error}") from None
        fd = sock.detach()
        PipeTransport(self._reactor, fd, os.dup(fd)).connect(wire)
        return nothing_said
