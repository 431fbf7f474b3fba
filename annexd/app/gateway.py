"""The daemon's life: it starts, reads its configuration again, and stops."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import ILogObserver, Logger, globalLogBeginner

from annexd.app.admin import Sessions
from annexd.app.logs import Printer
from annexd.app.notify import Notify
from annexd.app.plan import Current
from annexd.app.sockets import Claim
from annexd.errors import AnnexdError
from annexd.flow.workers import ThreadedWorkers
from annexd.router.directory import Directory
from annexd.transports.handoff import Door, listen

_log = Logger()


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


class Gateway(Service):
    """
    The daemon as a Twisted service.  ``reactor`` has times, threads and unix
    sockets; ``when_ready`` is called when clients may come.
    """

    def __init__(self, reactor: Any, parts: Parts) -> None:
        self._reactor = reactor
        self._parts = parts
        self._claim: Claim | None = None
        self._port: IListeningPort | None = None
        self._former_hangup: Any = None
        self.when_ready: Callable[[], None] = lambda: None

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
        _raise_descriptor_limit()
        self._claim = Claim(self._parts.socket)
        try:
            self._port = listen(self._reactor, self._parts.socket, self._parts.door)
        except BaseException:
            self._claim.release()
            raise
        self._parts.workers.start()
        self._former_hangup = signal.signal(signal.SIGHUP, self._hung_up)
        # A turn later, when the reactor also heeds signals: a SIGTERM may follow at once.
        self._reactor.callWhenRunning(self._reactor.callLater, 0, self._ready)

    def _ready(self) -> None:
        if self._port is None:
            return  # stopped already
        _log.info("serving on {socket}", socket=self._parts.socket)
        self.when_ready()
        self._parts.notify.ready()

    # --- reload --------------------------------------------------------

    def reload(self) -> str:
        """
        A sentence on what has been done.  Raises `ConfigError`, and everything
        stays as it was, when the new configuration cannot be used.
        """
        parts = self._parts
        waiting = parts.current.read_again()
        config = parts.current.config
        parts.directory.reload(config.served)
        parts.sessions.most = config.daemon.max_sessions
        parts.sessions.detailed = config.daemon.log_level == "debug"
        parts.door.handshake = config.deadlines.handshake
        if parts.printer is not None:
            parts.printer.use(config.daemon.log_format, config.daemon.log_level)
        sentence = f"{parts.current.plan.file or 'the command line'} is in effect for new sessions"
        if waiting:
            sentence += f"; {', '.join(waiting)} wait for the next start"
        _log.info("reloaded: {sentence}", sentence=sentence)
        return sentence

    def _hung_up(self, *_: object) -> None:
        """In the middle of anything, as signals come."""
        self._reactor.callFromThread(self._reload_or_say_why_not)

    def _reload_or_say_why_not(self) -> None:
        try:
            self.reload()
        except AnnexdError as error:
            _log.error("not reloaded: {error}", error=str(error))

    def listeners(self) -> list[str]:
        return [] if self._port is None else [f"unix:{self._parts.socket}"]

    # --- stop ----------------------------------------------------------

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        """In this order nobody comes to a place that has been closed already."""
        parts = self._parts
        if self._port is None or self._claim is None:
            return
        port, self._port = self._port, None
        signal.signal(signal.SIGHUP, self._former_hangup)
        parts.notify.stopping()
        await _listening_stopped(port)
        if len(parts.sessions):
            seconds = parts.current.deadlines.drain
            _log.info(
                "{count} sessions have {seconds:g} s to end", count=len(parts.sessions), seconds=seconds
            )
            await parts.sessions.drain(seconds)
        await parts.door.close()
        await parts.directory.close()
        parts.workers.stop()
        self._claim.release()
        _log.info("stopped")


async def _listening_stopped(port: IListeningPort) -> None:
    stopping = port.stopListening()
    if stopping is not None:
        await stopping


def _raise_descriptor_limit() -> None:
    """A session takes five, and 1024 are soon used up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError) as error:
            _log.warn("the limit of open files stays at {soft}: {error}", soft=soft, error=error)
