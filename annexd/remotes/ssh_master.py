"""The ssh that holds the connection to a host, for all sessions there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from annexd.errors import FramingError, PeerLost, Unavailable
from annexd.remotes.murmur import Murmur
from annexd.remotes.ssh_session import NoSession, Session, open_session

_log = Logger()

_LOOK_S = 0.02
"""Between looks whether ssh listens: it does not say so."""

_GRACE_S = 3.0
"""From SIGTERM to SIGKILL."""

_LONG_S = 2.0
"""A session takes one round trip and a process; an ssh with which it takes longer may hang."""


class Master(ProcessProtocol):
    """
    Started at once.  ``path`` is where it is to listen; nothing is there yet.
    ``room`` is how many sessions the server allows, once that is known.  It
    ends ``idle_s`` seconds after the last session.
    """

    def __init__(
        self, reactor: Any, argv: Sequence[str], environ: Mapping[str, str], path: str, idle_s: float
    ) -> None:
        self._reactor = reactor
        self._path = path
        self._idle_s = idle_s
        self._listens = False
        self._stuck = False
        self._timer: IDelayedCall | None = None
        self.sessions = 0
        self.room = 1 << 30
        self.ended = False
        self.gone: Deferred[None] = Deferred()
        """Fires when the process is no more."""
        self._murmurs: set[Murmur] = set()
        self._start(argv, environ)

    def _start(self, argv: Sequence[str], environ: Mapping[str, str]) -> None:
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            ours, theirs = os.pipe()
        except OSError:
            os.close(nothing)
            raise
        self._murmur = Murmur(self._reactor, ours)
        files = {0: nothing, 1: nothing, 2: theirs}
        try:
            self._reactor.spawnProcess(self, argv[0], argv, env=environ, path=None, childFDs=files)
        except OSError as error:
            self._murmur.close()
            raise Unavailable(f"{argv[0]} cannot be run: {error.strerror}") from None
        finally:
            os.close(theirs)
            os.close(nothing)

    @property
    def useful(self) -> bool:
        """Another session may be asked for."""
        return not (self.ended or self._stuck) and self.sessions < self.room

    async def open(self, command: bytes) -> Session:
        """Raises `Unavailable`, `NoSession` when the server allows no more, `PeerLost` when ssh has ended."""
        self.sessions += 1
        self._keep()
        began = self._reactor.seconds()
        opened = False
        try:
            await self._listening()
            began = self._reactor.seconds()
            session = await open_session(self._reactor, self._path, command, self._parted)
            opened = True
        except NoSession:
            self.room = max(1, self.sessions - 1)
            raise
        except FramingError as error:
            raise PeerLost(str(error)) from None
        finally:
            if not opened:
                self._stuck = self._stuck or self._reactor.seconds() - began > _LONG_S
                self._parted()
        self._murmurs = {other for other in self._murmurs if other.fileno() >= 0} | {session.murmur}
        return session

    async def _listening(self) -> None:
        while not self._listens:
            if self.ended:
                raise Unavailable(await self._murmur.explain() or "ssh has ended without a word")
            self._listens = os.path.exists(self._path)
            if not self._listens:
                await deferLater(self._reactor, _LOOK_S)
        if self.ended:
            raise PeerLost("ssh has ended")

    # --- its end -------------------------------------------------------

    def _keep(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active() and not self.ended:
            timer.cancel()

    def _parted(self) -> None:
        self.sessions -= 1
        if self.sessions == 0 and not self.ended:
            self._keep()
            self._timer = self._reactor.callLater(0 if self._stuck else self._idle_s, self.close)

    def close(self) -> None:
        """End it with all its sessions."""
        if self.ended:
            return
        self.ended = True
        self._signal("TERM")
        self._keep_time(_GRACE_S)
        for murmur in self._murmurs:
            murmur.close()

    def _keep_time(self, seconds: float) -> None:
        timer = self._timer
        if timer is not None and timer.active():
            timer.cancel()
        self._timer = self._reactor.callLater(seconds, self._signal, "KILL")

    def _signal(self, name: str) -> None:
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(name)  # type: ignore[union-attr]

    def processExited(self, reason: Failure) -> None:
        if not self.ended and self._listens:
            _log.warn("ssh has ended: {said}", said=self._murmur.last_line)
        self.ended = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        with suppress(FileNotFoundError):
            os.unlink(self._path)

    def processEnded(self, reason: Failure) -> None:
        self._murmur.close()
        self.gone.callback(None)
