"""
Which repository answers for a path.

Nothing is searched beforehand: a path is looked up when somebody asks for it,
so repositories come and go without notice, and thousands of them cost nothing
until they are used.  Every user of a repository shares one open instance,
which is closed when nobody has used it for a while.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

from twisted.internet.defer import Deferred, DeferredList, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from annexd.errors import Refused, Unavailable
from annexd.flow.workers import Pool
from annexd.router.places import Map, Place, Served, Sight, candidates

_log = Logger()

IDLE_S = 60.0
# Long enough for the next command of a script, short enough to let deleted repositories go.


class Repository(Protocol):
    """What the directory asks of an open repository."""

    async def refresh(self) -> None:
        """Notice that its configuration has changed."""

    async def close(self) -> None:
        """Finish what is pending and let go of everything."""


P = ParamSpec("P")
T = TypeVar("T")


class Wide(Sight, Protocol):
    """See `annexd.flow.disks.Sight`."""

    def has(self, paths: Sequence[bytes]) -> bool: ...


class Disk(Protocol):
    """See `annexd.flow.disk.Disk`."""

    @property
    def disk(self) -> Pool: ...

    @property
    def down(self) -> str: ...

    @property
    def since(self) -> float: ...

    @property
    def plain(self) -> bool: ...

    @property
    def sight(self) -> Wide: ...

    async def patiently(
        self,
        work: Coroutine[Any, Any, T],
        give_back: Callable[[T], Coroutine[Any, Any, object]] | None = None,
        anyway: bool = False,
    ) -> T: ...


class Disks(Protocol):
    """See `annexd.flow.disks.Disks`."""

    def at(self, path: bytes) -> Disk: ...

    async def of(self, path: bytes) -> Disk: ...

    def under(self, *paths: bytes) -> Disk: ...


R = TypeVar("R", bound=Repository)


class Visit(Generic[R]):
    """One use of a repository; it stays open until `leave`."""

    def __init__(self, directory: Directory[R], entry: _Entry[R], repository: R) -> None:
        self.repository = repository
        self._directory = directory
        self._entry: _Entry[R] | None = entry

    def __enter__(self) -> R:
        return self.repository

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Calling it again does nothing."""
        entry, self._entry = self._entry, None
        if entry is not None:
            self._directory._left(entry)


class _Entry(Generic[R]):
    def __init__(self, place: Place) -> None:
        self.place = place
        self.repository: R | None = None
        self.uses = 0
        self.turn = DeferredLock()
        self.idle: IDelayedCall | None = None


class Directory(Generic[R]):
    """
    ``opener`` opens what serves a place.  ``pool`` runs what has to do with no
    repository, the rest is done on ``disks``: whatever is asked of one that
    does not answer raises `Unavailable` in time.  ``home`` directories are
    passed in by whoever asks: they are the asking user's.
    """

    def __init__(
        self,
        clock: IReactorTime,
        pool: Pool,
        opener: Callable[[Place], Awaitable[R]],
        served: Sequence[Served],
        disks: Disks,
        idle_s: float = IDLE_S,
    ) -> None:
        self._clock = clock
        self._pool = pool
        self._disks = disks
        self._opener = opener
        self._map = Map(served)
        self._idle_s = idle_s
        self._entries: dict[Place, _Entry[R]] = {}
        self._closing: set[Deferred[None]] = set()

    def reload(self, served: Sequence[Served]) -> None:
        """What is looked up from now on; those inside stay inside."""
        self._map = Map(served)

    def opened(self) -> dict[bytes, int]:
        """Names of the repositories that are open, and how many use each."""
        return {entry.place.name: entry.uses for entry in self._entries.values() if entry.repository}

    async def locate(self, path: bytes, home: bytes | None = None) -> Place:
        """
        Raises `Refused` when nothing is served there, in words that do not
        tell whether there is anything at all outside of what is served.
        """
        return await self._locate(self._map, path, home)

    async def locate_alone(self, path: bytes) -> Place:
        """The same whether it is served or not."""
        return await self._locate(Map([Served(path)]), path, None)

    async def _locate(self, among: Map, path: bytes, home: bytes | None) -> Place:
        """Mostly all places where it may be are on one disk."""
        if path.startswith((b"~", b"/~")):  # of which the system may ask a network
            places = await self._pool.run(candidates, path, home)
        else:
            places = candidates(path, home)
        disk = self._disks.at(places[0])

        def look() -> Place | None:
            """`None`: some of them are elsewhere."""
            return among.locate(path, home, disk.sight) if disk.sight.has(places) else None

        place = await disk.patiently(disk.disk.run(look)) if disk.plain else None
        return place or await self._locate_elsewhere(among, path, home, places)

    async def _locate_elsewhere(
        self, among: Map, path: bytes, home: bytes | None, places: Sequence[bytes]
    ) -> Place:
        """The same where it is on a disk that may hang, or there are several: each is asked by itself."""
        refused: Refused | None = None
        for disk in {await self._disks.of(place): None for place in places}:
            try:
                return await disk.patiently(disk.disk.run(among.locate, path, home, disk.sight))
            except Refused as error:
                refused = refused or error
        assert refused is not None
        raise refused

    def disk(self, place: Place) -> Disk:
        """The one by which it stands or falls."""
        return self._disks.under(place.git_dir, place.content or place.git_dir)

    def disk_at(self, path: bytes) -> Disk:
        """For a path as it is written; nothing is looked at."""
        return self._disks.at(path)

    async def same(self, one: bytes, other: bytes) -> bool:
        """Whether both paths lead to one repository; `True` also where neither leads to any."""
        return await self._identity(one) == await self._identity(other)

    async def _identity(self, path: bytes) -> tuple[int, int] | None:
        try:
            return (await self.locate(path)).identity
        except Refused:
            return None

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """For what else has to be looked at on the disk before a repository is opened."""
        return await self._pool.run(function, *args, **kwargs)

    async def visit(self, place: Place) -> Visit[R]:
        """Open the repository, or join those who have it open."""

        async def leave(visit: Visit[R]) -> None:
            visit.leave()

        return await self.disk(place).patiently(self._visit(place), leave)

    async def _visit(self, place: Place) -> Visit[R]:
        entry = self._entries.get(place)
        if entry is None:
            entry = self._entries[place] = _Entry(place)
        self._stay(entry)
        try:
            await entry.turn.acquire()
            try:
                if entry.repository is None:
                    entry.repository = await self._opener(place)
                else:
                    await entry.repository.refresh()
                repository = entry.repository
            finally:
                entry.turn.release()
        except BaseException:
            self._left(entry)
            raise
        return Visit(self, entry, repository)

    async def find(self, path: bytes, home: bytes | None = None) -> Visit[R]:
        return await self.visit(await self.locate(path, home))

    async def close(self) -> None:
        """Close every repository, used or not; waits until all is flushed."""
        for entry in list(self._entries.values()):
            self._start_closing(entry)
        while self._closing:
            await DeferredList(list(self._closing))

    def _stay(self, entry: _Entry[R]) -> None:
        entry.uses += 1
        if entry.idle is not None:
            entry.idle.cancel()
            entry.idle = None

    def _left(self, entry: _Entry[R]) -> None:
        entry.uses -= 1
        if entry.uses:
            return
        if entry.repository is None:
            self._forget(entry)
        elif self._entries.get(entry.place) is entry:
            entry.idle = self._clock.callLater(self._idle_s, self._start_closing, entry)

    def _forget(self, entry: _Entry[R]) -> None:
        if self._entries.get(entry.place) is entry:
            del self._entries[entry.place]

    def _start_closing(self, entry: _Entry[R]) -> None:
        if entry.idle is not None and entry.idle.active():
            entry.idle.cancel()
        entry.idle = None
        closing = Deferred.fromCoroutine(self._close_patiently(entry))
        self._closing.add(closing)
        closing.addErrback(lambda failure: _log.failure("closing {name}", failure, name=entry.place.name))
        closing.addBoth(lambda _: self._closing.discard(closing))

    async def _close_patiently(self, entry: _Entry[R]) -> None:
        try:
            await self.disk(entry.place).patiently(self._close(entry), anyway=True)
        except Unavailable as error:
            name = os.fsdecode(entry.place.name)
            _log.warn("{name} is not closed yet: {reason}", name=name, reason=str(error))

    async def _close(self, entry: _Entry[R]) -> None:
        """Whoever asks for the repository meanwhile waits, and opens it anew."""
        await entry.turn.acquire()
        try:
            repository, entry.repository = entry.repository, None
            if repository is not None:
                await repository.close()
        finally:
            entry.turn.release()
            if not entry.uses:
                self._forget(entry)
