"""What is said about the files that a configuration names."""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime, timedelta
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from annexd.app import checking
from annexd.app.certificates import own_fingerprint
from annexd.app.checking import check_files
from annexd.app.config import Config
from annexd.app.listen import Address, Listen, Ssh, Tls
from annexd.errors import ConfigError
from tests.support.authorities import Authority
from tests.support.ssh_keys import authorized, ed25519_key

ANYWHERE = (Address("::", 7001),)


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = scratch.name
        self.state = os.path.join(scratch.name, "state")

    def file(self, name: str, data: bytes, mode: int = 0o600) -> str:
        path = os.path.join(self.directory, name)
        with open(path, "wb") as file:
            file.write(data)
        os.chmod(path, mode)
        return path

    def notes(self, tls: Tls | None = None, ssh: Ssh | None = None) -> list[str]:
        found = check_files(Config(listen=Listen(tls=tls, ssh=ssh)), self.state)
        self.assertFalse(os.path.exists(self.state), "nothing is made")
        return found

    def errors(self, tls: Tls | None = None, ssh: Ssh | None = None) -> list[str]:
        return str(self.assertRaises(ConfigError, self.notes, tls, ssh)).split("\n")


class OfTls(Case):
    def setUp(self) -> None:
        super().setUp()
        self.authority = Authority(self.directory, "ca")
        self.pem = self.authority.issue("annex.example.org")
        # The one that is issued is good for a day.
        self.patch(checking, "_SOON", timedelta(hours=1))

    def given(self, public: str = "annex.example.org", key: str | None = None) -> Tls:
        return Tls(ANYWHERE, Address(public, 7001), certificate=self.pem, key=key or self.pem)

    def at(self, days: float, tls: Tls) -> list[str]:
        class Then(datetime):
            @classmethod
            def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
                return datetime.now(UTC) + timedelta(days=days)

        with mock.patch.object(checking, "datetime", Then):
            return self.notes(tls)

    def test_good(self) -> None:
        self.assertEqual([], self.notes())
        self.assertEqual([], self.notes(self.given()))
        self.assertEqual([], self.notes(Tls(ANYWHERE)))
        self.assertEqual([], self.notes(Tls(ANYWHERE, client_ca=self.authority.file)))

    def test_dates(self) -> None:
        for days, words in ((-2, "is not good before "), (0.99, "expires on "), (2, "has expired on ")):
            [note] = self.at(days, self.given())
            self.assertTrue(note.startswith(f"{self.pem} {words}"), note)

    def test_names(self) -> None:
        [note] = self.notes(self.given("other.example.org"))
        self.assertIn("is not for other.example.org", note)
        self.assertEqual([], self.notes(self.given("ANNEX.example.org")))
        self.pem = self.authority.issue("*.example.net")
        self.assertEqual([], self.notes(self.given("x.example.net")))
        self.assertEqual(1, len(self.notes(self.given("example.net"))))

    def test_wrong(self) -> None:
        junk = self.file("junk", b"nonsense\n")
        for tls, file in (
            (self.given(key=junk), junk),
            (self.given(key=self.authority.issue("other")), self.directory),
            (Tls(ANYWHERE, certificate="/nonexistent", key="/nonexistent"), "/nonexistent: "),
            (Tls(ANYWHERE, client_ca=junk), junk),
        ):
            [error] = self.errors(tls)
            self.assertTrue(error.startswith(file), error)

    def test_annexd_s_own(self) -> None:
        """Where there is one already."""
        own_fingerprint(self.state)
        path = os.path.join(self.state, "tls.pem")
        check_files(Config(listen=Listen(Tls(ANYWHERE))), self.state)
        with open(path, "w") as file:
            file.write("nonsense\n")
        error = self.assertRaises(ConfigError, check_files, Config(listen=Listen(Tls(ANYWHERE))), self.state)
        self.assertTrue(str(error).startswith(f"{path}: "), error)


class OfSsh(Case):
    def setUp(self) -> None:
        super().setUp()
        self.line = authorized(ed25519_key(), 'command="annexd-shell --user alice"') + b"\n"
        self.keys = self.file("authorized_keys", self.line)

    def test_good(self) -> None:
        host_key = self.file("host_key", _private(ed25519_key()))
        self.assertEqual([], self.notes(ssh=Ssh(ANYWHERE, authorized_keys=self.keys)))
        self.assertEqual([], self.notes(ssh=Ssh(ANYWHERE, (host_key,), authorized_keys=self.keys)))

    def test_host_keys(self) -> None:
        junk = self.file("junk", b"nonsense\n")
        open_to_all = self.file("open", _private(ed25519_key()), 0o644)
        for path, words in ((junk, "is not a private key"), (open_to_all, "others may read")):
            [error] = self.errors(ssh=Ssh(ANYWHERE, (path,), authorized_keys=self.keys))
            self.assertIn(words, error)

    def test_both_are_looked_at(self) -> None:
        tls = Tls(ANYWHERE, certificate="/nonexistent", key="/nonexistent")
        self.assertEqual(2, len(self.errors(tls, Ssh(ANYWHERE, ("/missing",), authorized_keys=self.keys))))

    def test_users(self) -> None:
        """Lines that count for nothing are named; the others go on to count."""
        wrong = self.file("wrong", self.line + b"nonsense\n")
        self.assertEqual(
            [f"{wrong}:2: there is no key in the line"], self.notes(ssh=Ssh(ANYWHERE, authorized_keys=wrong))
        )
        [note] = self.notes(ssh=Ssh(ANYWHERE, authorized_keys="/nonexistent/keys"))
        self.assertEqual("/nonexistent/keys does not exist, so nobody can log in", note)

    def test_a_file_each(self) -> None:
        users = os.path.join(self.directory, "users")
        os.mkdir(users)
        self.file("users/alice.pub", self.line)
        self.file("users/bob", self.line)
        [note] = self.notes(ssh=Ssh(ANYWHERE, users=users))
        self.assertEqual(f"{users}/bob:1: the file is that of bob, and the line names alice", note)
        [note] = self.notes(ssh=Ssh(ANYWHERE, users="/nonexistent"))
        self.assertIn("nobody can log in", note)


def _private(key: object) -> bytes:
    text: bytes = key.toString("openssh", subtype="v1")  # type: ignore[attr-defined]
    return text
