"""
Neighbour gateways tell each other where keys are: after each change the
git-annex branches go over the link that exists, and are merged at both ends as
git-annex merges them.  So what came in through one gateway is found through
another seconds later.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Mapping, Sequence
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
_CHANCES = 4
_OUTRUN = "rejected]", "cannot lock ref"
"""What git says when somebody else has pushed to the neighbour since we have fetched from there."""

_WITHOUT_ADVICE = b"-c", b"advice.pushUpdateRejected=false"
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
        # It goes there by itself: where the disk hangs, whoever starts it must not.
        argv = (b"git", b"-C", git_dir, *_WITHOUT_ADVICE, *arguments)
        ended = await run(reactor, argv, cwd=b"/", environ=clean, seconds=_GIT_S)
        if ended.code:
            raise Unavailable(f"git {os.fsdecode(arguments[0])}: {ended.said or f'exit code {ended.code}'}")

    return git


def _failed(failure: Failure) -> None:
    if isinstance(failure.value, AnnexdError):
        _log.warn("git-annex branches are not exchanged: {reason}", reason=str(failure.value))
    elif failure.check(CancelledError) is None:  # type: ignore[no-untyped-call]
        _log.failure("exchanging git-annex branches", failure)


class _Neighbour:
    """
    Met by ``meet`` whenever that is due, and after a failure at longer and
    longer intervals.  Nobody else waits for it.
    """

    def __init__(self, reactor: Any, name: str, meet: Callable[[str], Awaitable[None]]) -> None:
        self._reactor = reactor
        self._name = name
        self._meet = meet
        self._due = True
        self._waiting: Deferred[None] | None = None
        self._running = Deferred.fromCoroutine(self._run()).addErrback(_failed)

    def due(self) -> None:
        self._due = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    async def stop(self) -> None:
        self._running.cancel()
        await self._running

    async def _run(self) -> None:
        pause = 0.0
        while True:
            if not self._due:
                self._waiting = Deferred()
                await self._waiting
            self._due = False
            pause = await self._pause_after_meeting(pause)
            if pause:
                self._due = True
                await deferLater(self._reactor, pause)

    async def _pause_after_meeting(self, former: float) -> float:
        """Seconds, for a meeting that failed."""
        try:
            await self._meet(self._name)
        except AnnexdError as error:
            if not former:
                _log.warn("what {name} knows is not exchanged: {reason}", name=self._name, reason=str(error))
            return min(former * 2, _LONGEST_PAUSE_S) or _FIRST_PAUSE_S
        if former:
            _log.info("what {name} knows is exchanged again", name=self._name)
        return 0.0


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
        self._known: dict[str, _Neighbour] = {}
        self._running: Deferred[None] | None = None

    def start(self) -> None:
        if self._running is None:
            running = self._running = Deferred.fromCoroutine(self._run())
            running.addErrback(_failed)
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
        which = await self._identity()
        while (names := self._neighbours()) and which == await self._identity():
            for name in self._known.keys() - names:
                await self._known.pop(name).stop()
            for name in names:
                if name in self._known:
                    self._known[name].due()
                else:
                    self._known[name] = _Neighbour(self._reactor, name, self._meet)
            await follower.next()
            await deferLater(self._reactor, _QUIET_S)

    async def _identity(self) -> tuple[int, int]:
        """Another one may have come to its place; raises `Refused` when it is gone."""
        with refusing():
            status = await self._repository.workers.disk.run(os.stat, self._repository.git_dir)
        return status.st_dev, status.st_ino

    async def _meet(self, name: str) -> None:
        """Take what the neighbour has, and give it what it lacks; again where others did so meanwhile."""
        for chance in range(_CHANCES - 1, -1, -1):
            try:
                await self._take_and_give(name)
            except Unavailable as error:
                if not chance or not any(word in str(error) for word in _OUTRUN):
                    raise
            else:
                return

    async def _take_and_give(self, name: str) -> None:
        remote = os.fsencode(name)
        theirs = b"refs/remotes/%b/git-annex" % remote
        pushed = b"+refs/heads/synced/git-annex*:refs/remotes/%b/synced/git-annex*" % remote  # there, or not
        await self._git([b"fetch", *_QUIETLY, b"--no-tags", remote, b"+%b:%b" % (BRANCH, theirs), pushed])
        await self._repository.take_in()
        if not await self._repository.ledger.run(self._knows_all, theirs):
            refs = b"%b:refs/heads/synced/git-annex" % BRANCH
            await self._git([b"push", *_QUIETLY, remote, refs])

    def _knows_all(self, theirs: bytes) -> bool:
        """
        For a thread: whether the branch that we have fetched has all that ours
        has.  Where both have come to the same by merging, neither need tell the other.
        """
        git = self._repository.git
        refs = git.refs()
        ours, other = refs.get(BRANCH), refs.get(theirs)
        if ours is None:
            return True
        return other is not None and (git.contains(other, ours) or git.same_tree(other, ours))
