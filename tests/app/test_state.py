"""Where the daemon keeps its own things, and that nobody else reads them."""

from __future__ import annotations

import os
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from annexd.app import state
from annexd.app.state import private_directory, state_directory
from annexd.errors import ConfigError


class StateTests(SynchronousTestCase):
    def test_configured(self) -> None:
        self.assertEqual(state_directory("/x", {"STATE_DIRECTORY": "/y"}), "/x")

    def test_systemd(self) -> None:
        self.assertEqual(state_directory(None, {"STATE_DIRECTORY": "/y:/z"}), "/y")

    def test_root(self) -> None:
        with mock.patch("os.geteuid", lambda: 0):
            self.assertEqual(state_directory(None, {}), "/var/lib/annexd")

    def test_user(self) -> None:
        with mock.patch("os.geteuid", lambda: 1000):
            self.assertEqual(state_directory(None, {"XDG_STATE_HOME": "/s"}), "/s/annexd")
            with mock.patch.dict(os.environ, {"HOME": "/home/u"}):
                self.assertEqual(state_directory(None, {}), "/home/u/.local/state/annexd")

    def test_user_of_the_system_s(self) -> None:
        self.patch(state, "SYSTEM_STATE", os.path.abspath(self.mktemp()))
        with mock.patch("os.geteuid", lambda: 1000):
            self.assertEqual(state_directory(None, {"XDG_STATE_HOME": "/s"}), "/s/annexd")
        os.mkdir(state.SYSTEM_STATE)
        with mock.patch("os.geteuid", lambda: os.stat(state.SYSTEM_STATE).st_uid):
            self.assertEqual(state_directory(None, {"XDG_STATE_HOME": "/s"}), state.SYSTEM_STATE)

    def test_private(self) -> None:
        top = self.mktemp()
        made = private_directory(os.path.join(top, "a"))
        self.assertEqual(os.stat(made).st_mode & 0o777, 0o700)
        os.chmod(made, 0o755)
        private_directory(made)
        self.assertEqual(os.stat(made).st_mode & 0o777, 0o700)

    def test_a_directory_of_others(self) -> None:
        """Nothing else would work any more if it were theirs no longer, as with /var/lib."""
        path = self.mktemp()
        os.makedirs(os.path.join(path, "theirs"))
        os.chmod(path, 0o755)
        error = self.assertRaises(ConfigError, private_directory, path)
        self.assertIn("open to others", str(error))
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o755)
        os.chmod(path, 0o700)
        self.assertEqual(path, private_directory(path))

    def test_impossible(self) -> None:
        path = self.mktemp()
        with open(path, "w"):
            pass
        error = self.assertRaises(ConfigError, private_directory, os.path.join(path, "a"))
        self.assertIn("Not a directory", str(error))
