"""The daemon's life: it starts, reads its configuration again, and stops."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, Logger, globalLogBeginner

from annexd.app.admin import Sessions
from annexd.app.config import Config
from annexd.app.listen import Listen
from annexd.app.logs import Printer
from annexd.app.notify import Notify
from annexd.app.plan import Current
from annexd.app.ports import Change
from annexd.app.sockets import Claim
from annexd.errors import AnnexdError, ConfigError
from annexd.flow.disk import Hung
from annexd.flow.disks import Disks
from annexd.flow.workers import ThreadedWorkers
from annexd.router.directory import Directory
from annexd.transports.handoff import Door, listen, own_uids

_log = Logger()

_POLL_S = 0.05
_HUNG_S = 5.0
"""For what is to end while a disk hangs: it may wait for that, or for something else."""


class Attendant(Protocol):
    """Something that is there for as long as the daemon."""

    def start(self) -> None:
        """Before anybody comes.  Raises `ConfigError` when it cannot."""

    def reload(self) -> None:
        """The configuration has been read again."""

    async def stop(self) -> None:
        """Nobody is inside any more."""


class Background(Protocol):
    """Something that uses repositories though nobody is inside."""

    async def stop(self) -> None:
        """Called off, and over."""


class Listener(Protocol):
    """A way in for peers, beside the unix socket."""

    @property
    def addresses(self) -> list[str]:
        """Where it listens, for whoever asks."""

    def start(self) -> None:
        """Raises `ConfigError` when it cannot listen."""

    def prepare(self, wanted: Listen) -> Change:
        """
        For a configuration that is in effect when the change is made; for
        peers that come from then on.  Raises `ConfigError` when that cannot be
        done, and everything is as it was.
        """

    async def stop(self) -> None:
        """Let nobody in any more, and let go of those who have not become a session yet."""

    async def close(self) -> None:
        """Those who are inside have had time enough; until everything has been cleaned up."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What `annexd.app.assemble` puts together."""

    current: Current
    socket: str
    workers: ThreadedWorkers
    directory: Directory[Any]
    sessions: Sessions
    door: Door
    notify: Notify
    printer: Printer | None
    """Where the log goes; `None` when whoever started the daemon sees to that."""

    listeners: Sequence[Listener] = ()
    attendants: Sequence[Attendant] = ()
    background: Sequence[Background] = ()
    disks: Disks | None = None


class Gateway(Service):
    """
    The daemon as a Twisted service.  ``reactor`` has times, threads and unix
    sockets; ``when_ready`` is called when clients may come, and
    ``when_impossible`` when they never will.
    """

    def __init__(self, reactor: Any, parts: Parts) -> None:
        self._reactor = reactor
        self._parts = parts
        self._claim: Claim | None = None
        self._port: IListeningPort | None = None
        self._former_signals: dict[signal.Signals, Any] = {}
        self._stopping = False
        self._on_a_terminal = False
        self.when_ready: Callable[[], None] = lambda: None
        self.when_impossible: Callable[[ConfigError], None] = lambda error: None

    def setServiceParent(self, parent: Any) -> None:
        """Under twistd the parent is where it looks for another log observer than its own."""
        if self._parts.printer is not None and hasattr(parent, "setComponent"):
            parent.setComponent(ILogObserver, self._parts.printer)
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]

    def begin_logging(self) -> None:
        """For who runs the daemon without twistd."""
        if self._parts.printer is not None:
            observers = [self._parts.printer]
            globalLogBeginner.beginLoggingTo(observers, discardBuffer=True, redirectStandardIO=False)

    # --- start ---------------------------------------------------------

    def startService(self) -> None:
        """Raises `ConfigError` when the socket cannot be had."""
        super().startService()  # type: ignore[no-untyped-call]
        try:
            self._start()
        except ConfigError as error:
            self.when_impossible(error)
            raise

    def _start(self) -> None:
        _raise_descriptor_limit()
        self._stopping = False
        self._parts.door.uids = own_uids()  # only now: twistd may have become another user
        self._claim = Claim(self._parts.socket)
        try:
            for attendant in self._parts.attendants:
                attendant.start()
            self._port = listen(self._reactor, self._parts.socket, self._parts.door)
            for listener in self._parts.listeners:
                listener.start()
        except BaseException:
            # Whoever started us may go on without us, so nothing stays behind.
            Deferred.fromCoroutine(self._give_up())
            self._claim.release()
            raise
        self._on_a_terminal = os.isatty(0)
        self._heed(signal.SIGHUP, self._hung_up)
        # A turn later, when the reactor also heeds signals: a SIGTERM may follow at once.
        self._reactor.callWhenRunning(self._reactor.callLater, 0, self._ready)

    def _ready(self) -> None:
        if self._port is None:
            return  # stopped already
        _log.info("serving on {addresses}", addresses=", ".join(self.listeners()))
        self.when_ready()
        self._parts.notify.ready()

    # --- reload --------------------------------------------------------

    def reload(self) -> str:
        """
        A sentence on what has been done.  Raises `ConfigError`, and everything
        stays as it was, when the new configuration cannot be used.
        """
        parts = self._parts
        config = parts.current.read_again()
        changes = self._prepare(config)
        waiting = parts.current.use(config)
        parts.directory.reload(config.served)
        parts.sessions.most = config.daemon.max_sessions
        parts.sessions.detailed = config.daemon.tells_all
        parts.door.handshake = config.deadlines.handshake
        for attendant in parts.attendants:
            attendant.reload()
        for change in changes:
            change.commit()
        if parts.printer is not None:
            parts.printer.use(config.daemon.log_format, config.daemon.log_level)
        sentence = f"{parts.current.plan.file or 'the command line'} is in effect for new sessions"
        if waiting:
            sentence += f"; {', '.join(waiting)} wait for the next start"
        _log.info("reloaded: {sentence}", sentence=sentence)
        return sentence

    def _prepare(self, config: Config) -> list[Change]:
        changes: list[Change] = []
        try:
            for listener in self._parts.listeners:
                changes.append(listener.prepare(config.listen))
        except BaseException:
            for change in changes:
                change.drop()
            raise
        return changes

    def _heed(self, number: signal.Signals, act: Callable[[], None]) -> None:
        """Until the daemon has stopped.  Signals come in the middle of anything, ``act`` is called later."""

        def come(*_: object) -> None:
            self._reactor.callFromThread(act)

        self._former_signals[number] = signal.signal(number, come)

    def _hung_up(self) -> None:
        if self._stopping:
            return
        if self._on_a_terminal and self._parts.current.plan.file is None:
            # Nothing to read again, and the terminal has been closed.
            self._reactor.stop()
            return
        try:
            self.reload()
        except AnnexdError as error:
            _log.error("not reloaded: {error}", error=str(error))

    def listeners(self) -> list[str]:
        """Where peers may come in."""
        if self._port is None:
            return []
        addresses = [f"unix:{self._parts.socket}"]
        for listener in self._parts.listeners:
            addresses += listener.addresses
        return addresses

    # --- stop ----------------------------------------------------------

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        """In this order nobody comes to a place that has been closed already."""
        parts = self._parts
        if self._port is None or self._claim is None:
            return
        self._stopping = True
        for number in (signal.SIGTERM, signal.SIGINT):
            self._heed(number, self._hurry)
        parts.notify.stopping()
        await self._stop_listening()
        for work in parts.background:
            await self._whatever_happens(work, work.stop())
        if len(parts.sessions):
            seconds = parts.current.deadlines.drain
            _log.info(
                "{count} sessions have {seconds:g} s to end", count=len(parts.sessions), seconds=seconds
            )
            await parts.sessions.drain(seconds)
        await self._whatever_happens(parts.door, parts.door.close())
        for listener in parts.listeners:
            await self._whatever_happens(listener, listener.close())
        await self._dismiss()
        await self._whatever_happens(parts.directory, parts.directory.close())
        parts.workers.stop()
        if parts.disks is not None:
            parts.disks.stop()
        self._claim.release()
        for number, former in self._former_signals.items():
            signal.signal(number, former)
        self._former_signals.clear()
        _log.info("stopped")

    async def _give_up(self) -> None:
        await self._stop_listening()
        await self._dismiss()

    async def _dismiss(self) -> None:
        for attendant in reversed(self._parts.attendants):
            await self._whatever_happens(attendant, attendant.stop())

    def _hurry(self) -> None:
        """Whoever says it twice does not want to wait."""
        if len(self._parts.sessions):
            _log.info("{count} sessions are cut off", count=len(self._parts.sessions))
            self._parts.sessions.hurry()

    async def _stop_listening(self) -> None:
        port, self._port = self._port, None
        stopping = None if port is None else port.stopListening()
        if stopping is not None:
            await stopping
        for listener in self._parts.listeners:
            await self._whatever_happens(listener, listener.stop())

    async def _whatever_happens(self, part: object, act: Coroutine[Any, Any, None]) -> None:
        """A bug there, or a disk that hangs, must not keep the other repositories from being closed."""
        try:
            await self._unless_a_disk_hangs(act)
        except CancelledError:
            raise
        except Hung as error:
            _log.warn("{part} is not waited for: {reason}", part=type(part).__name__, reason=str(error))
        except Exception:
            _log.failure("stopping {part}", part=type(part).__name__)

    async def _unless_a_disk_hangs(self, act: Coroutine[Any, Any, None]) -> None:
        """Whoever hangs with it has a moment more than those who only have been told of it."""
        acting = Deferred.fromCoroutine(act)
        disks = self._parts.disks
        left = _HUNG_S
        while disks is not None and not acting.called:
            await deferLater(self._reactor, _POLL_S)
            left = left - _POLL_S if disks.down else _HUNG_S
            if left <= 0 and not acting.called:
                acting.addErrback(lambda failure: None)
                raise Hung(disks.down)
        await acting


def _raise_descriptor_limit() -> None:
    """A session takes five, and 1024 are soon used up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError) as error:
            _log.warn("the limit of open files stays at {soft}: {error}", soft=soft, error=error)
