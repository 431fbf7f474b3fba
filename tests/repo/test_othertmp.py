"""Small files that are replaced whole or not at all."""

from __future__ import annotations

import itertools
import os

from twisted.trial.unittest import SynchronousTestCase

from annexd.repo import othertmp
from annexd.repo.layout import Layout
from annexd.repo.modes import Modes
from annexd.repo.othertmp import read_small, replace_file
from annexd.repo.settings import Settings


class ReplaceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.git_dir = os.fsencode(self.mktemp())
        self.layout = Layout(self.git_dir, Settings())
        os.makedirs(self.layout.annex)

    def replace(self, name: bytes, content: bytes) -> None:
        replace_file(self.layout, Modes(None), self.path(name), content)

    def path(self, name: bytes) -> bytes:
        return os.path.join(self.layout.annex, name)

    def test_replaced(self) -> None:
        files = len(os.listdir("/proc/self/fd"))
        large = b"x" * 200_000
        for content in (b"1", large, b""):
            self.replace(b"file", content)
            self.assertEqual(read_small(self.path(b"file")), content)
        self.assertEqual(os.listdir(self.layout.othertmp), [])
        self.assertIsNone(read_small(self.path(b"none")))
        self.assertEqual(len(os.listdir("/proc/self/fd")), files)

    def test_an_error_leaves_nothing(self) -> None:
        os.mkdir(self.path(b"directory"))
        self.assertRaises(OSError, self.replace, b"directory", b"1")
        self.assertEqual(os.listdir(self.layout.othertmp), [])

    def test_two_processes_of_the_same_number(self) -> None:
        """As daemons in two containers are that serve the same repository."""
        rename = os.rename

        def later(temporary: bytes, path: bytes) -> None:
            if path == self.path(b"one"):
                self.patch(othertmp, "_SERIAL", itertools.count())
                self.replace(b"two", b"2")
            rename(temporary, path)

        self.patch(os, "rename", later)
        self.patch(othertmp, "_SERIAL", itertools.count())
        self.replace(b"one", b"1")
        self.assertEqual([read_small(self.path(name)) for name in (b"one", b"two")], [b"1", b"2"])
