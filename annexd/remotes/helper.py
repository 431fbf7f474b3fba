"""Peers at ``p2p-annex::NETWORK:ADDRESS``: the network's own helper program carries the bytes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from annexd.errors import Unavailable
from annexd.protocol.messages import Auth
from annexd.remotes.dialing import Explain, GetAuth
from annexd.remotes.murmur import Murmur
from annexd.remotes.url import P2PAnnex
from annexd.sessions.wire import Wire
from annexd.transports.pipes import OwnPipes, close_all, new_pipes

_PREFIX = "git-annex-p2p-"

_GRACE_S = 3.0
"""From SIGTERM to SIGKILL, when the daemon stops."""

_PARTING_S = 5.0
"""For a helper to end by itself when nobody speaks to it any more, and again after it was asked to."""


class Helpers:
    """Those that run, of all links."""

    def __init__(self) -> None:
        self.running: set[_Helper] = set()

    async def close(self) -> None:
        """End them, whatever they are in use for; a few seconds at most."""
        ending = list(self.running)
        for helper in ending:
            helper.end(_GRACE_S)
        for helper in ending:
            await helper.gone


class HelperDialer:
    """
    ``git-annex-p2p-NETWORK ADDRESS``, found by the PATH of ``environ``, for
    each connection.  ``auth`` has the token that is kept for the address,
    ``helpers`` knows who runs.
    """

    def __init__(
        self,
        reactor: Any,
        place: P2PAnnex,
        auth: GetAuth,
        environ: Mapping[str, str],
        helpers: Helpers | None = None,
    ) -> None:
        self._reactor = reactor
        self._place = place
        self._environ = environ
        self._helpers = helpers or Helpers()
        self._get_auth = auth
        self.auth: Auth | None = None

    async def connect(self, wire: Wire) -> Explain:
        self.auth = await self._get_auth()
        name = _PREFIX + self._place.network
        program = shutil.which(name, path=self._environ.get("PATH"))
        if program is None:
            raise Unavailable(f"{name} is not installed here, or not in the PATH")
        helper = _Helper(self._reactor, self._helpers)
        helper.start([program, self._place.address], self._environ, wire)
        return helper.murmur.explain


class _Helper(ProcessProtocol):
    """Runs for as long as the wire."""

    murmur: Murmur

    def __init__(self, reactor: Any, helpers: Helpers) -> None:
        self._reactor = reactor
        self._helpers = helpers
        self._ended = False
        self._timer: IDelayedCall | None = None
        self.gone: Deferred[None] = Deferred()

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
        self._helpers.running.add(self)
        self.murmur = Murmur(self._reactor, our_error)
        OwnPipes(self._reactor, our_input, our_output, self._parted).connect(wire)

    def _parted(self) -> None:
        if not self._ended:
            self._end_later("TERM", _PARTING_S)

    def end(self, grace_s: float) -> None:
        """Now, and by force after ``grace_s`` seconds."""
        self._signal("TERM")
        self._end_later("KILL", grace_s)

    def _end_later(self, name: str, seconds: float) -> None:
        self._stop_timer()
        self._timer = self._reactor.callLater(seconds, self._end, name)

    def _end(self, name: str) -> None:
        if name == "TERM":
            self.end(_PARTING_S)
        else:
            self._signal(name)

    def _signal(self, name: str) -> None:
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(name)  # type: ignore[union-attr]

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def processExited(self, reason: Failure) -> None:
        self._ended = True
        self._stop_timer()

    def processEnded(self, reason: Failure) -> None:
        self.murmur.close()
        self._helpers.running.discard(self)
        self.gone.callback(None)
