"""Those who come to the SSH listener by an onion: where tor can, it says first by which circuit."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from annexd.app.anteroom import Anteroom, circuit
from annexd.errors import Refused
from annexd.transports.proxied import proxied

_log = Logger()

NAMELESS = "an onion service"


class _Caller:
    """Nobody knows yet where it comes from."""

    def __init__(self) -> None:
        self.place: str | None = None
        self.reason = ""
        self.task: Deferred[None] | None = None

    def send_away(self, reason: str) -> None:
        if self.task is not None and not self.reason:
            self.reason = reason
            self.task.cancel()


class Callers:
    """
    ``seconds`` is how long tor has for its word; ``let_in`` gets the socket,
    which stays ours, and the address that stands for a circuit, or nothing.
    """

    def __init__(
        self,
        reactor: Any,
        anteroom: Anteroom,
        seconds: Callable[[], float],
        let_in: Callable[[socket.socket, str], None],
    ) -> None:
        self._reactor = reactor
        self._anteroom = anteroom
        self._seconds = seconds
        self._let_in = let_in
        self._waiting: dict[_Caller, None] = {}

    def arrived(self, sock: socket.socket, announced: bool) -> None:
        """``announced``: by a PROXY header."""
        if not announced:
            with sock:
                self._let_in(sock, "")
            return
        caller = _Caller()
        self._waiting[caller] = None
        self._anteroom.enter(caller)
        seconds = self._seconds()
        late = self._reactor.callLater(
            seconds, caller.send_away, f"tor has said nothing of it within {seconds:g} seconds"
        )
        caller.task = Deferred.fromCoroutine(self._hear(caller, sock))
        caller.task.addErrback(_ended, caller)

        def over(_: object) -> None:
            if late.active():
                late.cancel()

        caller.task.addBoth(over)

    async def _hear(self, caller: _Caller, sock: socket.socket) -> None:
        with sock:
            try:
                host = await proxied(self._reactor, sock)
            finally:
                self._anteroom.leave(caller)
                self._waiting.pop(caller, None)
            # Who else may connect to the socket could claim any address.
            self._let_in(sock, host if host is not None and circuit(host) is not None else "")

    def close(self) -> None:
        for caller in list(self._waiting):
            caller.send_away("annexd stops")


def _ended(failure: Failure, caller: _Caller) -> None:
    if not isinstance(failure.value, (CancelledError, Refused)):
        _log.failure("a connection from {address}", failure, address=NAMELESS)
    else:
        reason = caller.reason or str(failure.value)
        _log.info("sent {address} away: {reason}", address=NAMELESS, reason=reason)
