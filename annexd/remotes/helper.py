"""Peers at ``p2p-annex::NETWORK:ADDRESS``: the network's own helper program carries the bytes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from annexd.errors import Unavailable
from annexd.protocol.messages import Auth
from annexd.remotes.dialing import Explain
from annexd.remotes.murmur import Murmur
from annexd.remotes.url import P2PAnnex
from annexd.sessions.wire import Wire
from annexd.transports.pipes import OwnPipes, close_all, new_pipes

_PREFIX = "git-annex-p2p-"

_PARTING_S = 5.0
"""For a helper to end by itself when nobody speaks to it any more, and again after it was asked to."""


class HelperDialer:
    """
    ``git-annex-p2p-NETWORK ADDRESS``, found by the PATH of ``environ``, for
    each connection.  ``auth`` has the token that is kept for the address.
    """

    def __init__(self, reactor: Any, place: P2PAnnex, auth: Auth, environ: Mapping[str, str]) -> None:
        self._reactor = reactor
        self._place = place
        self._environ = environ
        self.auth: Auth | None = auth

    async def connect(self, wire: Wire) -> Explain:
        name = _PREFIX + self._place.network
        program = shutil.which(name, path=self._environ.get("PATH"))
        if program is None:
            raise Unavailable(f"{name} is not installed here, or not in the PATH")
        helper = _Helper(self._reactor)
        helper.start([program, self._place.address], self._environ, wire)
        return helper.murmur.explain


class _Helper(ProcessProtocol):
    """Runs for as long as the wire."""

    murmur: Murmur

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._ended = False
        self._timer: IDelayedCall | None = None

    def start(self, argv: list[str], environ: Mapping[str, str], wire: Wire) -> None:
        (their_input, our_output), (our_input, their_output), (our_error, their_error) = new_pipes(3)
        files = {0: their_input, 1: their_output, 2: their_error}
        try:
            self._reactor.spawnProcess(self, argv[0], argv, env=environ, path=None, childFDs=files)
        except OSError as error:
            close_all((our_input, our_output, our_error))
            raise Unavailable(f"{argv[0]} cannot be run: {error.strerror}") from None
        finally:
            close_all(files.values())
        self.murmur = Murmur(self._reactor, our_error)
        OwnPipes(self._reactor, our_input, our_output, self._parted).connect(wire)

    def _parted(self) -> None:
        if not self._ended:
            self._timer = self._reactor.callLater(_PARTING_S, self._end, "TERM")

    def _end(self, name: str) -> None:
        self._timer = self._reactor.callLater(_PARTING_S, self._end, "KILL") if name == "TERM" else None
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(name)  # type: ignore[union-attr]

    def processExited(self, reason: Failure) -> None:
        self._ended = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def processEnded(self, reason: Failure) -> None:
        self.murmur.close()
