"""
Neighbour gateways tell each other where keys are: after each change the
git-annex branches go over the link that exists, and are merged at both ends as
git-annex merges them.  So what came in through one gateway is found through
another seconds later.

A neighbour that tells of its changes is asked for what it has only when it has
something that is not here, and is given what it has not been seen to have.
One that does not is asked whenever something changes here, and from time to time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Callable, Protocol

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from annexd.app.meeting import Neighbour
from annexd.app.tidings import Listen
from annexd.errors import AnnexdError, Unavailable
from annexd.repo.disks import refusing
from annexd.repo.git import BRANCH
from annexd.repo.local import Repository

_log = Logger()

_QUIET_S = 1.0
"""Changes come in bursts; the last of one is passed on this much later."""

_CHANCES = 4
_OUTRUN = "rejected]", "cannot lock ref"
"""What git says when the neighbour has more than we knew: somebody else has pushed there since."""


class Git(Protocol):
    """In the gateway's repository.  Raises `Unavailable` with what git said."""

    async def fetch(self, remote: str, *refspecs: bytes) -> None: ...

    async def push(self, remote: str, *refspecs: bytes) -> None: ...


def tell_failed(failure: Failure) -> None:
    """As a callback, for whatever is done for the exchange."""
    if isinstance(failure.value, AnnexdError):
        _log.warn("git-annex branches are not exchanged: {reason}", reason=str(failure.value))
    elif not isinstance(failure.value, CancelledError):
        _log.failure("exchanging git-annex branches", failure)


class Exchange:
    """
    Of one gateway, from `start` to `stop`.  ``neighbours`` are the names of
    their git remotes, asked for each time; when there are none it ends by
    itself.  ``over`` is called once, when it has ended.  ``poll_s``: see
    `Neighbour`.
    """

    def __init__(
        self,
        reactor: Any,
        repository: Repository,
        git: Git,
        neighbours: Callable[[], Sequence[str]],
        listen: Listen,
        *,
        poll_s: float = 0.0,
        over: Callable[[], None] = lambda: None,
    ) -> None:
        self._reactor = reactor
        self._repository = repository
        self._git = git
        self._neighbours = neighbours
        self._listen = listen
        self._poll_s = poll_s
        self._over = over
        self._known: dict[str, Neighbour] = {}
        self._running: Deferred[None] | None = None

    def start(self) -> None:
        if self._running is None:
            running = self._running = Deferred.fromCoroutine(self._run())
            running.addErrback(tell_failed)
            running.addBoth(lambda _: self._over())

    async def stop(self) -> None:
        """Takes a few seconds at most, for a git that does not hear."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            await running

    async def _run(self) -> None:
        try:
            await self._follow()
        finally:
            known, self._known = self._known, {}
            endings = [Deferred.fromCoroutine(neighbour.stop()) for neighbour in known.values()]
            await DeferredList(endings, consumeErrors=True)

    async def _follow(self) -> None:
        follower = self._repository.changes.follow()
        await follower.begin()
        which = await self._identity()
        while (names := self._neighbours()) and which == await self._identity():
            for name in self._known.keys() - names:
                await self._known.pop(name).stop()
            for name in names:
                if name in self._known:
                    self._known[name].due()
                else:
                    self._known[name] = self._met(name)
            await follower.next()
            await deferLater(self._reactor, _QUIET_S)

    def _met(self, name: str) -> Neighbour:
        return Neighbour(self._reactor, name, self._meet, self._listen, self._poll_s)

    async def _identity(self) -> tuple[int, int]:
        """Another one may have come to its place; raises `Refused` when it is gone."""
        with refusing():
            status = await self._repository.workers.disk.run(os.stat, self._repository.git_dir)
        return status.st_dev, status.st_ino

    async def _meet(self, neighbour: Neighbour) -> None:
        """Take what the neighbour has, and give it what it lacks; again where others did so meanwhile."""
        await self._learn(neighbour)
        if not neighbour.audible:
            neighbour.look = True
        for chance in range(_CHANCES - 1, -1, -1):
            try:
                await self._take_and_give(neighbour)
            except Unavailable as error:
                if not chance or not any(word in str(error) for word in _OUTRUN):
                    raise
                neighbour.look = True
            else:
                return

    async def _learn(self, neighbour: Neighbour) -> None:
        """What it says that it has and is here: nothing need be done about that."""
        news = neighbour.take_news()
        if news:
            lacking = await self._repository.ledger.run(self._repository.git.lacking, news)
            neighbour.learn(news - lacking)
            neighbour.look = neighbour.look or bool(lacking)

    async def _take_and_give(self, neighbour: Neighbour) -> None:
        untold = None
        if not neighbour.look:
            untold = await self._merged(neighbour)
            if untold is None:
                return
            # It may have merged the same: without a look both would go on merging each other's merges.
            neighbour.look = await self._repository.ledger.run(self._repository.git.is_merge, untold)
        if neighbour.look:
            await self._take(neighbour)
            untold = await self._merged(neighbour)
        if untold is not None:
            await self._git.push(neighbour.name, b"%b:refs/heads/synced/git-annex" % untold)
            neighbour.learn((untold,))

    async def _take(self, neighbour: Neighbour) -> None:
        theirs = _fetched(neighbour)
        remote = os.fsencode(neighbour.name)
        pushed = b"+refs/heads/synced/git-annex*:refs/remotes/%b/synced/git-annex*" % remote  # there, or not
        neighbour.look = False
        try:
            await self._git.fetch(neighbour.name, b"+%b:%b" % (BRANCH, theirs), pushed)
        except BaseException:
            neighbour.look = True
            raise

    async def _merged(self, neighbour: Neighbour) -> bytes | None:
        """Where the branch is when all is merged; `None` where the neighbour knows all that it says."""
        await self._repository.take_in()
        return await self._repository.ledger.run(self._untold, neighbour)

    def _untold(self, neighbour: Neighbour) -> bytes | None:
        """
        For a thread.  Where both have come to the same by merging, neither
        need tell the other.
        """
        git = self._repository.git
        refs = git.refs()
        ours, theirs = refs.get(BRANCH), refs.get(_fetched(neighbour))
        if ours is None or neighbour.knows(ours):
            return None
        if theirs is not None and (git.contains(theirs, ours) or git.same_tree(theirs, ours)):
            return None
        return ours


def _fetched(neighbour: Neighbour) -> bytes:
    return b"refs/remotes/%b/git-annex" % os.fsencode(neighbour.name)
