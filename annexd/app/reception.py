"""From a connection over the network to a session: who comes, and what with."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from annexd.app.access import CERTIFICATE, Rights
from annexd.app.anteroom import Anteroom, neighbourhood, plain_address, shown
from annexd.app.audit import AUDIT
from annexd.app.certificates import Identity
from annexd.app.guessing import Guessing
from annexd.app.hosting import Guest, Host
from annexd.app.listen import FrontEnds
from annexd.app.logs import clean
from annexd.errors import AnnexdError, FramingError, PeerLost, Refused, Unavailable
from annexd.protocol.messages import Error
from annexd.sessions.handshake import Introductions
from annexd.sessions.wire import Wire
from annexd.transports.pipes import PipeTransport
from annexd.transports.proxied import proxied
from annexd.transports.secured import common_name, secured
from annexd.transports.tls import TlsTransport

_log = Logger()
_audit = Logger(namespace=AUDIT)

_KEEPALIVE_S = 300


class Admission(Protocol):
    """See `annexd.app.tokens.Admission`."""

    @property
    def principal(self) -> str: ...

    @property
    def path(self) -> bytes: ...

    @property
    def rights(self) -> Rights: ...

    @property
    def node(self) -> bytes | None: ...


Admit = Callable[[bytes], Awaitable[Admission]]
"""Whom a secret lets in.  Raises `Refused`."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """One way in; ``identity`` and ``front_ends`` are asked each time, ``identity`` is for TLS."""

    transport: str
    front_ends: Callable[[], FrontEnds]
    identity: Callable[[], Identity] | None = None
    nameless: str = "a unix socket"
    """Where those come from who have no address."""


class _Visitor:
    """One connection, until it is known who it is."""

    def __init__(self, entrance: Entrance, address: str) -> None:
        self._entrance = entrance
        self.address = address
        """Empty for who comes by a unix socket."""

        self.place = None if entrance.front_ends().include(address) else self.origin
        self.deadline: IDelayedCall | None = None
        self.task: Deferred[None] | None = None
        self.reason = ""

    @property
    def origin(self) -> str:
        """What failures count for: those without an address are all one."""
        return neighbourhood(self.address) or self._entrance.transport

    @property
    def shown(self) -> str:
        return shown(self.address, self._entrance.nameless)

    def send_away(self, reason: str) -> None:
        if not self.reason and self.task is not None:
            self.reason = reason
            self.task.cancel()

    def put_off(self, seconds: float) -> None:
        if self.deadline is not None and self.deadline.active():
            self.deadline.delay(seconds)

    def settle(self) -> None:
        if self.deadline is not None and self.deadline.active():
            self.deadline.cancel()


class Reception:
    """Lets those in whom ``admit`` knows, and slows those down who guess."""

    def __init__(self, host: Host, admit: Admit, anteroom: Anteroom, guessing: Guessing) -> None:
        self._host = host
        self._admit = admit
        self._anteroom = anteroom
        self._guessing = guessing
        self._tasks: set[Deferred[None]] = set()

    def arrived(self, entrance: Entrance, sock: socket.socket, address: Any) -> None:
        """``address`` is what accept(2) gave."""
        visitor = self._visitor(entrance, address)
        seconds = self._host.current.deadlines.handshake
        self._anteroom.enter(visitor)
        visitor.deadline = self._host.reactor.callLater(
            seconds, visitor.send_away, f"it has not said within {seconds:g} seconds who it is"
        )
        self._start(visitor, self._receive(visitor, entrance, sock))

    def make_room(self) -> None:
        self._anteroom.make_room()

    def send_all_away(self) -> None:
        """Those who are not inside yet."""
        for visitor in self._anteroom:
            visitor.send_away("annexd stops")

    async def close(self) -> None:
        """Those who are still inside, too; until everything has been cleaned up."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await DeferredList(tasks)

    def _visitor(self, entrance: Entrance, address: Any) -> _Visitor:
        known = plain_address(address[0].partition("%")[0]) if isinstance(address, tuple) else ""
        return _Visitor(entrance, known)

    def _start(self, visitor: _Visitor, work: Coroutine[Deferred[None], Any, None]) -> None:
        task: Deferred[None] = Deferred.fromCoroutine(work)
        visitor.task = task
        self._tasks.add(task)
        task.addErrback(self._ended, visitor)
        task.addBoth(lambda _: self._tasks.discard(task))

    def _ended(self, failure: Failure, visitor: _Visitor) -> None:
        """Nobody else is told."""
        if isinstance(failure.value, PeerLost):
            _log.debug("{address} is gone: {reason}", address=visitor.shown, reason=str(failure.value))
        elif isinstance(failure.value, (CancelledError, Refused, Unavailable, FramingError)):
            reason = visitor.reason or str(failure.value) or "annexd stops"
            _log.info("sent {address} away: {reason}", address=visitor.shown, reason=reason)
        else:
            _log.failure("a connection from {address}", failure, address=visitor.shown)

    # --- from a socket to a wire ---------------------------------------

    async def _receive(self, visitor: _Visitor, entrance: Entrance, sock: socket.socket) -> None:
        try:
            wire, certificate = await self._connected(visitor, entrance, sock)
            try:
                guest, client = await self._introduced(visitor, entrance, wire, certificate)
                self._leave(visitor)
                wire.trust(True)
                await self._talk(guest, client, wire)
            except BaseException as error:
                wire.abort(PeerLost(str(error) or "annexd has sent the peer away"))
                raise
        finally:
            self._leave(visitor)

    def _leave(self, visitor: _Visitor) -> None:
        visitor.settle()
        self._anteroom.leave(visitor)

    async def _connected(
        self, visitor: _Visitor, entrance: Entrance, sock: socket.socket
    ) -> tuple[Wire, str | None]:
        """The wire, and the common name of the client's certificate."""
        reactor = self._host.reactor
        try:
            await self._look_behind(visitor, sock)
            _prepare(sock)
        except BaseException:
            sock.close()
            raise
        wire = Wire(reactor, self._host.current.deadlines)
        wire.trust(False)
        if entrance.identity is None:
            fd = sock.detach()
            PipeTransport(reactor, fd, os.dup(fd)).connect(wire)
            return wire, None
        connection = await secured(reactor, sock, entrance.identity().wrap)
        TlsTransport(reactor, connection).connect(wire)
        return wire, common_name(connection)

    async def _look_behind(self, visitor: _Visitor, sock: socket.socket) -> None:
        """Whose connection a front end passes on."""
        if visitor.place is not None:
            return
        address = await proxied(self._host.reactor, sock)
        if address is not None:
            visitor.address = plain_address(address)
            self._anteroom.move(visitor, visitor.origin)

    # --- who it is -----------------------------------------------------

    async def _introduced(
        self, visitor: _Visitor, entrance: Entrance, wire: Wire, certificate: str | None
    ) -> tuple[Guest, bytes]:
        introductions = Introductions(wire)
        while True:
            auth = await introductions.next()
            try:
                guest = await self._guest(visitor, entrance, auth.token, certificate)
            except Refused as error:
                await self._refuse(visitor, entrance, error)
                introductions.fail()
            except Unavailable as error:
                wire.send(Error(str(error).encode("utf-8", "backslashreplace")))
                raise
            else:
                await self._pause(visitor, self._guessing.passed(visitor.origin))
                _tell_login(guest, certificate)
                return guest, auth.uuid

    async def _guest(
        self, visitor: _Visitor, entrance: Entrance, secret: bytes, certificate: str | None
    ) -> Guest:
        """The token says who it is and where; a certificate narrows what may be done there."""
        admission = await self._admit(secret)
        limits, limited_by = admission.rights, None
        if certificate is not None:
            holder = CERTIFICATE + certificate
            shown = await self._host.admit(
                holder, entrance.transport, admission.path, limits=limits, limited_by=admission.principal
            )
            limits, limited_by = shown.verdict.rights, shown.verdict.because
        guest = await self._host.admit(
            admission.principal,
            entrance.transport,
            admission.path,
            limits=limits,
            limited_by=limited_by,
            address=visitor.shown,
        )
        return replace(guest, node=admission.node)

    async def _refuse(self, visitor: _Visitor, entrance: Entrance, error: Refused) -> None:
        """Whatever is wrong, the peer hears the same, and not at once."""
        _audit.warn(
            "{event} of {principal} from {address}: {reason}",
            event="login-refused",
            principal="-",
            address=visitor.shown,
            transport=entrance.transport,
            reason=error.logged,
        )
        await self._pause(visitor, self._guessing.failed(visitor.origin))

    async def _pause(self, visitor: _Visitor, seconds: float) -> None:
        if seconds:
            visitor.put_off(seconds)
            await deferLater(self._host.reactor, seconds)

    # --- inside --------------------------------------------------------

    async def _talk(self, guest: Guest, client: bytes, wire: Wire) -> None:
        git = guest.node is None or self._host.current.config.nodes.git_through_nodes
        try:
            await self._host.talk(
                guest, lambda: wire, lambda sentence: None, client=client, uuid=guest.node, git=git
            )
        except (Refused, Unavailable) as error:
            _tell_end(guest, error)
            wire.send(Error(str(error).encode("utf-8", "backslashreplace")))
            wire.hang_up()
        except FramingError as error:
            _tell_end(guest, error)
            raise PeerLost(str(error)) from error


def _tell_end(guest: Guest, error: AnnexdError) -> None:
    _log.warn(
        "{principal} from {address}: {reason}",
        principal=clean(guest.principal),
        address=guest.address,
        reason=clean(error.logged),
    )


def _tell_login(guest: Guest, certificate: str | None) -> None:
    _audit.info(
        "{event} of {principal} from {address}",
        event="login",
        principal=guest.principal,
        address=guest.address,
        transport=guest.transport,
        repository=guest.place.name,
        certificate=certificate or "",
    )


def _prepare(sock: socket.socket) -> None:
    if sock.family == socket.AF_UNIX:
        return
    # Small answers go at once, and who vanishes without a word is noticed in the end.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_S)
