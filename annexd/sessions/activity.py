"""
What one session is doing, for whoever watches, and the one log event that
each request leaves behind.
"""

from __future__ import annotations

import time
from typing import Literal

from twisted.internet.interfaces import IReactorTime
from twisted.logger import LogEvent, Logger, LogLevel

_log = Logger(namespace="annexd.request")

Result = Literal["done", "failed", "refused", "lost"]
"""
``done``: as asked (an absent key that is reported absent is done, too).
``failed``: tried, and answered with a failure.  ``refused``: not tried.
``lost``: the peer or the place went away half way.
"""

_LEVELS = {"done": LogLevel.info, "failed": LogLevel.warn, "refused": LogLevel.warn, "lost": LogLevel.warn}

_FORMAT = "{verb} {key} by {principal} in {repository}: {result}"


class Activity:
    """
    One session: who, where, since when, and the request under way.

    ``begin``, ``moved`` and ``end`` are called for every request; times are
    seconds of ``clock``, which need not be those of the wall.
    """

    __slots__ = (
        "address",
        "began",
        "clock",
        "detailed",
        "id",
        "key",
        "moved_bytes",
        "node",
        "principal",
        "repository",
        "requests",
        "since",
        "total",
        "transport",
        "verb",
    )

    def __init__(
        self,
        clock: IReactorTime,
        id: int,
        principal: str,
        repository: bytes,
        transport: str = "ssh",
        address: str = "",
        node: bytes | None = None,
    ) -> None:
        self.clock = clock
        self.id = id
        self.principal = principal
        self.repository = repository
        self.transport = transport
        self.address = address
        self.node = node
        """The UUID of what it is for behind the repository, where a token says so."""
        self.since: float = clock.seconds()
        self.requests = 0
        self.detailed = False
        self.verb = ""
        """The request under way, as in ``GET``; empty between requests."""
        self.key = b""
        self.total: int | None = None
        self.moved_bytes = 0
        self.began = self.since

    def begin(self, verb: str, key: bytes = b"", total: int | None = None) -> None:
        """A request starts; one that never ended is reported as lost."""
        if self.verb:
            self.end("lost", "the next request came before this one had ended")
        self.verb = verb
        self.key = key
        self.total = total
        self.moved_bytes = 0
        self.began = self.clock.seconds()

    def checked(self, key: bytes, present: bool) -> None:
        """
        A CHECKPRESENT was answered.  Clients ask about every key they come
        by, so these are counted, and logged only where details are wanted.
        """
        self.requests += 1
        if self.detailed:
            self.begin("CHECKPRESENT", key)
            self.requests -= 1
            self.end("done", "present" if present else "absent")

    def moved(self, count: int) -> None:
        """``count`` more bytes of the content have come or gone."""
        self.moved_bytes += count

    def end(self, result: Result, reason: str = "") -> None:
        """The request is over; without one under way nothing happens."""
        if not self.verb:
            return
        self.requests += 1
        # As Logger.emit makes it, which takes longer to look whether there is such a level.
        event: LogEvent = {
            "log_logger": _log,
            "log_level": _LEVELS[result],
            "log_namespace": _log.namespace,
            "log_source": None,
            "log_format": _FORMAT,
            "log_time": time.time(),
            "session": self.id,
            "principal": self.principal,
            "repository": self.repository,
            "transport": self.transport,
            "address": self.address,
            "verb": self.verb,
            "key": self.key,
            "bytes": self.moved_bytes,
            "duration": self.clock.seconds() - self.began,
            "result": result,
            "reason": reason,
        }
        _log.observer(event)
        self.verb = ""
        self.key = b""
        self.total = None

    def rate(self) -> float:
        """Bytes per second of the request under way, on average since it began."""
        elapsed = self.clock.seconds() - self.began
        return self.moved_bytes / elapsed if self.verb and elapsed > 0 else 0.0
