"""Content locks, both kinds, and what they leave behind."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
import threading
from typing import Any, Callable

from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import Absent, Refused
from annexd.repo import content
from annexd.repo.content import RETENTION_S, ContentLocks, Held
from annexd.repo.layout import Layout
from annexd.repo.locks import FileLock, Locked, lock, try_lock
from annexd.repo.modes import Modes
from annexd.repo.settings import Settings

START_NS = 1_795_360_000_123_456_789


class EveryVersion(SynchronousTestCase):
    """What is the same in all versions."""

    version = 10

    def setUp(self) -> None:
        self.git_dir = os.fsencode(os.path.abspath(self.mktemp()))
        self.now = START_NS
        self.unchanged = True
        self.layout = Layout(self.git_dir, Settings())
        self.directory = os.path.join(self.layout.objects, b"zK", b"02", b"K")
        os.makedirs(self.directory)
        self.path = os.path.join(self.directory, b"K")
        with open(self.path, "wb") as file:
            file.write(b"content")
        os.chmod(self.path, 0o444)
        os.chmod(self.directory, 0o555)
        self.addCleanup(self.make_deletable)
        self.addCleanup(self.assert_closed, len(os.listdir("/proc/self/fd")))
        self.locks = self.make_locks()

    def make_locks(self) -> ContentLocks:
        """As those of another process."""
        return ContentLocks(
            self.layout,
            Modes(None, self.version),
            self.version,
            now=lambda: self.now,
            unchanged=lambda: self.unchanged,
        )

    def make_deletable(self) -> None:
        if os.path.isdir(self.directory):
            os.chmod(self.directory, 0o755)

    def assert_closed(self, files_before: int) -> None:
        self.assertEqual(len(os.listdir("/proc/self/fd")), files_before)

    def names(self) -> list[bytes]:
        return sorted(name.removeprefix(b"K") for name in os.listdir(self.directory))

    def modes(self) -> tuple[int, int]:
        return tuple(stat.S_IMODE(os.stat(path).st_mode) for path in (self.directory, self.path))

    def remove_object(self) -> None:
        os.chmod(self.directory, 0o755)
        os.unlink(self.path)

    def test_shared(self) -> None:
        first = self.locks.share(self.path)
        second = self.locks.share(self.path)
        with self.assertRaises(Locked):
            self.locks.claim(self.path)
        self.assertEqual(self.modes(), (0o555, 0o444))
        second.release()
        with self.assertRaises(Locked):
            self.locks.claim(self.path)
        first.release()
        self.assertEqual(self.modes(), (0o555, 0o444))

    def test_alone(self) -> None:
        claim = self.locks.claim(self.path)
        for take in (self.locks.share, self.locks.claim):
            with self.assertRaises(Locked):
                take(self.path)
        claim.release()
        claim.release()
        self.assertEqual(self.names(), [b""])
        self.assertEqual(self.modes(), (0o555, 0o444))
        self.locks.share(self.path).release()
        self.assertEqual(self.names(), [b""])

    def test_absent(self) -> None:
        self.remove_object()
        for take in (self.locks.share, self.locks.claim):
            with self.assertRaises(Absent):
                take(self.path)
        self.assertNotIn(b".lck", self.names() if os.path.exists(self.directory) else [])
        self.assertTrue(os.path.exists(self.layout.objects))

    def test_removed_under_the_claim(self) -> None:
        claim = self.locks.claim(self.path)
        self.remove_object()
        claim.release()
        self.assertFalse(os.path.exists(os.path.join(self.layout.objects, b"zK")))

    def test_siblings_stay(self) -> None:
        other = os.path.join(self.layout.objects, b"zK", b"03")
        os.mkdir(other)
        claim = self.locks.claim(self.path)
        self.remove_object()
        claim.release()
        self.assertEqual(os.listdir(os.path.join(self.layout.objects, b"zK")), [b"03"])


class SidecarTests(EveryVersion):
    def stamp(self, seconds: int = 0) -> bytes:
        return b"%d.123456789s" % (START_NS // 10**9 + RETENTION_S + seconds)

    def retention(self) -> bytes:
        with open(self.path + b".rtm", "rb") as file:
            return file.read()

    def test_what_a_lock_looks_like(self) -> None:
        lease = self.locks.share(self.path)
        self.assertEqual(self.names(), [b"", b".lck", b".rtl", b".rtm"])
        self.assertEqual(self.retention(), self.stamp())
        lease.release()
        lease.release()
        self.assertEqual(self.names(), [b""])
        self.assertEqual(os.listdir(self.layout.othertmp), [])

    def test_a_later_lock_prolongs(self) -> None:
        first = self.locks.share(self.path)
        self.now += 5 * 10**9
        second = self.locks.share(self.path)
        self.assertEqual(self.retention(), self.stamp(5))
        first.release()
        self.assertEqual(self.names(), [b"", b".lck", b".rtl", b".rtm"])
        second.release()
        self.assertEqual(self.names(), [b""])

    def test_the_prolongation_of_another_stays(self) -> None:
        """As with git-annex: whose stamp it is not does not remove it."""
        first = self.locks.share(self.path)
        self.now += 5 * 10**9
        second = self.make_locks().share(self.path)
        second.release()
        first.release()
        self.assertEqual(self.names(), [b"", b".rtl", b".rtm"])
        with self.assertRaises(Locked):
            self.locks.claim(self.path)

    def test_our_own_last_lock_ends_all(self) -> None:
        leases = []
        for _ in range(3):
            leases.append(self.locks.share(self.path))
            self.now += 10**9
        for lease in reversed(leases):
            lease.release()
        self.assertEqual(self.names(), [b""])

    def test_removal_tried_when_the_last_lock_ends(self) -> None:
        """git-annex has seen no retention, then gets the lock before us, and gives up."""
        shared = self.locks.share(self.path)
        removals: list[FileLock] = []
        pauses = self.released_in_the_third_pause(removals)
        self.after_giving_back(shared, lambda: removals.append(self.sidecar(exclusive=True)))
        shared.release()
        self.assertEqual((self.names(), removals, len(pauses)), ([b""], [], 3))

    def test_removal_that_takes_long(self) -> None:
        shared = self.locks.share(self.path)
        self.patch(content.time, "sleep", lambda _: None)
        self.after_giving_back(shared, lambda: removals.append(self.sidecar(exclusive=True)))
        removals: list[FileLock] = []
        shared.release()
        self.assertEqual(self.names(), [b"", b".lck", b".rtl", b".rtm"])
        removals.pop().release()
        self.locks.share(self.path).release()
        self.assertEqual(self.names(), [b""])

    def test_nobody_waits_long_for_the_locks_of_others(self) -> None:
        shared = self.locks.share(self.path)
        other = self.sidecar(exclusive=False)
        pauses: list[float] = []
        self.patch(content.time, "sleep", pauses.append)
        shared.release()
        self.assertEqual(self.names(), [b"", b".lck", b".rtl", b".rtm"])
        self.assertLess(sum(pauses), 0.2)
        other.release()

    def test_others_that_only_look(self) -> None:
        """Who shares the lock for a moment will not clean up."""
        shared = self.locks.share(self.path)
        others = [self.sidecar(exclusive=False)]
        pauses = self.released_in_the_third_pause(others)
        shared.release()
        self.assertEqual((self.names(), others, len(pauses)), ([b""], [], 3))

    def test_removal_that_gives_up_between_two_looks(self) -> None:
        """Who had the lock alone is not taken for others that share it, and will clean up."""
        shared = self.locks.share(self.path)
        removals: list[FileLock] = []
        look = self.locks._lock_sidecar

        def late(*args: Any, **kwargs: Any) -> FileLock | None:
            seen = look(*args, **kwargs)
            if removals:
                removals.pop().release()
            return seen

        self.patch(self.locks, "_lock_sidecar", late)
        self.patch(content.time, "sleep", lambda _: None)
        self.after_giving_back(shared, lambda: removals.append(self.sidecar(exclusive=True)))
        shared.release()
        self.assertEqual((self.names(), removals), ([b""], []))

    def test_another_looks_at_the_same_time(self) -> None:
        shared = self.locks.share(self.path)
        others: list[FileLock] = []
        upgrade = FileLock.make_exclusive

        def late(held: FileLock) -> bool:
            alone = upgrade(held)
            if others:
                others.pop().release()
            return alone

        self.patch(FileLock, "make_exclusive", late)
        self.patch(content.time, "sleep", lambda _: None)
        self.after_giving_back(shared, lambda: others.append(self.sidecar(exclusive=False)))
        shared.release()
        self.assertEqual((self.names(), others), ([b""], []))

    def test_locks_from_many_threads(self) -> None:
        def use(take: Callable[[bytes], Held]) -> None:
            for _ in range(50):
                with contextlib.suppress(Locked):
                    take(self.path).release()

        self.locks = ContentLocks(self.layout, Modes(None, self.version), self.version)
        takes = (self.locks.share, self.locks.share, self.locks.claim)
        threads = [threading.Thread(target=use, args=(take,)) for take in takes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.names(), [b""])
        self.assertEqual(self.locks._ours, {})

    def sidecar(self, exclusive: bool) -> FileLock:
        os.chmod(self.directory, 0o755)
        held = try_lock(self.path + b".lck", exclusive=exclusive)
        assert held is not None
        return held

    def released_in_the_third_pause(self, locks: list[FileLock]) -> list[float]:
        """The last of ``locks``; nobody sleeps, and how long all pauses would have been is in the answer."""
        pauses: list[float] = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                locks.pop().release()

        self.patch(content.time, "sleep", pause)
        return pauses

    def after_giving_back(self, shared: Held, act: Callable[[], object]) -> None:
        """Do it when a lock has been given back, before anything else."""
        held = shared._held
        release = held.release

        def late() -> None:
            release()
            act()

        self.patch(held, "release", late)

    def test_a_later_end_is_not_made_earlier(self) -> None:
        self.write_retention(self.stamp(1000))
        self.locks.share(self.path).release()
        self.assertEqual(self.retention(), self.stamp(1000))

    def test_retention(self) -> None:
        self.write_retention(self.stamp())
        self.now += RETENTION_S * 10**9
        with self.assertRaises(Locked) as raised:
            self.locks.claim(self.path)
        self.assertIn("locked", str(raised.exception))
        self.assertEqual(self.names(), [b"", b".rtm"])
        self.now += 1
        claim = self.locks.claim(self.path)
        claim.release()
        self.assertEqual(self.names(), [b""])

    def after_locking(self, act: Callable[[], object]) -> None:
        """Do it when a lock file has been locked, whatever was seen before."""
        lock_sidecar = self.locks._lock_sidecar

        def late(*args: Any, **kwargs: Any) -> FileLock | None:
            held = lock_sidecar(*args, **kwargs)
            act()
            return held

        self.patch(self.locks, "_lock_sidecar", late)

    def test_retention_at_the_last_moment(self) -> None:
        """Somebody was killed between our first look and our lock."""
        self.after_locking(lambda: self.write_retention(self.stamp()))
        with self.assertRaises(Locked):
            self.locks.claim(self.path)
        self.assertEqual(self.names(), [b"", b".rtm"])

    def test_removed_at_the_last_moment(self) -> None:
        for take in (self.locks.share, self.locks.claim):
            self.after_locking(lambda: os.path.exists(self.path) and self.remove_object())
            with self.assertRaises(Absent):
                take(self.path)
            self.assertFalse(os.path.exists(self.directory))
            os.makedirs(self.directory)
            with open(self.path, "wb"):
                self.locks = self.make_locks()

    def test_removed_while_it_is_retained(self) -> None:
        retain = self.locks._retain

        def late(path: bytes) -> bytes:
            stamp = retain(path)
            self.remove_object()
            return stamp

        self.patch(self.locks, "_retain", late)
        with self.assertRaises(Absent):
            self.locks.share(self.path)
        self.assertFalse(os.path.exists(self.directory))

    def test_a_retention_that_cannot_be_written(self) -> None:
        def fail(*_: object) -> bytes:
            raise OSError(28, "No space left on device")

        self.patch(self.locks, "_retain", fail)
        self.assertRaises(OSError, self.locks.share, self.path)
        self.assertEqual(self.names(), [b""])
        self.locks.claim(self.path).release()

    def test_retention_does_not_prevent_locks(self) -> None:
        self.write_retention(self.stamp(-100))
        self.locks.share(self.path).release()
        self.assertEqual(self.names(), [b""])

    def test_stamps_that_cannot_be_read(self) -> None:
        for stamp in (b"", b"s", b"soon", b"99999999999", b"-5s", b"1e99s", b"9999999999.xs", b"\xff" * 1000):
            self.write_retention(stamp)
            self.locks.claim(self.path).release()
            self.assertEqual(self.names(), [b""])

    def test_stamps_without_fraction(self) -> None:
        self.write_retention(b"%ds" % (START_NS // 10**9 + 1))
        with self.assertRaises(Locked):
            self.locks.claim(self.path)

    def test_a_killed_process(self) -> None:
        """The kernel drops the lock, the retention stays."""
        os.chmod(self.directory, 0o755)
        script = "import sys, os\nfrom annexd.repo.locks import try_lock\n"
        script += "flags = os.O_RDONLY | os.O_CREAT\n"
        script += "assert try_lock(os.fsencode(sys.argv[1]), exclusive=False, flags=flags)\n"
        script += "print(flush=True)\nsys.stdin.read()\n"
        process = subprocess.Popen(
            [sys.executable, "-c", script, self.path + b".lck"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
        )
        assert process.stdout is not None
        process.stdout.readline()
        self.write_retention(self.stamp())
        with self.assertRaises(Locked):
            self.locks.claim(self.path)
        process.kill()
        process.communicate()
        with self.assertRaises(Locked):
            self.locks.claim(self.path)
        self.now += 601 * 10**9
        self.locks.claim(self.path).release()
        self.assertEqual(self.names(), [b""])

    def test_an_object_that_goes_while_it_is_locked(self) -> None:
        """Somebody who does not know of locks removes it."""
        lease = self.locks.share(self.path)
        self.remove_object()
        lease.release()
        self.assertFalse(os.path.exists(self.directory))

    def write_retention(self, stamp: bytes) -> None:
        os.chmod(self.directory, 0o755)
        with open(self.path + b".rtm", "wb") as file:
            file.write(stamp)
        os.chmod(self.directory, 0o555)


class OnObjectTests(EveryVersion):
    version = 8

    def test_what_a_lock_looks_like(self) -> None:
        lease = self.locks.share(self.path)
        self.assertEqual(self.names(), [b""])
        self.assertIsNone(try_lock(self.layout.sentinal, exclusive=True))
        lease.release()
        held = try_lock(self.layout.sentinal, exclusive=True)
        assert held is not None
        held.release()

    def test_no_retention(self) -> None:
        os.chmod(self.directory, 0o755)
        with open(self.path + b".rtm", "wb") as file:
            file.write(b"9999999999s")
        self.locks.claim(self.path).release()

    def test_after_an_upgrade(self) -> None:
        self.unchanged = False
        for take in (self.locks.share, self.locks.claim):
            with self.assertRaises(Refused) as raised:
                take(self.path)
            self.assertNotIsInstance(raised.exception, Locked)
        held = try_lock(self.layout.sentinal, exclusive=True)
        assert held is not None
        held.release()

    def test_during_an_upgrade(self) -> None:
        upgrade = try_lock(self.layout.sentinal, exclusive=True)
        assert upgrade is not None
        with self.assertRaises(Locked):
            lock(self.layout.sentinal, exclusive=False, seconds=0)
        upgrade.release()

    def test_two_at_once(self) -> None:
        """One protects the object again before the other has opened it."""
        open_file, refusals = os.open, [PermissionError(13, "Permission denied")] * 3

        def opened(path: bytes, *how: int) -> int:
            if path == self.path and refusals:
                raise refusals.pop()
            return open_file(path, *how)

        self.patch(os, "open", opened)
        self.locks.claim(self.path).release()
        self.assertEqual(refusals, [])
        refusals += [PermissionError(13, "Permission denied")] * 100
        self.assertRaises(PermissionError, self.locks.claim, self.path)
        self.assertEqual(self.modes(), (0o555, 0o444))

    def test_shared_repository(self) -> None:
        """Whose umask is strict must not keep the others from the lock that all take."""
        mask = os.umask(0o077)
        self.addCleanup(os.umask, mask)
        self.locks = ContentLocks(self.layout, Modes("group", self.version), self.version)
        self.locks.share(self.path).release()
        self.assertEqual(stat.S_IMODE(os.stat(self.layout.sentinal).st_mode), 0o660)

    def test_the_lock_is_on_the_object(self) -> None:
        os.chmod(self.path, 0o644)
        other = try_lock(self.path, exclusive=True)
        assert other is not None
        with self.assertRaises(Locked):
            self.locks.share(self.path)
        other.release()
        os.chmod(self.path, 0o444)


del EveryVersion
