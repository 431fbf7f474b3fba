"""
How an SSH client proves who it is: by a key, and by nothing else.

Conch's own service goes by `twisted.cred`, takes signatures with SHA-1, and
has a client sign with a key that nobody knows; none of that is wanted here.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import Any, Protocol

from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.service import SSHService
from twisted.conch.ssh.transport import (
    DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE,
    DISCONNECT_PROTOCOL_ERROR,
    DISCONNECT_SERVICE_NOT_AVAILABLE,
)
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from annexd.errors import Refused
from annexd.transports.ssh.algorithms import KEY_FORMATS
from annexd.transports.ssh.conch import said_by_conch

_log = Logger()

MSG_USERAUTH_REQUEST = 50
MSG_USERAUTH_FAILURE = 51
MSG_USERAUTH_SUCCESS = 52
MSG_USERAUTH_PK_OK = 60
# Conch's module with these names imports the reactor.

MOST_ATTEMPTS = 20
"""Keys that a client may offer: an agent may hold some."""

_MOST_WAITING = 8


class Visitor(Protocol):
    """Somebody whom a key lets in."""

    @property
    def principal(self) -> str: ...


class Doorman(Protocol):
    """Who knows the keys, and whose patience wears thin."""

    async def admit(self, login: bytes, key: bytes, address: str) -> Visitor:
        """
        Whoever has the key, which is as on the wire.  Nothing is proved yet.
        Raises `Refused`, with a reason that only the log is told.
        """

    def delay(self, address: str) -> float:
        """How many seconds a refusal has to wait."""

    def entered(self, visitor: Visitor, address: str) -> None:
        """``visitor`` has proved to have the key."""

    def turned_away(self, login: bytes, address: str, reason: str) -> None:
        """A connection has ended that tried to log in and could not."""


class Login(SSHService):
    """``address`` is the client's; how long all this may take is its `Peer`'s business."""

    name = b"ssh-userauth"
    protocolMessages = {MSG_USERAUTH_REQUEST: "MSG_USERAUTH_REQUEST"}

    def __init__(self, clock: IReactorTime, doorman: Doorman, address: str) -> None:
        self._log = said_by_conch
        self._clock = clock
        self._doorman = doorman
        self._address = address
        self._asked: deque[bytes] = deque()
        self._answering: Deferred[None] | None = None
        self._busy = False
        self._over = False
        self.login = b""
        """The name that the client gave last."""
        self.attempts = 0
        self.reason = ""
        """Why the last attempt failed."""

    def serviceStopped(self) -> None:
        self._over = True
        answering, self._answering = self._answering, None
        if answering is not None:
            answering.cancel()

    def ssh_USERAUTH_REQUEST(self, packet: bytes) -> None:
        """One after the other: an answer may take a while, and clients need not wait for it."""
        if len(self._asked) == _MOST_WAITING:
            self._disconnect(DISCONNECT_PROTOCOL_ERROR, "one login at a time")
            return
        self._asked.append(packet)
        if not self._busy:
            self._busy = True
            self._answering = Deferred.fromCoroutine(self._answer_all())
            self._answering.addErrback(self._failed)

    async def _answer_all(self) -> None:
        while self._asked and not self._over:
            await self._answer(self._asked.popleft())
        self._busy = False

    async def _answer(self, packet: bytes) -> None:
        self.login, service, method, rest = getNS(packet, 3)
        if service != b"ssh-connection":
            self._disconnect(DISCONNECT_SERVICE_NOT_AVAILABLE, "there is no such service")
        elif method == b"none":
            self._send(MSG_USERAUTH_FAILURE, NS(b"publickey") + b"\0")
        elif self.attempts == MOST_ATTEMPTS:
            self._disconnect(DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE, "too many attempts")
        else:
            self.attempts += 1
            await self._attempt(packet, method, rest)

    async def _attempt(self, packet: bytes, method: bytes, rest: bytes) -> None:
        try:
            if method != b"publickey":
                raise Refused("something else than a key was tried")
            visitor = await self._proven(packet, rest)
        except Refused as error:
            self.reason = str(error)
            await deferLater(self._clock, self._doorman.delay(self._address))
            self._send(MSG_USERAUTH_FAILURE, NS(b"publickey") + b"\0")
            return
        if visitor is not None:
            self._answering = None  # what runs cannot be cancelled, and need not be
            self._send(MSG_USERAUTH_SUCCESS, b"")
            self._link.logged_in(visitor)

    async def _proven(self, packet: bytes, rest: bytes) -> Visitor | None:
        """`None` when the client has only asked whether the key would do."""
        algorithm, key, tail = getNS(rest[1:], 2)
        if KEY_FORMATS.get(algorithm) != getNS(key)[0]:
            raise Refused("the key is of a kind that is not accepted")
        visitor = await self._doorman.admit(self.login, key, self._address)
        if rest[:1] == b"\0":
            self._send(MSG_USERAUTH_PK_OK, NS(algorithm) + NS(key))
            return None
        signature, after = getNS(tail)
        signed = packet[: len(packet) - len(NS(signature))]
        if after or not self._verified(algorithm, key, signature, signed):
            raise Refused("the signature is wrong")
        return visitor

    def _verified(self, algorithm: bytes, key: bytes, signature: bytes, signed: bytes) -> bool:
        data = NS(self._link.sessionID) + bytes((MSG_USERAUTH_REQUEST,)) + signed
        try:
            if getNS(signature)[0] != algorithm:
                return False
            return bool(Key.fromString(key, type="blob").verify(signature, data))  # type: ignore[no-untyped-call]
        except Exception:
            return False  # what cannot be read as a signature is none

    def _failed(self, failure: Failure) -> None:
        if isinstance(failure.value, CancelledError):
            return
        if failure.check(struct.error, IndexError) is not None:  # type: ignore[no-untyped-call]
            self._disconnect(DISCONNECT_PROTOCOL_ERROR, "this cannot be read")
            return
        _log.failure("a login from {address}", failure, address=self._address)
        self._disconnect(DISCONNECT_PROTOCOL_ERROR, "something went wrong here")

    def _disconnect(self, code: int, sentence: str) -> None:
        self._over = True
        self._link.sendDisconnect(code, sentence.encode())

    def _send(self, kind: int, payload: bytes) -> None:
        if not self._over:
            self._link.sendPacket(kind, payload)

    @property
    def _link(self) -> Any:
        return self.transport
