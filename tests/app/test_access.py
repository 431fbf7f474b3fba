"""Rules, and stores that keep to them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.access import (
    Access,
    Operation,
    Rights,
    Rule,
    Verdict,
    environment_limits,
    restricted,
)
from annexd.errors import Denied
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

    def test_nodes_behind_a_repository(self) -> None:
        only = Rule(("alice",), ("*",), Rights.READ_WRITE, "f:1", ("n*", "uuid-3"))
        access = Access([only, rule("alice", "*", Rights.READ_ONLY)])
        self.assertIs(Rights.READ_ONLY, access.rights("alice", b"/srv/a"))
        for names, rights in (
            (("n1", "uuid-1"), Rights.READ_WRITE),
            (("x", "uuid-3"), Rights.READ_WRITE),
            (("x", "uuid-4"), Rights.READ_ONLY),
        ):
            self.assertIs(rights, access.verdict("alice", b"/srv/a", node=names).rights)
        self.assertIn(
            "none for x in this repository", Access([only]).verdict("alice", b"/a", node=["x"]).because
        )

    def test_case_counts(self) -> None:
        access = Access([rule("Alice", "*", Rights.NONE)])
        self.assertIs(Rights.READ_WRITE, access.rights("alice", b"/srv/a"))

    def test_paths_are_any_bytes(self) -> None:
        access = Access([rule("*", "/srv/caf\udcff", Rights.NONE)])
        self.assertIs(Rights.NONE, access.rights("alice", b"/srv/caf\xff"))

    def test_the_sentence_says_where(self) -> None:
        rules = [Rule(("bob",), ("*",), Rights.READ_ONLY, "/etc/annexd.toml:7")]
        self.assertEqual("/etc/annexd.toml:7", Access(rules).verdict("bob", b"/srv/a").because)
        self.assertEqual("no rule names alice", Access(rules).verdict("alice", b"/srv/a").because)

    def test_tokens_may_what_they_say(self) -> None:
        self.assertIs(Rights.READ_WRITE, Access().rights("token:x", b"/srv/a"))
        access = Access([rule("token:x", "/srv/a", Rights.READ_ONLY)])
        self.assertIs(Rights.READ_ONLY, access.rights("token:x", b"/srv/a"))
        self.assertIs(Rights.NONE, access.rights("token:x", b"/srv/b"))
        self.assertIs(Rights.READ_WRITE, access.rights("token:y", b"/srv/b"))

    def test_certificates_need_a_rule(self) -> None:
        verdict = Access([rule("alice", "*", Rights.READ_WRITE)]).verdict("certificate:alice", b"/srv/a")
        self.assertEqual(Verdict(Rights.NONE, "no rule names certificate:alice"), verdict)
        access = Access([rule("certificate:*", "*", Rights.APPEND_ONLY)])
        self.assertIs(Rights.APPEND_ONLY, access.rights("certificate:alice", b"/srv/a"))

    def test_a_star_names_everybody(self) -> None:
        access = Access([rule("*", "*", Rights.READ_ONLY)])
        for principal in ("alice", "token:x", "certificate:y", ""):
            self.assertIs(Rights.READ_ONLY, access.rights(principal, b"/srv/a"))


ALLOWED = {
    Rights.NONE: "",
    Rights.READ_ONLY: "enter check get lock watch pull",
    Rights.APPEND_ONLY: "enter check get lock watch pull put init",
    Rights.READ_WRITE: "enter check get lock watch pull put init remove push",
}

READ_ONLY = "this repository is read-only; write access denied"
APPEND_ONLY = "this repository is append-only; removal denied"


class Verdicts(SynchronousTestCase):
    def test_operations(self) -> None:
        for rights, names in ALLOWED.items():
            allowed = [operation.value for operation in Operation if rights.allow(operation)]
            self.assertEqual(names.split(), allowed)

    def denied(self, verdict: Verdict, operation: Operation, *words: str) -> tuple[str, str]:
        error = self.assertRaises(Denied, verdict.require, operation, *words)
        return str(error), error.logged

    def test_the_peer_learns_the_line_and_the_log_the_file(self) -> None:
        rules = [Rule(("*",), ("*",), Rights.READ_ONLY, "/etc/secret/annexd.toml:12")]
        verdict = Access(rules).verdict("alice", b"/srv/a")
        for operation in (Operation.PUT, Operation.REMOVE, Operation.PUSH):
            said, logged = self.denied(verdict, operation)
            self.assertEqual(f"{READ_ONLY} (annexd.toml:12)", said)
            self.assertEqual(f"{READ_ONLY} (/etc/secret/annexd.toml:12)", logged)
        self.assertEqual(
            "dropkey is not (annexd.toml:12)", self.denied(verdict, Operation.PUT, "dropkey is not")[0]
        )

    def test_append_only(self) -> None:
        verdict = Verdict(Rights.APPEND_ONLY, "f:1", "f:1")
        self.assertEqual(f"{APPEND_ONLY} (f:1)", self.denied(verdict, Operation.REMOVE)[0])
        # In git-annex's words: to push is to write.
        self.assertEqual(f"{READ_ONLY} (f:1)", self.denied(verdict, Operation.PUSH)[0])

    def test_without_a_reason(self) -> None:
        self.assertEqual((READ_ONLY, READ_ONLY), self.denied(Verdict(Rights.READ_ONLY), Operation.PUT))

    def test_none(self) -> None:
        for operation in Operation:
            said, _ = self.denied(Verdict(Rights.NONE, "f:1", "f:1"), operation)
            self.assertEqual("access to this repository is denied (f:1)", said)

    def test_within(self) -> None:
        ruled, limits = Verdict(Rights.APPEND_ONLY, "rule"), Verdict(Rights.READ_ONLY, "limit")
        self.assertEqual(limits, ruled.within(limits))
        self.assertEqual(limits, limits.within(ruled))
        self.assertEqual("rule", ruled.within(Verdict(Rights.APPEND_ONLY, "limit")).because)

    @given(st.sampled_from(Rights), st.sampled_from(Rights))
    def test_never_wider_than_either(self, first: Rights, second: Rights) -> None:
        both = Verdict(first).within(Verdict(second)).rights
        for operation in Operation:
            self.assertEqual(first.allow(operation) and second.allow(operation), both.allow(operation))

    def test_environment(self) -> None:
        read_only = Verdict(Rights.READ_ONLY, "GIT_ANNEX_SHELL_READONLY")
        self.assertEqual(read_only, environment_limits(True, True))
        self.assertEqual(read_only, environment_limits(True, False))
        self.assertEqual(READ_ONLY, self.denied(read_only, Operation.PUT)[0], "word for word")
        self.assertIs(Rights.APPEND_ONLY, environment_limits(False, True).rights)
        self.assertIs(Rights.READ_WRITE, environment_limits(False, False).rights)


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
            getattr(restricted(Willing(), Verdict(rights, "f:1", "f:1")), name)(*args)
        )
        return str(self.failureResultOf(deferred, Denied).value)

    def allowed(self, rights: Rights, name: str, *args: object) -> None:
        willing = Willing()
        deferred: Deferred[object] = Deferred.fromCoroutine(
            getattr(restricted(willing, Verdict(rights)), name)(*args)
        )
        self.successResultOf(deferred)
        self.assertEqual([name], willing.done)

    def test_all(self) -> None:
        willing = Willing()
        self.assertIs(willing, restricted(willing, Verdict(Rights.READ_WRITE)))

    def test_read_only(self) -> None:
        text = f"{READ_ONLY} (f:1)"
        self.assertEqual(text, self.refusal(Rights.READ_ONLY, "write", KEY, b""))
        self.assertEqual(text, self.refusal(Rights.READ_ONLY, "remove", KEY))
        self.assertEqual(text, self.refusal(Rights.READ_ONLY, "remove", KEY, 3))

    def test_append_only(self) -> None:
        text = f"{APPEND_ONLY} (f:1)"
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
        self.assertEqual(b"u", restricted(Willing(), Verdict(Rights.READ_ONLY)).uuid)
