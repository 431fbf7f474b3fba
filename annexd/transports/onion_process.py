"""A tor that annexd starts, listens to, and ends."""

from __future__ import annotations

import os
import re
import shutil
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from annexd.errors import Unavailable

_log = Logger()

_GRACE_S = 5.0
_LINE = re.compile(r"^\S+ \d+ [\d:.]+ \[(\w+)\] (.*)$")
_LONGEST_LINE = 4096
_ENVIRONMENT = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ")


class TorProcess(ProcessProtocol):
    """
    ``program`` with the file ``torrc``, from now on.  Raises `Unavailable`
    where there is no such program.
    """

    def __init__(self, reactor: Any, program: str, torrc: str) -> None:
        self._reactor = reactor
        self._rest = b""
        self._last = ""
        self._complaint = ""
        self._waiting: list[Deferred[None]] = []
        self._ended = False
        self._kill: IDelayedCall | None = None
        path = shutil.which(program, path=_places())
        if path is None:
            raise Unavailable(f"the program {program} is not installed (on Debian: apt-get install tor)")
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        # `--defaults-torrc`: the system's own is for the system's own.
        argv = [path, "--defaults-torrc", os.devnull, "-f", torrc]
        # Ctrl-C in a terminal is for annexd, which ends it in its turn.
        setsid = shutil.which("setsid", path=_places())
        if setsid is not None:
            argv.insert(0, setsid)
        self._transport: Any = reactor.spawnProcess(
            self, argv[0], argv, environment, childFDs={0: "w", 1: "r", 2: "r"}
        )
        self._transport.closeStdin()
        self.pid: int | None = self._transport.pid

    def check(self) -> None:
        """Raises `Unavailable` when it has ended."""
        if self._ended:
            raise Unavailable(f"tor has ended: {self._complaint or self._last or 'without a word'}")

    def leave(self) -> None:
        """Tell it to end, and see to it that it does."""
        if not self._ended and self._kill is None:
            self._signal("TERM")
            self._kill = self._reactor.callLater(_GRACE_S, self._signal, "KILL")

    async def end(self) -> None:
        """Until it is not there any more."""
        self.leave()
        if not self._ended:
            self._waiting.append(Deferred())
            await self._waiting[-1]

    def _signal(self, name: str) -> None:
        try:
            self._transport.signalProcess(name)
        except ProcessExitedAlready:
            pass  # it is about to be told to us

    # --- what it says --------------------------------------------------

    def outReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-_LONGEST_LINE:]
        for line in lines:
            self._hear(line.decode("utf-8", "backslashreplace").strip())

    errReceived = outReceived

    def _hear(self, line: str) -> None:
        found = _LINE.match(line)
        level, said = (found[1], found[2]) if found else ("notice", line)
        if not said:
            return
        self._last = said
        if level in ("warn", "err"):
            # The first of them is the cause, and the others are what comes of it.
            self._complaint = self._complaint or said
            _log.warn("tor: {said}", said=said)
        else:
            _log.debug("tor: {said}", said=said)

    def processExited(self, reason: Failure) -> None:
        """Not `processEnded`: what it may have started can keep its output open."""
        self._ended = True
        self.pid = None
        if self._kill is None:
            how = "" if reason.check(ProcessDone) else f": {reason.value}"  # type: ignore[no-untyped-call]
            _log.warn("tor has ended{how}", how=how)
        elif self._kill.active():
            self._kill.cancel()
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.called:
                one.callback(None)


def _places() -> str:
    """Debian has it in /usr/bin, others in places that a service's PATH may not have."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])
