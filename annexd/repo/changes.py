"""
Which references of a repository have moved.

One inotify instance per repository, shared by all who wait and there only
while somebody waits.  An event is no more than a reason to read the
references again: what is announced is the difference between two readings,
so that nothing is missed between two waits of the same `Follower`.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, Callable, Protocol

from twisted.internet import inotify
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.python.filepath import FilePath

from annexd.errors import PeerLost, Stalled
from annexd.flow.signal import Signal
from annexd.flow.workers import Pool

Refs = Mapping[bytes, bytes]

_SETTLE_S = 0.1  # a push moves several references, one after the other
_POLL_S = 5.0  # where the kernel has no watches left
_LOOK_AGAIN_S = 60.0  # on network file systems others make changes that inotify does not see
_MOST_AT_ONCE = 500  # of 41 bytes each: a line of the protocol has 32767 at most
_EVENTS = inotify.IN_CREATE | inotify.IN_MOVED_TO | inotify.IN_CLOSE_WRITE


class Watch(Protocol):
    def watch(self, directories: list[bytes]) -> None:
        """Watch these too; what is gone does not matter.  Raises `OSError` when there is no room for more."""

    def close(self) -> None: ...


class Changes:
    """
    ``refs`` reads the references of the repository whose (common) git
    directory is ``git_dir``; ``open_watch`` makes a `Watch` that calls its
    argument with the path of whatever was touched, or raises `OSError`.
    """

    def __init__(
        self,
        git_dir: bytes,
        refs: Callable[[], Awaitable[Refs]],
        open_watch: Callable[[Callable[[bytes], None]], Watch],
        clock: IReactorTime,
        disk: Pool,
    ) -> None:
        self._git_dir = git_dir
        self._refs = refs
        self._open_watch = open_watch
        self._clock = clock
        self._disk = disk
        self._waiters: dict[_Waiter, None] = {}
        self._running = False
        self._seen: Refs | None = None
        self._touched = False
        self._signal = Signal(clock)

    def follow(self) -> Follower:
        """For one peer, that will wait again and again."""
        return Follower(self)

    async def now(self) -> Refs:
        """The references as they are."""
        return await self._refs()

    async def next(self) -> tuple[bytes, ...]:
        """Wait until references move; the names of the objects that they are at now, in hex."""
        return (await self.after(None)).objects

    async def after(self, since: Refs | None) -> News:
        """The same, for references that are not (or no longer) as in ``since``; `None`: as now."""
        waiter = _Waiter(since)
        self._waiters[waiter] = None
        if not self._running:
            self._running = True
            Deferred.fromCoroutine(self._run()).addErrback(self._fail)
        elif self._seen is not None:
            waiter.offer(self._seen)
        try:
            return await waiter.news
        finally:
            self._waiters.pop(waiter, None)
            if not self._waiters:
                self._signal.wake()

    async def _run(self) -> None:
        self._signal = Signal(self._clock)
        watch: Watch | None = None
        try:
            watch = self._opened()
            while self._waiters:
                self._touched = False
                watch = await self._watch_all(watch)
                self._seen = await self._refs()
                for waiter in list(self._waiters):
                    waiter.offer(self._seen)
                await self._until_touched(_LOOK_AGAIN_S if watch else _POLL_S)
        finally:
            self._running, self._seen = False, None
            self._signal.fail(PeerLost("nobody waits for changes"))
            if watch is not None:
                watch.close()

    def _opened(self) -> Watch | None:
        try:
            return self._open_watch(self._notice)
        except OSError:
            return None

    async def _watch_all(self, watch: Watch | None) -> Watch | None:
        """Before the references are read, so that nothing falls between; without watches there is polling."""
        if watch is not None:
            try:
                watch.watch(await self._disk.run(_directories, self._git_dir))
            except OSError:
                watch.close()
                return None
        return watch

    async def _until_touched(self, seconds: float) -> None:
        end = self._clock.seconds() + seconds
        while self._waiters and not self._touched and self._clock.seconds() < end:
            try:
                await self._signal.wait(end - self._clock.seconds(), "no reference moved")
            except Stalled:
                return
        if self._waiters:
            await deferLater(self._clock, _SETTLE_S)

    def _notice(self, path: bytes) -> None:
        directory, name = os.path.split(path)
        if name.endswith(b".lock") or (directory == self._git_dir and name != b"packed-refs"):
            return
        self._touched = True
        self._signal.wake()

    def _fail(self, failure: Failure) -> None:
        for waiter in list(self._waiters):
            waiter.news.errback(failure)


class Follower:
    """Waits for changes on behalf of one peer; what happens between two waits is not missed."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._seen: Refs | None = None

    async def begin(self) -> None:
        """What happens from now on, before the first wait too, is not missed either."""
        self._seen = await self._changes.now()

    async def next(self) -> tuple[bytes, ...]:
        news = await self._changes.after(self._seen)
        self._seen = news.refs
        return news.objects


@dataclass(frozen=True, slots=True)
class News:
    """``refs`` are the references as they are known to whoever has heard of ``objects``."""

    objects: tuple[bytes, ...]
    refs: Refs


class _Waiter:
    def __init__(self, since: Refs | None) -> None:
        self._since = since
        self.news: Deferred[News] = Deferred()

    def offer(self, refs: Refs) -> None:
        if self._since is None:
            self._since = refs
        news = difference(self._since, refs)
        if news.objects and not self.news.called:
            self.news.callback(news)


def difference(old: Refs, new: Refs) -> News:
    """What is new; a deleted reference is no news.  Of very much, a part: the rest is still news then."""
    if old is new:
        return News((), new)
    moved = [name for name, target in new.items() if old.get(name) != target]
    told = {name: new[name] for name in moved[:_MOST_AT_ONCE]}
    refs = new if len(told) == len(moved) else {**old, **told}
    return News(tuple(dict.fromkeys(told.values())), refs)


class InotifyWatch:
    """A `Watch` by the kernel; ``touched`` gets the path of what was made or moved into place."""

    def __init__(self, reactor: object, touched: Callable[[bytes], None]) -> None:
        self._touched = touched
        self._inotify: Any
        try:
            self._inotify = _Inotify(reactor)  # type: ignore[no-untyped-call]
        except inotify.INotifyError as error:
            raise OSError(str(error)) from error
        self._inotify.startReading()

    def watch(self, directories: list[bytes]) -> None:
        for path in directories:
            try:
                self._inotify.watch(FilePath(path), _EVENTS, callbacks=[self._event])
            except inotify.INotifyError as error:
                if os.path.isdir(path):
                    raise OSError(str(error)) from error

    def close(self) -> None:
        self._inotify.stopReading()
        self._inotify.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]

    def _event(self, _watch: object, path: FilePath[bytes], _mask: int) -> None:
        self._touched(path.path)


class _Inotify(inotify.INotify):
    def loseConnection(self) -> None:
        """Twisted gives up all watches when one directory is deleted, and git deletes empty ones often."""


def _directories(git_dir: bytes) -> list[bytes]:
    """Where references are written: packed ones in the git directory itself, the others below refs."""
    return [git_dir, *(directory for directory, _, _ in os.walk(os.path.join(git_dir, b"refs")))]
