"""
Who came, what they changed and what they were not let do: JSON lines in a
file of their own, beside the log.

What is written are log events: those of the namespace ``annexd.audit``, and
of the requests those that change something or were refused.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from typing import Any

from twisted.logger import ILogObserver, LogEvent, Logger, LogPublisher
from zope.interface import implementer

from annexd.app.logs import REQUEST, clean, moment

AUDIT = "annexd.audit"
"""
The namespace of events with ``event``, and any of the fields below.  Logger
calls give a sentence, too: at debug where the log has another line about it.
"""

_FIELDS = ("principal", "address", "transport", "repository", "key", "bytes", "result", "reason")
_CHANGES = frozenset(("PUT", "REMOVE", "REMOVE-BEFORE"))
_PUSH = b"git-receive-pack"

_log = Logger()


def record(event: LogEvent) -> dict[str, Any] | None:
    """What the audit says of an event; `None` for most."""
    namespace = event.get("log_namespace")
    if namespace == AUDIT:
        return _record(event, event["event"])
    if namespace != REQUEST:
        return None
    verb = event["verb"]
    if verb == "CONNECT":
        # What stands for the key is the service.
        if event["key"] == _PUSH or event["result"] == "refused":
            return {**_record(event, clean(event["key"])), "key": ""}
    elif verb in _CHANGES or event["result"] == "refused":
        return _record(event, verb)
    return None


def _record(event: LogEvent, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {"time": moment(event), "event": name}
    for field in _FIELDS:
        value = event.get(field, 0 if field == "bytes" else "")
        found[field] = value if isinstance(value, int) else clean(value)
    if "command" in event:
        found["command"] = clean(event["command"])
    return found


class AuditFile:
    """Lines are appended whole, also by several processes; whoever renames the file gets a new one made."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1
        self._identity: tuple[int, int] | None = None
        self._torn = False

    def open(self) -> None:
        """Raises `OSError`."""
        try:
            named = os.stat(self.path)
            if self._identity == (named.st_dev, named.st_ino):
                return
        except FileNotFoundError:
            pass
        self.close()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        self._fd = os.open(self.path, flags, 0o640)
        status = os.fstat(self._fd)
        self._identity = (status.st_dev, status.st_ino)

    def write(self, document: dict[str, Any]) -> None:
        """Raises `OSError`."""
        self.open()
        line = b"\n" * self._torn + json.dumps(document).encode() + b"\n"
        self._torn = os.write(self._fd, line) != len(line)
        if self._torn:
            raise OSError(errno.ENOSPC, "only a part of a line was written")

    def close(self) -> None:
        fd, self._fd, self._identity = self._fd, -1, None
        if fd >= 0:
            os.close(fd)


@implementer(ILogObserver)
class Audit:
    """
    Watches what ``publisher`` tells.  ``configured`` is asked for the path at
    the start and at each reload; without one nothing is written.
    """

    def __init__(self, publisher: LogPublisher, configured: Callable[[], str | None]) -> None:
        self._publisher = publisher
        self._configured = configured
        self._file: AuditFile | None = None
        self._failing = False
        self._lost = 0

    def start(self) -> None:
        self._publisher.addObserver(self)
        self.reload()

    def reload(self) -> None:
        path = self._configured()
        if self._file is not None and self._file.path != path:
            self._file.close()
            self._file = None
        if path is not None and self._file is None:
            self._file = AuditFile(path)
        if self._file is not None:
            self._try(self._file.open)

    async def stop(self) -> None:
        self._publisher.removeObserver(self)
        if self._file is not None:
            self._file.close()
            self._file = None

    def __call__(self, event: LogEvent) -> None:
        if self._file is None:
            return
        document = record(event)
        if document is not None and not self._try(self._file.write, document):
            self._lost += 1

    def _try(self, act: Callable[..., None], *arguments: Any) -> bool:
        """The service goes on without an audit; the log says so, once."""
        assert self._file is not None
        path = self._file.path
        try:
            act(*arguments)
        except OSError as error:
            if not self._failing:
                self._failing = True
                _log.error("nothing is written to the audit {file}: {error}", file=path, error=error.strerror)
            return False
        if self._failing:
            self._failing = False
            _log.warn("the audit {file} is written again, without {lost} events", file=path, lost=self._lost)
            self._lost = 0
        return True
