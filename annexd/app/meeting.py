"""When a neighbour gateway is to be met, and what it is known to know."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Any, Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from annexd.app.tidings import Listen, Tidings
from annexd.errors import AnnexdError

_log = Logger()

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 300.0

_HEARD_S = 2.0
"""
From word of a change to a meeting: a neighbour that has us as a neighbour, too,
comes by itself within that time, and then nothing is left to be done.
"""

_MOST_KNOWN = 1000


class Neighbour:
    """
    Met by ``meet`` whenever that is due, every ``poll_s`` seconds (0: never)
    whether it is or not, and after a failure at longer and longer intervals.
    Nobody else waits for it.
    """

    def __init__(
        self,
        reactor: Any,
        name: str,
        meet: Callable[[Neighbour], Awaitable[None]],
        listen: Listen,
        poll_s: float,
    ) -> None:
        self.name = name
        self.look = True
        """What it has is to be fetched."""

        self._reactor = reactor
        self._meet = meet
        self._poll_s = poll_s
        self._news: set[bytes] = set()
        self._known: dict[bytes, None] = {}
        self._due = True
        self._waiting: Deferred[None] | None = None
        self._hearing: IDelayedCall | None = None
        self._tidings = Tidings(reactor, name, listen, self._begin_anew, self._heard)
        self._running = Deferred.fromCoroutine(self._run()).addErrback(self._failed)

    def due(self) -> None:
        """Something has changed here."""
        self._due = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    async def stop(self) -> None:
        if self._hearing is not None:
            self._hearing.cancel()
            self._hearing = None
        self._running.cancel()
        await self._tidings.stop()
        await self._running

    # --- what it knows ---------------------------------------------------

    @property
    def audible(self) -> bool:
        """Whether it would tell if something changed there."""
        return self._tidings.audible

    def knows(self, commit: bytes) -> bool:
        return commit in self._known

    def learn(self, commits: Iterable[bytes]) -> None:
        """It has these."""
        self._known |= dict.fromkeys(commits)
        for commit in list(self._known)[:-_MOST_KNOWN]:
            del self._known[commit]

    def take_news(self) -> set[bytes]:
        """What it has said that it has, since the last time."""
        news, self._news = self._news, set()
        return news

    def _begin_anew(self) -> None:
        """It may be another one than it was, or have been put back to what it was once."""
        self._known.clear()
        self.look = True
        self.due()

    def _heard(self, commits: tuple[bytes, ...]) -> None:
        if len(self._news) < _MOST_KNOWN:
            self._news.update(commits)
        if self._hearing is None:
            self._hearing = self._reactor.callLater(_HEARD_S, self._act)

    def _act(self) -> None:
        self._hearing = None
        self.due()

    # --- when it is met ----------------------------------------------------

    async def _run(self) -> None:
        pause = 0.0
        while True:
            if not self._due:
                await self._rest()
            self._due = False
            pause = await self._pause_after_meeting(pause)
            if pause:
                self._due = self.look = True
                await deferLater(self._reactor, pause)

    async def _rest(self) -> None:
        """Until it is due, or it is time."""
        self._waiting = Deferred()
        timer = self._reactor.callLater(self._poll_s, self._begin_anew) if self._poll_s else None
        try:
            await self._waiting
        finally:
            if timer is not None and timer.active():
                timer.cancel()

    async def _pause_after_meeting(self, former: float) -> float:
        """Seconds, for a meeting that failed."""
        try:
            await self._meet(self)
        except AnnexdError as error:
            if not former:
                _log.warn("what {name} knows is not exchanged: {reason}", name=self.name, reason=str(error))
            return min(former * 2, _LONGEST_PAUSE_S) or _FIRST_PAUSE_S
        if former:
            _log.info("what {name} knows is exchanged again", name=self.name)
        return 0.0

    def _failed(self, failure: Failure) -> None:
        if not isinstance(failure.value, CancelledError):
            _log.failure("exchanging git-annex branches with {name}", failure, name=self.name)
