"""
What the daemon knows about itself: its sessions, and the answers to `annexd
status` and `annexd reload`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from annexd import __version__
from annexd.app.logs import clean
from annexd.errors import AnnexdError, Unavailable
from annexd.sessions.activity import Activity

_log = Logger()


Stop = Callable[[str], None]
"""Ends a session now; what is under way is lost, for the reason given."""

_WAITING = ("", "NOTIFYCHANGE")
# Nothing is lost when a session ends while it does this.

_POLL_S = 0.05
_LAST_S = 5.0
# For a thread that moves bytes, or a disk, to come to an end.


class Sessions:
    """
    The sessions that are open; no more than ``most`` at a time.  With
    ``detailed`` they report also the requests that are too many to be of
    interest.
    """

    def __init__(self, clock: IReactorTime, most: int, detailed: bool = False) -> None:
        self.most = most
        self.detailed = detailed
        self._clock = clock
        self._open: dict[int, Activity] = {}
        self._stops: dict[int, Stop] = {}
        self._last_id = 0
        self._end = 0.0

    def open(
        self,
        principal: str,
        repository: bytes,
        transport: str,
        stop: Stop | None = None,
        address: str = "",
        node: bytes | None = None,
    ) -> Activity:
        """
        ``stop`` ends the session when the daemon does.  Raises `Unavailable`
        when there are too many.
        """
        if len(self._open) >= self.most:
            raise Unavailable(f"annexd serves {self.most} sessions already, try again later")
        self._last_id += 1
        activity = Activity(self._clock, self._last_id, principal, repository, transport, address, node)
        activity.detailed = self.detailed
        self._open[activity.id] = activity
        if stop is not None:
            self._stops[activity.id] = stop
        _log.debug(
            "#{session} {principal} comes to {repository} by {transport}",
            session=activity.id,
            principal=principal,
            repository=clean(repository),
            transport=transport,
        )
        return activity

    def close(self, activity: Activity, reason: str = "") -> None:
        """A request that is still under way is lost, for ``reason``."""
        if self._open.pop(activity.id, None) is None:
            return
        self._stops.pop(activity.id, None)
        activity.end("lost", reason or "the session ended")
        _log.debug(
            "#{session} {principal} leaves after {requests} requests {reason}",
            session=activity.id,
            principal=activity.principal,
            requests=activity.requests,
            reason=reason,
        )

    async def drain(self, seconds: float) -> None:
        """
        Stop the sessions that do nothing, and those that do something as soon
        as they have done it; when the time is over, all others.  Returns when
        they have ended, or do not end.
        """
        self._end = self._clock.seconds() + seconds
        while self._open and self._clock.seconds() < self._end + _LAST_S:
            over = self._clock.seconds() >= self._end
            for activity in self:
                if (over or activity.verb in _WAITING) and (stop := self._stops.pop(activity.id, None)):
                    stop("annexd stops")
            if self._open:
                await deferLater(self._clock, _POLL_S)

    def visits(self) -> set[tuple[str, bytes, bytes | None]]:
        """
        Principals, each with the name of a repository where it is, and the
        UUID of what it is for behind that.
        """
        return {(one.principal, one.repository, one.node) for one in self._open.values()}

    def stop(
        self, principal: str, reason: str, repository: bytes | None = None, node: bytes | None = None
    ) -> int:
        """
        End the sessions of ``principal``, all of them or those of one visit;
        how many there were.
        """
        stops = [
            stop
            for activity in self
            if activity.principal == principal
            and (repository is None or (repository, node) == (activity.repository, activity.node))
            and (stop := self._stops.get(activity.id))
        ]
        for stop in stops:
            stop(reason)
        if stops:
            _log.info(
                "{count} sessions of {principal} end: {reason}",
                count=len(stops),
                principal=clean(principal),
                reason=reason,
            )
        return len(stops)

    def hurry(self) -> None:
        """The time that `drain` gives is over now."""
        self._end = min(self._end, self._clock.seconds())

    def __iter__(self) -> Iterator[Activity]:
        return iter(list(self._open.values()))

    def __len__(self) -> int:
        return len(self._open)


Fields = Mapping[bytes, bytes]
"""Of a request through the socket."""

Request = Callable[[Fields], Awaitable[dict[str, Any]]]
"""Answers with a document; raises `AnnexdError` when it cannot."""


def _nothing() -> list[dict[str, Any]]:
    return []


class Control:
    """
    Answers what `annexd` asks through the socket, with JSON documents.
    ``listeners`` and ``repositories`` are asked each time, ``reload`` raises
    `AnnexdError` when the new configuration cannot be used, ``check_tokens``
    notices what has become of them, and ``where`` says what files are used.
    ``requests`` are what else can be asked, and ``ailing`` tells of the nodes
    that are not well.
    """

    def __init__(
        self,
        clock: IReactorTime,
        sessions: Sessions,
        listeners: Callable[[], list[str]],
        repositories: Callable[[], Mapping[bytes, int]],
        reload: Callable[[], str],
        check_tokens: Callable[[], Awaitable[None]],
        where: Callable[[], Mapping[str, Any]],
        requests: Mapping[bytes, Request] | None = None,
        ailing: Callable[[], list[dict[str, Any]]] = _nothing,
    ) -> None:
        self._clock = clock
        self._sessions = sessions
        self._listeners = listeners
        self._repositories = repositories
        self._reload = reload
        self._check_tokens = check_tokens
        self._where = where
        self._requests = requests or {}
        self._ailing = ailing
        self._since = clock.seconds()

    async def answer(self, kind: bytes, fields: Fields) -> bytes:
        """
        ``kind`` is ``status``, ``reload``, ``tokens``, ``where`` or one of
        the other requests; an object with ``error`` when it did not work.
        """
        try:
            match kind:
                case b"status":
                    document = self.status()
                case b"reload":
                    document = {"reloaded": self._reload()}
                case b"tokens":
                    await self._check_tokens()
                    document = {"checked": "tokens"}
                case b"where":
                    document = dict(self._where())
                case _ if kind in self._requests:
                    document = await self._requests[kind](fields)
                case _:
                    document = {"error": f"this daemon does not know the request {clean(kind)}"}
        except AnnexdError as error:
            document = {"error": str(error)}
        return json.dumps(document).encode() + b"\n"

    def status(self) -> dict[str, Any]:
        """Seconds, bytes, bytes per second."""
        now = self._clock.seconds()
        repositories = self._repositories()
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime": round(now - self._since, 3),
            "listeners": self._listeners(),
            "repositories": [{"path": clean(p), "uses": uses} for p, uses in sorted(repositories.items())],
            "sessions": [_described(activity, now) for activity in self._sessions],
            "nodes": self._ailing(),
        }


def _described(activity: Activity, now: float) -> dict[str, Any]:
    busy = bool(activity.verb)
    return {
        "id": activity.id,
        "principal": clean(activity.principal),
        "repository": clean(activity.repository),
        "transport": activity.transport,
        "since": round(now - activity.since, 3),
        "requests": activity.requests,
        "verb": activity.verb,
        "key": clean(activity.key),
        "bytes": activity.moved_bytes if busy else 0,
        "total": activity.total,
        "seconds": round(now - activity.began, 3) if busy else 0.0,
        "rate": round(activity.rate()),
    }
