"""
Locks on content: while one is held, nobody removes it; while it is removed,
nobody takes one.

From repository version 10 on, the lock is a file beside the object
(``KEY.lck``).  Before, it is the object itself, under a shared lock on
``annex/sentinal``, which an upgrade takes exclusively.  Version 10 also keeps
the content for ten minutes after the holder of a lock was killed: the lock
writes the end of that time into ``KEY.rtm`` (changed under ``KEY.rtl``), and
an orderly release removes it.

All of this blocks, for moments; it is for threads.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass
from typing import Callable, Protocol

from annexd.errors import Absent, Refused
from annexd.repo.layout import Layout
from annexd.repo.locks import FileLock, Locked, lock, try_lock
from annexd.repo.modes import Modes
from annexd.repo.othertmp import read_small, replace_file

RETENTION_S = 600
"""As long as a client relies on a lock whose holder it cannot hear any more."""

_WAIT_S = 30.0  # for locks that everybody holds for moments only
_SIDECAR_VERSION = 10
_MOMENTS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Between attempts to get what a removal has for a moment."""

_LONGEST_LOOK_S = 0.1
"""Of these pauses, the longest for others that share a lock: some do for a moment, and clean up nothing."""

_TRIES = 20
_LONGEST_STAMP = 100
_TO_READ = os.O_RDONLY | os.O_CREAT
_TO_WRITE = os.O_RDWR | os.O_CREAT


Finish = Callable[[bytes], None]
"""Called with the path of an object when a claim on it is over."""


class Held(Protocol):
    """A lock that is held until it is released; releasing it again does nothing."""

    def release(self) -> None: ...


class ContentLocks:
    """
    The locks on the objects of one repository, as its version has them.

    ``now`` is the time of day in nanoseconds.  ``unchanged`` says whether the
    repository's configuration is still the one that was read: it may just
    have been upgraded, and then the other kind of lock counts.
    """

    def __init__(
        self,
        layout: Layout,
        modes: Modes,
        version: int,
        *,
        now: Callable[[], int] = time.time_ns,
        unchanged: Callable[[], bool] = lambda: True,
    ) -> None:
        self._layout = layout
        self._modes = modes
        self._sidecars = version >= _SIDECAR_VERSION
        self._now = now
        self._unchanged = unchanged
        self._ours: dict[bytes, _Ours] = {}
        self._counting = threading.Lock()

    def share(self, path: bytes) -> Held:
        """
        Keep the object at ``path`` from being removed.

        Raises `Absent` where there is none, `Locked` while it is removed.
        """
        if self._sidecars:
            return self._share_by_sidecar(path)
        return self._lock_object(path, exclusive=False, finish=self.finish)

    def claim(self, path: bytes, finish: Finish | None = None) -> Held:
        """
        The right to remove the object at ``path``.  When it has been used,
        the directories are tidied by ``finish``, if not at once.

        Raises `Locked` when somebody relies on it, `Absent` where there is none.
        """
        finish = finish or self.finish
        if self._sidecars:
            return self._claim_by_sidecar(path, finish)
        return self._claim_object(path, finish)

    def finish(self, path: bytes) -> None:
        """Leave the directory of an object as it should be, or not at all when it is empty."""
        prune(path, self._layout.objects)
        with contextlib.suppress(FileNotFoundError):
            self._modes.freeze_dir(os.path.dirname(path))

    # --- with files beside the object ----------------------------------------

    def _share_by_sidecar(self, path: bytes) -> Held:
        with self._counting:
            self._ours.setdefault(path, _Ours()).count += 1
        held = None
        try:
            held = self._lock_sidecar(path, exclusive=False)
            if held is None:
                raise Locked("the content is being removed")
            os.stat(path)
            self._retain(path)
            os.stat(path)
            self._modes.freeze_dir(os.path.dirname(path))
        except FileNotFoundError:
            self.end_share(path, held)
            raise Absent("the content is not here") from None
        except BaseException:
            self.end_share(path, held)
            raise
        return _Shared(self, path, held)

    def _claim_by_sidecar(self, path: bytes, finish: Finish) -> Held:
        # Looked at before as well, so as not to be in the way of others for nothing.
        self._check_retention(path)
        held = self._lock_sidecar(path, exclusive=True, flags=_TO_WRITE)
        if held is None:
            self.finish(path)
            raise Locked("the content is locked")
        try:
            self._check_retention(path)
            os.stat(path)
        except FileNotFoundError:
            self.end_claim(path, held)
            raise Absent("the content is not here") from None
        except BaseException:
            self.end_claim(path, held, retained=True)
            raise
        return _Claim(self, path, held, finish)

    def _lock_sidecar(self, path: bytes, exclusive: bool, flags: int = _TO_READ) -> FileLock | None:
        """`finish` must follow."""

        def act() -> FileLock | None:
            held = try_lock(path + b".lck", exclusive=exclusive, flags=flags)
            return None if held is None else self._modes.created_lock(held)

        try:
            return self._modes.in_opened_dir(os.path.dirname(path), act, leave_open=True)
        except FileNotFoundError:
            raise Absent("the content is not here") from None

    def _retain(self, path: bytes) -> None:
        """Keep the content for `RETENTION_S` from now, whatever becomes of us."""
        end_ns = self._now() + RETENTION_S * 10**9
        stamp = b"%d.%09ds" % divmod(end_ns, 10**9)
        with self._counting:
            self._ours[path].prolong(end_ns, stamp)

        def act() -> None:
            guard = self._modes.created_lock(lock(path + b".rtl", exclusive=True, seconds=_WAIT_S))
            try:
                there = _retained_until(path)
                if there is None or there < end_ns:
                    replace_file(self._layout, self._modes, path + b".rtm", stamp)
            finally:
                guard.release()

        self._modes.in_opened_dir(os.path.dirname(path), act, leave_open=True)

    def _check_retention(self, path: bytes) -> None:
        until = _retained_until(path)
        if until is not None and self._now() <= until:
            raise Locked("the content is locked: somebody who relied on it has gone less than 10 minutes ago")

    def end_share(self, path: bytes, held: FileLock | None) -> None:
        """
        Give back a shared lock, or what was meant to become one, and clean
        up, if nobody else holds one.  A retention that somebody else has
        prolonged is his to end: another process's stays, as with git-annex,
        but among our own sessions the last one ends all.
        """
        if held is not None:
            held.release()
        with self._counting:
            ours = self._ours[path]
            ours.count -= 1
        for pause in (*_MOMENTS_S, 0.0) if ours.stamp else (0.0,):
            with self._counting:
                if ours.count or self._end_share(path, ours, pause):
                    return
            time.sleep(pause)  # whoever wants to remove it will see that it is retained, and leave that to us

    def _end_share(self, path: bytes, ours: _Ours, pause: float) -> bool:
        """Whether there is no more to be done; the last time, without a ``pause`` to follow, there is not."""
        done = True
        try:
            held = self._lock_sidecar(path, exclusive=False, flags=_TO_WRITE)
            if held is None:
                done = not pause
                self.finish(path)
            elif held.make_exclusive():
                retained = read_small(path + b".rtm")
                self.end_claim(path, held, retained=retained is not None and retained != ours.stamp)
            else:
                held.release()
                done = not pause or pause > _LONGEST_LOOK_S
                self.finish(path)
        except Absent:
            pass
        finally:
            if done and self._ours.get(path) is ours:
                del self._ours[path]
        return done

    def end_claim(
        self, path: bytes, held: FileLock, retained: bool = False, finish: Finish | None = None
    ) -> None:
        """
        Give back an exclusive lock.  Whoever has opened the lock file
        meanwhile sees that it is gone, and makes another.
        """
        ends = (b".lck",) if retained else (b".rtm", b".rtl", b".lck")

        def act() -> None:
            for end in ends:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path + end)

        try:
            with contextlib.suppress(FileNotFoundError):
                self._modes.in_opened_dir(os.path.dirname(path), act, leave_open=True)
        finally:
            held.release()
            (finish or self.finish)(path)

    # --- on the object itself ------------------------------------------------

    def _lock_object(self, path: bytes, exclusive: bool, finish: Finish) -> Held:
        no_upgrade = lock(self._layout.sentinal, exclusive=False, seconds=_WAIT_S, flags=_TO_READ)
        self._modes.created_lock(no_upgrade)
        try:
            if not self._unchanged():
                raise Refused("the repository's configuration has just been changed; try again")
            held = try_lock(path, exclusive=exclusive, flags=os.O_RDWR if exclusive else os.O_RDONLY)
        except FileNotFoundError:
            no_upgrade.release()
            raise Absent("the content is not here") from None
        except BaseException:
            no_upgrade.release()
            raise
        if held is None:
            no_upgrade.release()
            raise Locked("the content is locked" if exclusive else "the content is being removed")
        return _LockedObject(path, held, no_upgrade, finish)

    def _claim_object(self, path: bytes, finish: Finish) -> Held:
        """It must be writable for that, and whoever claims it at the same time protects it again."""
        for tries_left in reversed(range(_TRIES)):
            try:
                self._modes.thaw_object(path)
                return self._lock_object(path, exclusive=True, finish=finish)
            except FileNotFoundError:
                raise Absent("the content is not here") from None
            except PermissionError:
                if not tries_left:
                    raise
            finally:
                with contextlib.suppress(FileNotFoundError):
                    self._modes.freeze_object(path)
        raise AssertionError


class _LockedObject:
    def __init__(self, path: bytes, held: FileLock, no_upgrade: FileLock, finish: Finish) -> None:
        self._path = path
        self._held = held
        self._no_upgrade = no_upgrade
        self._finish = finish

    def release(self) -> None:
        self._held.release()
        self._no_upgrade.release()
        self._finish(self._path)


@dataclass(slots=True)
class _Ours:
    """The locks that our own sessions hold on one object."""

    count: int = 0
    stamp: bytes = b""
    """The latest that one of them may have written."""

    _end_ns: int = 0

    def prolong(self, end_ns: int, stamp: bytes) -> None:
        if end_ns > self._end_ns:
            self._end_ns, self.stamp = end_ns, stamp


class _Shared:
    """A lock file locked by many."""

    def __init__(self, locks: ContentLocks, path: bytes, held: FileLock) -> None:
        self._locks = locks
        self._path = path
        self._held: FileLock | None = held

    def release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._locks.end_share(self._path, held)


class _Claim:
    """A lock file locked by one, who may have removed the object."""

    def __init__(self, locks: ContentLocks, path: bytes, held: FileLock, finish: Finish) -> None:
        self._locks = locks
        self._path = path
        self._held: FileLock | None = held
        self._finish = finish

    def release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._locks.end_claim(self._path, held, finish=self._finish)


def prune(path: bytes, top: bytes) -> None:
    """Remove the empty directories that ``path`` was in, up to ``top``, which stays."""
    directory = os.path.dirname(path)
    with contextlib.suppress(OSError):
        while directory.startswith(top + b"/"):
            os.rmdir(directory)
            directory = os.path.dirname(directory)


def _retained_until(path: bytes) -> int | None:
    """
    The end of the retention of an object, in nanoseconds since the epoch.
    What cannot be read keeps nothing, as with git-annex.
    """
    stamp = read_small(path + b".rtm")
    if stamp is None or len(stamp) > _LONGEST_STAMP or not stamp.endswith(b"s"):
        return None
    seconds, _, fraction = stamp[:-1].partition(b".")
    if not seconds.isdigit() or (fraction and not fraction.isdigit()):
        return None
    return int(seconds) * 10**9 + int(fraction[:9].ljust(9, b"0"))
