"""
git with neighbours that git itself cannot reach from a daemon: for onions
git-annex looks for tor at one place only, and its programs may not be where git
looks for them.  So the connection is made here, as for content, and git gets it
as an open descriptor.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.python.failure import Failure

from annexd.errors import AnnexdError, PeerLost, Unavailable
from annexd.remotes.dialing import Dialer
from annexd.sessions.deadlines import Deadlines, Patience
from annexd.sessions.gitcall import call
from annexd.sessions.handshake import introduce
from annexd.sessions.wire import Wire
from annexd.transports.pipes import PipeTransport

_SERVICES = {b"fetch": b"git-upload-pack", b"push": b"git-receive-pack"}


class GitHere(Protocol):
    """See `annexd.app.exchange.git_in`."""

    async def __call__(self, arguments: Sequence[bytes], fds: Sequence[int] = ()) -> None: ...


@dataclass(frozen=True, slots=True)
class Passage:
    """To the repository ``uuid``."""

    uuid: bytes
    dialer: Dialer
    patience: Patience


Find = Callable[[bytes], Passage | None]
"""The passage to a remote by its name; `None` where git is to find its own way.  Raises `Unavailable`."""


class LinkedGit:
    """A `annexd.app.exchange.Git`; ``seconds`` is how long git may take."""

    def __init__(self, reactor: Any, git: GitHere, find: Find, seconds: float) -> None:
        self._reactor = reactor
        self._git = git
        self._find = find
        self._seconds = seconds

    async def __call__(self, arguments: Sequence[bytes]) -> None:
        service = None
        for place, word in enumerate(arguments):
            passage = None if service is None else self._find(word)
            if service is not None and passage is not None:
                await self._through(passage, service, arguments, place)
                return
            service = service or _SERVICES.get(word)
        await self._git(arguments)

    async def _through(
        self, passage: Passage, service: bytes, arguments: Sequence[bytes], place: int
    ) -> None:
        wire = Wire(self._reactor, passage.patience.deadlines)
        try:
            await self._connected(wire, passage)
            near, far = socket.socketpair()
            with far:
                git = Wire(self._reactor, Deadlines(stall=self._seconds))
                fd = near.detach()
                PipeTransport(self._reactor, fd, os.dup(fd)).connect(git)
                url = b"fd::%d" % far.fileno()
                await self._relayed(
                    wire, git, service, [*arguments[:place], url, *arguments[place + 1 :]], far
                )
        finally:
            if wire.transport is not None:
                wire.abort(PeerLost("git is done"))

    async def _connected(self, wire: Wire, passage: Passage) -> None:
        async def connect() -> None:
            explain = await passage.dialer.connect(wire)
            try:
                await introduce(wire, passage.uuid, passage.dialer.auth)
            except PeerLost as error:
                raise Unavailable(await explain() or str(error)) from None

        seconds = passage.patience.connect
        connecting = Deferred.fromCoroutine(connect()).addTimeout(seconds, self._reactor)
        try:
            await connecting
        except TimeoutError:
            raise Unavailable(f"no answer within {seconds:g} seconds") from None

    async def _relayed(
        self, wire: Wire, git: Wire, service: bytes, arguments: Sequence[bytes], far: socket.socket
    ) -> None:
        problem: list[str] = []

        def ended(failure: Failure) -> None:
            """git only sees that nothing comes any more."""
            failure.trap(AnnexdError, CancelledError)  # type: ignore[no-untyped-call]
            if failure.check(CancelledError) is None:  # type: ignore[no-untyped-call]
                problem.append(str(failure.value))
            git.abort(PeerLost("the peer is gone"))

        relaying = Deferred.fromCoroutine(call(wire, service, git)).addErrback(ended)
        try:
            await self._git(arguments, fds=(far.fileno(),))
        except Unavailable as error:
            raise Unavailable(f"{error}; {problem[0]}" if problem else str(error)) from None
        finally:
            relaying.cancel()
            git.abort(PeerLost("git is done"))
