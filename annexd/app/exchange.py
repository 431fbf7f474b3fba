"""
Neighbour gateways tell each other where keys are: after each change the
git-annex branches go over the link that exists, and are merged at both ends as
git-annex merges them.  So what came in through one gateway is found through
another seconds later.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Protocol

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from annexd.app.running import run
from annexd.errors import AnnexdError, Unavailable
from annexd.repo.disks import refusing
from annexd.repo.git import BRANCH
from annexd.repo.local import Repository

_log = Logger()

_QUIET_S = 1.0
"""Changes come in bursts; the last of one is passed on this much later."""

_GIT_S = 120.0
_QUIETLY = (b"-q", b"--no-recurse-submodules")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 300.0


class Git(Protocol):
    async def __call__(self, arguments: Sequence[bytes]) -> None:
        """Run git in the gateway's repository.  Raises `Unavailable` with what it said."""


_OURS = re.compile(rb"GIT_(?!SSH|SSL|ASKPASS|ALLOW_PROTOCOL|CONFIG_(GLOBAL|SYSTEM|NOSYSTEM)$)")
"""What may have leaked from another git; the rest says how to reach others."""


def git_in(reactor: Any, git_dir: bytes, environ: Mapping[bytes, bytes], own_ssh: bool = False) -> Git:
    """``own_ssh``: git's config says what ssh is to be run, so we do not."""
    clean = {name: value for name, value in environ.items() if not _OURS.match(name)}
    clean |= {b"GIT_DIR": git_dir, b"GIT_TERMINAL_PROMPT": b"0", b"LC_ALL": b"C.UTF-8"}
    clean |= {b"SSH_ASKPASS_REQUIRE": b"never"}
    clean.setdefault(b"GIT_ASKPASS", b"")
    if not own_ssh and b"GIT_SSH" not in clean:
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
    their git remotes, asked for each time; when there are none it ends by
    itself.  ``over`` is called once, when it has ended.
    """

    def __init__(
        self,
        reactor: Any,
        repository: Repository,
        git: Git,
        neighbours: Callable[[], Sequence[str]],
        over: Callable[[], None] = lambda: None,
    ) -> None:
        self._reactor = reactor
        self._repository = repository
        self._git = git
        self._neighbours = neighbours
        self._over = over
        self._pauses: dict[str, float] = {}
        self._running: Deferred[None] | None = None

    def start(self) -> None:
        if self._running is None:
            running = self._running = Deferred.fromCoroutine(self._run())
            running.addErrback(self._failed)
            running.addBoth(lambda _: self._over())

    async def stop(self) -> None:
        """Takes a few seconds at most, for a git that does not hear."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            await running

    def _failed(self, failure: Failure) -> None:
        if isinstance(failure.value, AnnexdError):
            _log.warn("git-annex branches are not exchanged: {reason}", reason=str(failure.value))
        elif failure.check(CancelledError) is None:  # type: ignore[no-untyped-call]
            _log.failure("exchanging git-annex branches", failure)

    async def _run(self) -> None:
        follower = self._repository.changes.follow()
        which = await self._identity()
        while self._neighbours() and which == await self._identity():
            await self._round()
            await self._next_change(follower.next())
            await deferLater(self._reactor, _QUIET_S)

    async def _identity(self) -> tuple[int, int]:
        """Another one may have come to its place; raises `Refused` when it is gone."""
        with refusing():
            status = await self._repository.workers.disk.run(os.stat, self._repository.git_dir)
        return status.st_dev, status.st_ino

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
        meetings = [Deferred.fromCoroutine(self._meet_or_say_why(name)) for name in self._neighbours()]
        results: Any = await DeferredList(meetings, consumeErrors=True)  # of all, also when called off
        for met, result in results:
            if not met:
                result.raiseException()

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
        await self._git([b"fetch", *_QUIETLY, b"--no-tags", remote, b"+%b:%b" % (BRANCH, theirs), pushed])
        await self._repository.take_in()
        if not await self._repository.ledger.run(self._knows_all, theirs):
            await self._git([b"push", *_QUIETLY, remote, b"%b:refs/heads/synced/git-annex" % BRANCH])

    def _knows_all(self, theirs: bytes) -> bool:
        """For a thread: whether the branch that we have fetched has all that ours has."""
        refs = self._repository.git.refs()
        ours, other = refs.get(BRANCH), refs.get(theirs)
        return ours is None or (other is not None and self._repository.git.contains(other, ours))
