"""
git's other half at a neighbour that is reached by the P2P protocol: an onion,
or an annexd by TLS.  Git itself would not find the way from a daemon, as
git-annex looks for tor at one place only, and its programs for such urls may
not be where git looks for them.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.python.failure import Failure

from annexd.errors import AnnexdError, PeerLost, Unavailable
from annexd.remotes.dialing import Dialer
from annexd.sessions.deadlines import Deadlines, Patience
from annexd.sessions.gitcall import call
from annexd.sessions.handshake import introduce
from annexd.sessions.wire import Wire
from annexd.transports.pipes import PipeTransport

_GIT_S = 120.0
_SERVICES = (b"git-upload-pack", b"git-receive-pack")


@dataclass(frozen=True, slots=True)
class Linked:
    """The way to the repository ``uuid``."""

    uuid: bytes
    dialer: Dialer
    patience: Patience


class LinkedSession:
    """See `annexd.app.exchange_git.GitSession`; made by `opened`."""

    def __init__(self, reactor: Any, wire: Wire, push: bool) -> None:
        self._reactor = reactor
        self._wire = wire
        self._service = _SERVICES[push]
        self._git = Wire(reactor, Deadlines(stall=_GIT_S))
        self._relaying: Deferred[None] | None = None
        self._problem = ""

    def give(self) -> tuple[int, int]:
        """Raises `Unavailable`."""
        try:
            near, far = socket.socketpair()
        except OSError as error:
            raise Unavailable(f"git gets no connection: {error.strerror}") from None
        fd, given = near.detach(), far.detach()
        PipeTransport(self._reactor, fd, os.dup(fd)).connect(self._git)
        self._relaying = Deferred.fromCoroutine(call(self._wire, self._service, self._git))
        self._relaying.addErrback(self._ended)
        return given, os.dup(given)

    def _ended(self, failure: Failure) -> None:
        """git only sees that nothing comes any more."""
        failure.trap(AnnexdError, CancelledError)  # type: ignore[no-untyped-call]
        if not isinstance(failure.value, CancelledError):
            self._problem = str(failure.value)
        self._git.abort(PeerLost("the peer is gone"))

    def close(self) -> None:
        if self._relaying is not None:
            self._relaying.cancel()
            self._git.abort(PeerLost("git is done"))
        self._wire.abort(PeerLost("git is done"))

    async def explain(self) -> str:
        return self._problem


async def opened(reactor: Any, linked: Linked, push: bool) -> LinkedSession:
    """Raises `Unavailable`."""
    patience = linked.patience
    wire = Wire(reactor, patience.deadlines)
    connecting = Deferred.fromCoroutine(_connect(wire, linked)).addTimeout(patience.connect, reactor)
    try:
        await connecting
    except BaseException as error:
        if wire.transport is not None:
            wire.abort(PeerLost("the connection was given up"))
        if isinstance(error, TimeoutError):
            raise Unavailable(f"no answer within {patience.connect:g} seconds") from None
        raise
    return LinkedSession(reactor, wire, push)


async def _connect(wire: Wire, linked: Linked) -> None:
    explain = await linked.dialer.connect(wire)
    try:
        await introduce(wire, linked.uuid, linked.dialer.auth)
    except PeerLost as error:
        raise Unavailable(await explain() or str(error)) from None
