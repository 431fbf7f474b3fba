"""Directories of daemons, alive and killed."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import ConfigError
from annexd.remotes.private_directory import PrivateDirectory


class PrivateDirectoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.parent = self.mktemp()
        os.mkdir(self.parent)

    def made(self) -> PrivateDirectory:
        directory = PrivateDirectory(self.parent)
        self.addCleanup(directory.close)
        with open(os.path.join(directory.path, "1"), "w"):
            pass
        return directory

    def test_its_life(self) -> None:
        directory = self.made()
        self.assertEqual(os.stat(directory.path).st_mode & 0o777, 0o700)
        directory.close()
        directory.close()
        self.assertEqual(os.listdir(self.parent), [])

    def test_what_a_killed_daemon_has_left(self) -> None:
        killed, alive = self.made(), self.made()
        os.close(killed._lock)
        killed._lock = -1
        os.symlink(alive.path, os.path.join(self.parent, "annexd-ssh-link"))
        new = self.made()
        found = set(os.listdir(self.parent))
        self.assertEqual(found, {os.path.basename(d.path) for d in (alive, new)} | {"annexd-ssh-link"})
        self.assertEqual(os.listdir(alive.path), ["1"])

    def test_nowhere(self) -> None:
        self.assertRaises(ConfigError, PrivateDirectory, os.path.join(self.parent, "none"))
