"""What one neighbour gateway tells of changes there, for as long as there is somebody to hear it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Callable, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from annexd.errors import AnnexdError

_log = Logger()

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 300.0

Heard = Callable[[tuple[bytes, ...]], None]
"""Called with the names of objects, in hex, that references there are at now."""


class Listen(Protocol):
    def __call__(self, name: str, begun: Callable[[], None], heard: Heard) -> Awaitable[None]:
        """
        Listen to the neighbour that is the remote ``name``.  From ``begun`` on
        ``heard`` is told of everything.  Does not return; raises `Unavailable`
        and `Refused`.
        """


class Tidings:
    """Listens anew, at longer and longer intervals, whenever there is nothing to be heard any more."""

    def __init__(
        self, reactor: Any, name: str, listen: Listen, begun: Callable[[], None], heard: Heard
    ) -> None:
        self.audible = False
        self._reactor = reactor
        self._name = name
        self._listen = listen
        self._begun = begun
        self._heard = heard
        self._silent = False
        self._running = Deferred.fromCoroutine(self._run()).addErrback(self._failed)

    async def stop(self) -> None:
        self._running.cancel()
        await self._running

    async def _run(self) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            try:
                await self._listen(self._name, self._begin, self._heard)
            except AnnexdError as error:
                self._lost(str(error))
            pause = _FIRST_PAUSE_S if self.audible else min(pause * 2, _LONGEST_PAUSE_S)
            self.audible = False
            await deferLater(self._reactor, pause)

    def _begin(self) -> None:
        self.audible = True
        if self._silent:
            self._silent = False
            _log.info("changes at {name} are heard of again", name=self._name)
        self._begun()

    def _lost(self, reason: str) -> None:
        """Not worth a warning: branches are exchanged all the same, only later."""
        if not self._silent:
            self._silent = True
            _log.info("changes at {name} are not heard of: {reason}", name=self._name, reason=reason)

    def _failed(self, failure: Failure) -> None:
        if not isinstance(failure.value, CancelledError):
            _log.failure("hearing of changes at {name}", failure, name=self._name)
