"""Locks on files: what the tests of their users leave open."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from annexd.repo import locks
from annexd.repo.locks import Locked, lock, try_lock


class LockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = os.fsencode(self.mktemp())
        self.addCleanup(self.assert_closed, len(os.listdir("/proc/self/fd")))

    def assert_closed(self, files_before: int) -> None:
        self.assertEqual(len(os.listdir("/proc/self/fd")), files_before)

    def test_one_holder(self) -> None:
        held = try_lock(self.path, exclusive=True)
        assert held is not None
        for exclusive in (True, False):
            self.assertIsNone(try_lock(self.path, exclusive=exclusive))
        held.release()
        held.release()
        shared = [try_lock(self.path, exclusive=False) for _ in range(2)]
        self.assertIsNone(try_lock(self.path, exclusive=True))
        for one in shared:
            assert one is not None
            one.release()

    def test_becoming_the_only_one(self) -> None:
        first, second = (try_lock(self.path, exclusive=False) for _ in range(2))
        assert first is not None and second is not None
        self.assertFalse(first.make_exclusive())
        second.release()
        self.assertTrue(first.make_exclusive())
        self.assertIsNone(try_lock(self.path, exclusive=False))
        first.release()

    def test_becoming_the_only_one_where_nobody_can_say(self) -> None:
        held = try_lock(self.path, exclusive=False)
        assert held is not None

        def fail(fd: int, kind: int) -> bool:
            raise OSError(37, "No locks available")

        self.patch(locks, "set_lock", fail)
        self.assertRaises(OSError, held.make_exclusive)

    def test_a_file_that_another_holder_has_removed(self) -> None:
        """What was locked then is not what others would lock: the new one is."""
        set_lock, removals = locks.set_lock, [True, True]

        def late(fd: int, kind: int) -> bool:
            if removals and removals.pop():
                os.unlink(self.path)
            return set_lock(fd, kind)

        self.patch(locks, "set_lock", late)
        held = try_lock(self.path, exclusive=True)
        assert held is not None
        self.assertTrue(os.path.samestat(os.stat(self.path), os.fstat(held.fd)))
        held.release()

    def test_what_cannot_be_locked(self) -> None:
        def fail(fd: int, kind: int) -> bool:
            raise OSError(37, "No locks available")

        self.patch(locks, "set_lock", fail)
        self.assertRaises(OSError, try_lock, self.path, exclusive=True)

    def test_waiting(self) -> None:
        """Looked at again and again, less and less often, until the time is over."""
        held = try_lock(self.path, exclusive=True)
        assert held is not None
        now, pauses = [0.0], []

        def sleep(seconds: float) -> None:
            now[0] += seconds
            pauses.append(seconds)
            if now[0] > 8:
                held.release()

        def wait(seconds: float) -> locks.FileLock:
            return lock(self.path, exclusive=True, seconds=seconds, clock=lambda: now[0], sleep=sleep)

        self.assertIn("5 seconds", str(self.assertRaises(Locked, wait, 5)))
        self.assertEqual(pauses, sorted(pauses))
        self.assertLess(max(pauses), 0.1)
        wait(5).release()
