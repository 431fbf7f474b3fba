"""
How git, and news of changes, come to neighbour gateways: over the connections
that there are for content.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from twisted.internet.defer import Deferred, TimeoutError

from annexd.app.estate import Estate
from annexd.app.exchange_git import Passage, has_own_ways
from annexd.app.tidings import Heard
from annexd.errors import FramingError, PeerLost, Unavailable
from annexd.protocol.messages import Changed, Unknown
from annexd.remotes.ssh import SshAccount, git_line, news_line
from annexd.remotes.ssh_session import Session
from annexd.router.configured import Remote
from annexd.sessions.deadlines import Patience
from annexd.sessions.wire import Wire
from annexd.store import Caller

_READY = Unknown(b"READY")

Account = Callable[[Remote, bytes], tuple[SshAccount, bytes] | None]
"""Where a remote's url leads to by ssh, and the path there; `None` where it leads elsewhere."""


class NeighbourWays:
    """Of one gateway.  ``config`` and ``environ`` say whether git has ways of its own."""

    def __init__(
        self,
        reactor: Any,
        estate: Estate,
        account: Account,
        patience: Callable[[], Patience],
        config: Mapping[bytes, bytes],
        environ: Mapping[bytes, bytes],
    ) -> None:
        self._reactor = reactor
        self._estate = estate
        self._account = account
        self._patience = patience
        self._own_ways = has_own_ways(environ, config)

    async def passage(self, name: str, push: bool) -> Passage | None:
        """See `annexd.app.exchange_git.Passages`."""
        remote = self._remote(name)
        found = self._account(remote, remote.push_url if push else remote.url)
        if found is None or self._own_ways:
            return None
        account, path = found
        session = await self._opened(account, git_line(remote.services[push], path))
        url, push_url = remote.written
        return Passage(session, push_url if push and push_url else url, push and bool(push_url))

    async def listen(self, name: str, begun: Callable[[], None], heard: Heard) -> None:
        """See `annexd.app.tidings.Listen`."""
        remote = self._remote(name)
        found = self._account(remote, remote.url)
        if found is not None:
            account, path = found
            line = news_line(remote.shell or b"git-annex-shell", path, remote.uuid)
            await self._listen(await self._opened(account, line), begun, heard)
        else:
            await self._follow(remote, begun, heard)

    def _remote(self, name: str) -> Remote:
        for remote in self._estate.configured.remotes:
            if remote.name == name:
                return remote
        raise Unavailable(f"there is no remote {name} any more")

    async def _opened(self, account: SshAccount, command: bytes) -> Session:
        seconds = self._patience().connect
        try:
            return await Deferred.fromCoroutine(account.open(command)).addTimeout(seconds, self._reactor)
        except TimeoutError:
            raise Unavailable(f"ssh opens no session within {seconds:g} seconds") from None

    async def _listen(self, session: Session, begun: Callable[[], None], heard: Heard) -> None:
        """To the command that tells of changes."""
        wire = Wire(self._reactor, self._patience().deadlines)
        explain = session.join(wire)
        try:
            if await wire.receive(wire.deadlines.handshake) != _READY:
                raise Unavailable("it does not tell of changes")
            begun()
            while isinstance(message := await wire.receive(wire.deadlines.idle), Changed):
                heard(message.shas)
            raise Unavailable("it has said something else than that there are changes")
        except (PeerLost, FramingError) as error:
            raise Unavailable(await explain() or str(error)) from None
        finally:
            wire.abort(PeerLost("nobody listens any more"))

    async def _follow(self, remote: Remote, begun: Callable[[], None], heard: Heard) -> None:
        """By NOTIFYCHANGE."""
        store = self._estate.node(remote, remote.uuid).store(Caller(self._estate.uuid, "annexd"))
        try:
            begun()
            while True:
                heard(await store.changes())
        finally:
            await store.close()
