"""Rules, and stores that keep to them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.access import Access, Rights, Rule, environment_rights, restricted, stricter
from annexd.errors import Refused
from annexd.protocol.keys import Key

KEY = Key.parse(b"SHA256E-s3--abc")


def rule(users: str, repositories: str, rights: Rights) -> Rule:
    return Rule((users,), (repositories,), rights, "f:1")


class Rules(SynchronousTestCase):
    def test_who_has_no_rule_may_do_all(self) -> None:
        self.assertIs(Rights.READ_WRITE, Access().rights("alice", b"/srv/a"))
        self.assertIs(Rights.READ_WRITE, Access([rule("bob", "*", Rights.NONE)]).rights("alice", b"/srv/a"))

    def test_the_first_that_fits_decides(self) -> None:
        access = Access(
            [
                rule("al*", "/srv/a", Rights.APPEND_ONLY),
                rule("alice", "*", Rights.READ_ONLY),
                rule("*", "*", Rights.NONE),
            ]
        )
        self.assertIs(Rights.APPEND_ONLY, access.rights("alice", b"/srv/a"))
        self.assertIs(Rights.READ_ONLY, access.rights("alice", b"/srv/b"))
        self.assertIs(Rights.NONE, access.rights("bob", b"/srv/a"))
        self.assertEqual("f:1", access.verdict("bob", b"/srv/a").because)

    def test_who_has_rules_has_nothing_beside_them(self) -> None:
        verdict = Access([rule("alice", "/srv/a", Rights.READ_WRITE)]).verdict("alice", b"/srv/b")
        self.assertIs(Rights.NONE, verdict.rights)
        self.assertIn("none for this repository", verdict.because)

    def test_a_star_goes_down_into_directories(self) -> None:
        access = Access([rule("*", "/srv/*", Rights.READ_ONLY)])
        self.assertIs(Rights.READ_ONLY, access.rights("alice", b"/srv/a/b.git"))

    def test_every_name_of_a_repository_counts(self) -> None:
        access = Access([rule("*", "/data/*", Rights.NONE), rule("*", "*", Rights.READ_WRITE)])
        self.assertIs(Rights.NONE, access.rights("alice", b"/srv/a", b"/data/a"))

    def test_case_counts(self) -> None:
        access = Access([rule("Alice", "*", Rights.NONE)])
        self.assertIs(Rights.READ_WRITE, access.rights("alice", b"/srv/a"))

    def test_paths_are_any_bytes(self) -> None:
        access = Access([rule("*", "/srv/caf\udcff", Rights.NONE)])
        self.assertIs(Rights.NONE, access.rights("alice", b"/srv/caf\xff"))

    def test_the_stricter(self) -> None:
        self.assertIs(Rights.READ_ONLY, stricter(Rights.APPEND_ONLY, Rights.READ_ONLY))
        self.assertIs(Rights.NONE, stricter(Rights.NONE, Rights.READ_WRITE))

    def test_environment(self) -> None:
        self.assertIs(Rights.READ_ONLY, environment_rights(True, True))
        self.assertIs(Rights.APPEND_ONLY, environment_rights(False, True))
        self.assertIs(Rights.READ_WRITE, environment_rights(False, False))


class Willing:
    """A store that does everything, and remembers what."""

    uuid = b"u"

    def __init__(self) -> None:
        self.done: list[str] = []

    def __getattr__(self, name: str) -> Any:
        async def do(*args: object) -> str:
            self.done.append(name)
            return name

        return do


class Restricted(SynchronousTestCase):
    def refusal(self, rights: Rights, name: str, *args: object) -> str:
        deferred: Deferred[object] = Deferred.fromCoroutine(
            getattr(restricted(Willing(), rights), name)(*args)
        )
        return str(self.failureResultOf(deferred, Refused).value)

    def allowed(self, rights: Rights, name: str, *args: object) -> None:
        willing = Willing()
        deferred: Deferred[object] = Deferred.fromCoroutine(getattr(restricted(willing, rights), name)(*args))
        self.successResultOf(deferred)
        self.assertEqual([name], willing.done)

    def test_all(self) -> None:
        willing = Willing()
        self.assertIs(willing, restricted(willing, Rights.READ_WRITE))

    def test_read_only(self) -> None:
        text = "this repository is read-only; write access denied"
        self.assertEqual(text, self.refusal(Rights.READ_ONLY, "write", KEY, b""))
        self.assertEqual(text, self.refusal(Rights.READ_ONLY, "remove", KEY))
        self.assertEqual(text, self.refusal(Rights.READ_ONLY, "remove", KEY, 3))

    def test_append_only(self) -> None:
        text = "this repository is append-only; removal denied"
        self.assertEqual(text, self.refusal(Rights.APPEND_ONLY, "remove", KEY))
        self.assertEqual(text, self.refusal(Rights.APPEND_ONLY, "remove", KEY, 3))
        self.allowed(Rights.APPEND_ONLY, "write", KEY, b"")

    def test_reading(self) -> None:
        for rights in (Rights.READ_ONLY, Rights.APPEND_ONLY):
            self.allowed(rights, "present", KEY)
            self.allowed(rights, "lock", KEY)
            self.allowed(rights, "read", KEY, 0, b"")
            self.allowed(rights, "timestamp")
            self.allowed(rights, "changes")
            self.allowed(rights, "close")

    def test_none(self) -> None:
        for name, *args in (("present", KEY), ("lock", KEY), ("remove", KEY), ("read", KEY, 0, b"")):
            self.assertIn("denied", self.refusal(Rights.NONE, name, *args))
        self.assertIn("denied", self.refusal(Rights.NONE, "write", KEY, b""))
        self.assertIn("denied", self.refusal(Rights.NONE, "changes"))

    def test_the_uuid_is_the_store_s(self) -> None:
        self.assertEqual(b"u", restricted(Willing(), Rights.READ_ONLY).uuid)
