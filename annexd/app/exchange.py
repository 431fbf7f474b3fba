"""
Neighbour gateways tell each other where keys are: after each change the
git-annex branches go over the link that exists, and are merged at both ends as
git-annex merges them.  So what came in through one gateway is found through
another seconds later.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Protocol

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.logger import Logger

from annexd.app.running import run
from annexd.errors import AnnexdError, Unavailable
from annexd.repo.git import BRANCH
from annexd.repo.local import Repository

_log = Logger()

_QUIET_S = 1.0
"""Changes come in bursts; the last of one is passed on this much later."""

_GIT_S = 120.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 300.0


class Git(Protocol):
    async def __call__(self, arguments: Sequence[bytes]) -> None:
        """Run git in the gateway's repository.  Raises `Unavailable` with what it said."""


def git_in(reactor: Any, git_dir: bytes, environ: Mapping[bytes, bytes]) -> Git:
    clean = {name: value for name, value in environ.items() if not name.startswith(b"GIT_DIR")}
    clean |= {b"GIT_DIR": git_dir, b"GIT_TERMINAL_PROMPT": b"0", b"LC_ALL": b"C.UTF-8"}
    clean.setdefault(b"GIT_SSH_COMMAND", b"ssh -o BatchMode=yes -o ConnectTimeout=15")

    async def git(arguments: Sequence[bytes]) -> None:
        argv = (b"git", *arguments)
        ended = await run(reactor, argv, cwd=git_dir, environ=clean, seconds=_GIT_S)
        if ended.code:
            raise Unavailable(f"git {os.fsdecode(arguments[0])}: {ended.said or f'exit code {ended.code}'}")

    return git


class Exchange:
    """
    Of one gateway, from `start` to `stop`.  ``neighbours`` are the names of
    their git remotes, asked for each time.
    """

    def __init__(
        self,
        reactor: Any,
        repository: Repository,
        git: Git,
        neighbours: Callable[[], Sequence[str]],
    ) -> None:
        self._reactor = reactor
        self._repository = repository
        self._git = git
        self._neighbours = neighbours
        self._pauses: dict[str, float] = {}
        self._running: Deferred[None] | None = None

    def start(self) -> None:
        if self._running is None:
            self._running = Deferred.fromCoroutine(self._run())
            self._running.addErrback(self._ended)

    async def stop(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            await running

    def _ended(self, failure: Any) -> None:
        self._running = None
        if failure.check(CancelledError) is None:
            _log.failure("exchanging git-annex branches", failure)

    async def _run(self) -> None:
        follower = self._repository.changes.follow()
        while True:
            await self._round()
            await self._next_change(follower.next())
            await deferLater(self._reactor, _QUIET_S)

    async def _next_change(self, change: Any) -> None:
        """Or until it is time to try again what did not work."""
        pauses = [pause for name, pause in self._pauses.items() if name in self._neighbours()]
        waiting = Deferred.fromCoroutine(change)
        timer = self._reactor.callLater(min(pauses), waiting.cancel) if pauses else None
        try:
            await waiting
        except CancelledError:
            if timer is None or timer.active():
                raise
        finally:
            if timer is not None and timer.active():
                timer.cancel()

    async def _round(self) -> None:
        await DeferredList(
            [Deferred.fromCoroutine(self._meet_or_say_why(name)) for name in self._neighbours()],
            fireOnOneErrback=True,
            consumeErrors=True,
        )

    async def _meet_or_say_why(self, name: str) -> None:
        try:
            await self._meet(name)
        except AnnexdError as error:
            if name not in self._pauses:
                _log.warn("what {name} knows is not exchanged: {reason}", name=name, reason=str(error))
            pause = self._pauses.get(name, _FIRST_PAUSE_S / 2)
            self._pauses[name] = min(pause * 2, _LONGEST_PAUSE_S)
        else:
            if self._pauses.pop(name, None) is not None:
                _log.info("what {name} knows is exchanged again", name=name)

    async def _meet(self, name: str) -> None:
        """Take what the neighbour has, and give it what it lacks."""
        remote = os.fsencode(name)
        theirs = b"refs/remotes/%b/git-annex" % remote
        pushed = b"+refs/heads/synced/git-annex*:refs/remotes/%b/synced/git-annex*" % remote  # there, or not
        await self._git([b"fetch", b"-q", b"--no-tags", remote, b"+%b:%b" % (BRANCH, theirs), pushed])
        await self._repository.take_in()
        if not await self._repository.ledger.run(self._knows_all, theirs):
            await self._git([b"push", b"-q", remote, b"%b:refs/heads/synced/git-annex" % BRANCH])

    def _knows_all(self, theirs: bytes) -> bool:
        """For a thread: whether the branch that we have fetched has all that ours has."""
        refs = self._repository.git.refs()
        ours, other = refs.get(BRANCH), refs.get(theirs)
        return ours is None or (other is not None and self._repository.git.contains(other, ours))
