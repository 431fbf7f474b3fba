"""The files with the users' keys, and who is let in by them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.doorman import KeyDoorman, SshUser
from annexd.app.guessing import Guessing
from annexd.app.logs import Lines
from annexd.app.ssh_users import OneFile, OneFileEach, Users
from annexd.errors import Refused
from annexd.flow.workers import InlineWorkers
from tests.app import test_reception
from tests.support.ssh_keys import ADDRESS, authorized, ed25519_key

KEY, OTHER = ed25519_key(), ed25519_key()


def named(user: str, *options: str) -> str:
    return ",".join((*options, f'command="annexd-shell --user {user}"'))


class Scratch(SynchronousTestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = Path(scratch.name)
        self.pool = InlineWorkers().disk

    def write(self, name: str, *lines: bytes) -> None:
        (self.directory / name).write_bytes(b"\n".join(lines))

    def users(self, users: Users, login: str = "git") -> list[str]:
        with capturedLogs() as self.events:
            entries = self.successResultOf(Deferred.fromCoroutine(users.entries(login)))
        return [entry.user for entry in entries]

    def said(self) -> list[str]:
        return [event["log_format"].format(**event) for event in self.events]


class OneFileTests(Scratch):
    def setUp(self) -> None:
        super().setUp()
        self.path = str(self.directory / "keys")
        self.file = OneFile(self.path, self.pool)

    def test_any_login_name(self) -> None:
        self.write("keys", authorized(KEY, named("alice")), authorized(OTHER, named("bob")))
        for login in ("git", "", "../x"):
            self.assertEqual(["alice", "bob"], self.users(self.file, login))

    def test_changes(self) -> None:
        self.write("keys", authorized(KEY, named("alice")))
        self.assertEqual(["alice"], self.users(self.file))
        self.write("keys", authorized(KEY, named("bobby")))
        self.assertEqual(["bobby"], self.users(self.file))

    def test_read_once(self) -> None:
        """As long as it does not change."""
        self.write("keys", authorized(KEY, named("alice")), b"nonsense")
        self.users(self.file)
        self.assertEqual([f"{self.path}:2: there is no key in the line"], self.said())
        self.assertEqual((["alice"], []), (self.users(self.file), self.said()))

    def test_missing(self) -> None:
        """Said once, until it is there."""
        self.assertEqual([], self.users(self.file))
        self.assertEqual([f"{self.path} does not exist, so nobody can log in"], self.said())
        self.assertEqual(([], []), (self.users(self.file), self.said()))
        self.write("keys", authorized(KEY, named("alice")))
        self.assertEqual(["alice"], self.users(self.file))
        os.unlink(self.path)
        self.assertEqual(([], 1), (self.users(self.file), len(self.said())))

    def test_what_others_may_change(self) -> None:
        self.write("keys", authorized(KEY, named("alice")))
        for path, mode in ((self.path, 0o664), (self.path, 0o646), (self.directory, 0o777)):
            os.chmod(path, mode)
            self.assertEqual([], self.users(self.file))
            os.chmod(path, 0o700)
            self.assertEqual(["alice"], self.users(self.file))

    def test_no_file(self) -> None:
        for make in (os.mkdir, os.mkfifo):
            make(self.path)
            self.assertEqual([], self.users(self.file))
            os.rmdir(self.path) if os.path.isdir(self.path) else os.unlink(self.path)


class OneFileEachTests(Scratch):
    def setUp(self) -> None:
        super().setUp()
        self.each = OneFileEach(str(self.directory), self.pool)

    def test_names(self) -> None:
        self.write("alice", authorized(KEY))
        self.write("bob.pub", authorized(KEY), authorized(OTHER, "restrict"))
        self.write("carol", authorized(KEY, named("alice")))
        self.assertEqual(["alice"], self.users(self.each, "alice"))
        self.assertEqual(["bob", "bob"], self.users(self.each, "bob"))
        self.assertEqual([], self.users(self.each, "carol"))
        self.assertIn("names alice", self.said()[0])
        self.assertEqual(([], []), (self.users(self.each, "dave"), self.said()))

    def test_odd_names(self) -> None:
        self.write("bob.pub", authorized(KEY))
        self.write("bob~", authorized(KEY))
        self.write(".bob", authorized(KEY))
        (self.directory / "sub").mkdir()
        self.write("sub/bob", authorized(KEY))
        for login in (
            "bob.pub",
            "bob~",
            ".bob",
            "sub/bob",
            "../" + self.directory.name + "/bob.pub",
            "",
            ".",
        ):
            self.assertEqual([], self.users(self.each, login), login)
        for login in ("bob\0", "bob\n", "b\xf6b", "x" * 200):
            self.assertEqual([], self.users(self.each, login), login)

    def test_taken_out(self) -> None:
        self.write("alice", authorized(KEY))
        self.assertEqual(["alice"], self.users(self.each, "alice"))
        (self.directory / "alice").unlink()
        self.assertEqual([], self.users(self.each, "alice"))

    def test_remembers_those_who_are_there(self) -> None:
        self.write("alice", authorized(KEY))
        self.users(self.each, "alice")
        for number in range(50):
            self.users(self.each, f"nobody{number}")
        self.assertEqual(1, len(self.each._files))


class DoormanTests(Scratch):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.now = 1_000_000_000.0
        self.guessing = Guessing(self.clock)
        users = OneFile(str(self.directory / "keys"), self.pool)
        self.doorman = KeyDoorman(users, self.guessing, lambda: self.now)

    def admit(self, key: bytes) -> SshUser:
        return self.successResultOf(Deferred.fromCoroutine(self.doorman.admit(b"git", key, ADDRESS)))

    def assert_refused(self, key: bytes, sentence: str) -> None:
        failure = self.failureResultOf(
            Deferred.fromCoroutine(self.doorman.admit(b"git", key, ADDRESS)), Refused
        )
        self.assertEqual(sentence, str(failure.value))

    def test_keys(self) -> None:
        self.write("keys", authorized(KEY, 'environment="GIT_ANNEX_SHELL_READONLY=1",' + named("alice")))
        self.assertEqual(SshUser("alice", {b"readonly": b"1"}), self.admit(KEY.public().blob()))
        self.assert_refused(OTHER.public().blob(), "no key was offered that is known")

    def test_conditions(self) -> None:
        """The first line counts that lets the user in."""
        keys = self.directory / "keys"
        self.write(
            "keys",
            authorized(KEY, named("far", 'from="10.0.0.0/8"')),
            authorized(KEY, named("late", 'expiry-time="20010909014640Z"')),
            authorized(KEY, named("here", 'from="192.0.2.*",expiry-time="20010909014641Z"')),
        )
        self.assertEqual("here", self.admit(KEY.public().blob()).principal)
        self.now += 1
        self.assert_refused(KEY.public().blob(), f"the key in {keys}:3 has expired")
        self.write("keys", authorized(KEY, named("far", 'from="10.0.0.0/8"')))
        self.assert_refused(KEY.public().blob(), f"the key in {keys}:1 is not for use from there")

    def test_what_is_said(self) -> None:
        """In words that fail2ban can look for: the address is the last one, whatever the login name."""
        with capturedLogs() as events:
            self.doorman.entered(SshUser("alice"), ADDRESS)
            self.doorman.turned_away(b"bob from 10.0.0.1: \n x\xff" + b"y" * 100, ADDRESS, "the reason")
        said = [event["log_format"].format(**event) for event in events]
        [tried] = [
            test_reception.filter_of_fail2ban().search(Lines("human").line(event)) for event in events[1:]
        ]
        assert tried is not None
        self.assertEqual(ADDRESS, tried["host"])
        self.assertEqual(f"login of alice from {ADDRESS}", said[0])
        self.assertTrue(said[1].startswith("login-refused of bob?from?10.0.0.1????x?yyy"), said[1])
        self.assertTrue(said[1].endswith(f"y from {ADDRESS}: the reason"), said[1])
        fields = ("log_namespace", "event", "principal", "address", "transport", "reason")
        self.assertEqual(
            ["annexd.audit", "login", "alice", ADDRESS, "ssh-listener", ""], [events[0][f] for f in fields]
        )
        self.assertEqual("login-refused", events[1]["event"])

    def test_delays(self) -> None:
        """After failures, for all from the same place, and not long."""
        self.assertEqual(0, self.doorman.delay("2001:db8::1"))
        for _ in range(9):
            self.doorman.turned_away(b"x", "2001:db8::1", "")
        delays = [
            self.doorman.delay(address) for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")
        ]
        self.assertEqual([1, 1, 0], delays)
