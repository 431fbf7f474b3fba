"""Lock files that are named, instead of made."""

from __future__ import annotations

import os
import shutil

from twisted.trial.unittest import SynchronousTestCase

from annexd.repo.layout import Layout
from annexd.repo.locks import try_lock
from annexd.repo.modes import Modes
from annexd.repo.settings import Settings
from annexd.repo.standing import Standing, StandingLocks, clear


class StandingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.git_dir = os.fsencode(self.mktemp())
        self.annex = os.path.join(self.git_dir, b"annex")
        os.makedirs(self.annex)
        self.path = os.path.join(self.annex, b"lck.KEY")
        self.othertmp = os.path.join(self.annex, b"othertmp")
        self.files_before = len(os.listdir("/proc/self/fd"))
        self.layout = Layout(self.git_dir, Settings())
        self.locks = StandingLocks(self.layout, Modes("group"))
        self.addCleanup(self.assert_closed)

    def assert_closed(self) -> None:
        self.locks.close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), self.files_before)

    def lend(self) -> Standing:
        standing = self.locks.lend(self.path)
        assert standing is not None
        return standing

    def give_back(self, standing: Standing) -> None:
        os.unlink(self.path)
        standing.release()

    def test_nobody_else_can_lock_it(self) -> None:
        standing = self.lend()
        self.assertIsNone(try_lock(self.path, exclusive=True))
        self.assertIsNone(self.locks.lend(self.path))
        self.assertEqual(os.stat(self.path).st_mode & 0o060, 0o060)
        self.give_back(standing)
        held = try_lock(self.path, exclusive=True)
        assert held is not None
        self.assertIsNone(self.locks.lend(self.path))
        held.release()

    def test_the_same_file_again(self) -> None:
        inodes = set()
        for _ in range(3):
            standing = self.lend()
            inodes.add(os.stat(self.path).st_ino)
            self.give_back(standing)
        self.assertEqual(len(inodes), 1)
        self.assertEqual(len(os.listdir(self.othertmp)), 1)
        self.locks.close()
        self.assertEqual(os.listdir(self.othertmp), [])

    def test_whoever_opened_it_before_it_was_given_back_does_not_get_it(self) -> None:
        standing = self.lend()
        fd = os.open(self.path, os.O_RDWR)
        self.give_back(standing)
        self.assertIsNone(try_lock(b"/proc/self/fd/%d" % fd, exclusive=True))
        os.close(fd)

    def test_temporary_files_are_emptied_meanwhile(self) -> None:
        """As git-annex does at the end of its commands."""
        idle = self.lend()
        self.give_back(idle)
        shutil.rmtree(self.othertmp)
        standing = self.lend()
        self.assertIsNot(standing, idle)
        shutil.rmtree(self.othertmp)
        self.assertIsNone(try_lock(self.path, exclusive=True))
        self.give_back(standing)
        self.give_back(self.lend())

    def test_a_name_that_cannot_be_removed_is_not_locked_for_good(self) -> None:
        standing = self.lend()
        standing.release()
        held = try_lock(self.path, exclusive=True)
        assert held is not None
        held.release()
        os.unlink(self.path)

    def test_what_is_lent_when_it_is_closed(self) -> None:
        standing = self.lend()
        self.locks.close()
        self.give_back(standing)
        self.assertEqual(os.listdir(self.othertmp), [])

    def test_those_of_the_dead_are_cleared_away(self) -> None:
        living = self.lend()
        os.mkdir(os.path.join(self.othertmp, b"annexd.1.1.lck"))
        for name in (b"annexd.1.2.lck", b"somebody.lck"):
            with open(os.path.join(self.othertmp, name), "wb"):
                pass
        clear(self.layout)
        self.assertNotIn(b"annexd.1.2.lck", os.listdir(self.othertmp))
        self.assertEqual(len(os.listdir(self.othertmp)), 3)
        self.give_back(living)
        self.locks.tidy()
        self.assertEqual(set(os.listdir(self.othertmp)), {b"annexd.1.1.lck", b"somebody.lck"})
        shutil.rmtree(self.othertmp)
        clear(self.layout)

    def test_where_the_lock_would_be_there_is_no_directory(self) -> None:
        self.assertIsNone(self.locks.lend(os.path.join(self.annex, b"none", b"lck.KEY")))

    def test_where_nothing_can_be_made(self) -> None:
        with open(self.othertmp, "wb"):
            self.assertIsNone(self.locks.lend(self.path))
        self.assertFalse(os.path.exists(self.path))
