"""
Log events as lines: for people, or as JSON objects for programs.

What comes from clients may contain anything, so nothing reaches a line that a
terminal could take for a command or a reader for another line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import IO, Any

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

LEVELS = {"debug": LogLevel.debug, "info": LogLevel.info, "warn": LogLevel.warn, "error": LogLevel.error}
_ORDER = {level: rank for rank, level in enumerate(LogLevel.iterconstants())}
_NAMES = {level: level.name for level in LogLevel.iterconstants()}
_PRIORITIES = {"debug": 7, "info": 6, "warn": 4, "error": 3, "critical": 2}
# What journald makes of a line that begins with <6>.

REQUEST = "annexd.request"
_REQUEST_FIELDS = (
    "session",
    "principal",
    "repository",
    "transport",
    "address",
    "verb",
    "key",
    "bytes",
    "result",
    "reason",
)

Format = Callable[[LogEvent], str]


def clean(value: object) -> str:
    """As text that is safe to show: control characters and odd bytes are spelled out."""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return text if text.isprintable() else "".join(map(_spelled, text))


def _spelled(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


class Lines:
    """One format of lines, ``human`` or ``json``; ``journal`` leaves the time to whoever collects them."""

    def __init__(self, name: str, journal: bool = False) -> None:
        self._format: Format = _json if name == "json" else self._human
        self._journal = journal

    def line(self, event: LogEvent) -> str:
        """With its LF; a traceback takes more lines in the format for people."""
        return self._format(event) + "\n"

    def _human(self, event: LogEvent) -> str:
        level = _NAMES[event["log_level"]]
        if self._journal:
            prefix = f"<{_PRIORITIES[level]}>"
        else:
            prefix = f"{moment(event)} {level:<5} "
        text = _request(event) if event.get("log_namespace") == REQUEST else clean(formatEvent(event))
        lines = [text, *_traceback(event)]
        return "\n".join(prefix + line for line in lines)


@implementer(ILogObserver)
class Printer:
    """
    Writes what is at ``level`` or above; of what libraries say only warnings
    and worse, unless everything is wanted.
    """

    def __init__(self, output: IO[str], log_format: str, level: str = "info", journal: bool = False) -> None:
        self._output = output
        self._journal = journal
        self.use(log_format, level)

    def use(self, log_format: str, level: str) -> None:
        """From now on."""
        self._lines = Lines(log_format, self._journal)
        self._least = _ORDER[LEVELS[level]]
        self._least_foreign = self._least if level == "debug" else max(self._least, _ORDER[LogLevel.warn])

    def __call__(self, event: LogEvent) -> None:
        own = event.get("log_namespace", "").startswith("annexd")
        level = event.get("log_level", LogLevel.info)
        if _ORDER[level] < (self._least if own else self._least_foreign):
            return
        try:
            self._output.write(self._lines.line(event))
            self._output.flush()
        except (OSError, ValueError):
            # A full disk or a reader that left must not end the sessions.
            pass


def printer(log_format: str, level: str, environ: Mapping[str, str], output: IO[str]) -> Printer:
    """``environ`` says whether the journal is at the other end."""
    return Printer(output, log_format, level, _is_journal(output, environ.get("JOURNAL_STREAM", "")))


def _is_journal(output: IO[str], stream: str) -> bool:
    """``stream`` is the device and the inode of what systemd gave to the first process."""
    try:
        status = os.fstat(output.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"


def _request(event: LogEvent) -> str:
    parts = [f"#{event['session']}", clean(event["principal"]) or "-", event["verb"]]
    if event["key"]:
        parts.append(clean(event["key"]))
    text = f"{' '.join(parts)} in {clean(event['repository'])}: {event['result']}"
    if event["bytes"]:
        text += f", {event['bytes']} bytes"
    text += f" in {event['duration']:.3f} s"
    return f"{text}: {clean(event['reason'])}" if event["reason"] else text


def _json(event: LogEvent) -> str:
    """Every value is text or a number; a line has no control character."""
    found: dict[str, Any] = {"time": moment(event), "level": _NAMES[event["log_level"]]}
    if event.get("log_namespace") == REQUEST:
        found["event"] = "request"
        for name in _REQUEST_FIELDS:
            value = event[name]
            found[name] = value if isinstance(value, int) else clean(value)
        found["duration"] = round(event["duration"], 6)
    else:
        found["event"] = event.get("log_namespace", "")
        found["text"] = clean(formatEvent(event))
        if lines := _traceback(event):
            found["traceback"] = "\n".join(lines)
    return json.dumps(found)


def _traceback(event: LogEvent) -> list[str]:
    failure = event.get("log_failure")
    if failure is None:
        return []
    return [f"    {clean(line)}" for line in failure.getTraceback().splitlines()]


def moment(event: LogEvent) -> str:
    """ISO 8601, in UTC."""
    second, microsecond = divmod(round(event["log_time"] * 1_000_000), 1_000_000)
    return f"{_second(second)}.{microsecond:06}Z"


@lru_cache(maxsize=1)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
