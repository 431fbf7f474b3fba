"""Whom tokens let in, and how long they may stay."""

from __future__ import annotations

import os

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.access import Rights
from annexd.app.admin import Sessions
from annexd.app.token_file import Token, TokenFile, digest_of
from annexd.app.tokens import Admission, Tokens
from annexd.errors import Refused
from annexd.flow.workers import InlineWorkers

NAME, OTHER = b"a" * 128, b"b" * 128
START = 1_800_000_000


class Others:
    """One secret that git-annex made."""

    path: bytes | None = b"/srv/theirs"

    async def find(self, digest: str) -> bytes | None:
        return self.path if digest == digest_of(b"theirs") else None


class TokensTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        os.mkdir(self.directory)
        self.file = TokenFile(self.directory)
        self.clock = Clock()
        self.clock.advance(START)
        self.sessions = Sessions(self.clock, 100)
        self.stopped: list[tuple[str, str]] = []
        self.others = Others()
        self.aliases: dict[bytes, bytes] = {}
        self.tokens = self.make()
        self.tokens.start()

    def make(self) -> Tokens:
        pool = InlineWorkers().disk
        return Tokens(
            self.clock, pool, self.file, self.sessions, self.same, lambda: self.others, self.clock.seconds
        )

    async def same(self, one: bytes, other: bytes) -> bool:
        return self.aliases.get(one, one) == other

    def add(
        self,
        name: str,
        secret: bytes = NAME,
        repository: bytes = b"/srv/x",
        rights: Rights = Rights.APPEND_ONLY,
        expires: int | None = None,
    ) -> None:
        token = Token(name, repository, rights, digest_of(secret), START, expires)
        self.file.add([token], self.clock.seconds())

    def revoke(self, name: str, *repositories: bytes) -> None:
        self.file.revoke(name, repositories, self.clock.seconds())

    def admission(self, secret: bytes) -> Admission:
        return self.successResultOf(Deferred.fromCoroutine(self.tokens.admission(secret)))  # type: ignore[no-any-return]

    def refusal(self, secret: bytes) -> str:
        failure = self.failureResultOf(Deferred.fromCoroutine(self.tokens.admission(secret)), Refused)
        return str(failure.value)

    def check(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.tokens.check()))

    def come(self, secret: bytes, name: bytes | None = None) -> None:
        """A session as a listener opens it."""
        admission = self.admission(secret)
        repository = name or admission.path

        def stop(reason: str) -> None:
            self.stopped.append((admission.principal, reason))
            self.sessions.close(activity)

        activity = self.sessions.open(admission.principal, repository, "tls", stop)

    def over(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.tokens.stop()))
        self.assertEqual([], self.clock.getDelayedCalls())

    # --- admission -----------------------------------------------------

    def test_who_comes(self) -> None:
        self.add("alice")
        self.clock.advance(1)
        self.assertEqual(Admission("token:alice", b"/srv/x", Rights.APPEND_ONLY), self.admission(NAME))
        self.over()

    def test_several_of_one_name(self) -> None:
        self.add("alice", NAME, b"/srv/x", Rights.READ_ONLY)
        self.add("alice", OTHER, b"/srv/y", Rights.READ_WRITE)
        self.clock.advance(1)
        self.assertEqual((b"/srv/x", Rights.READ_ONLY), _place(self.admission(NAME)))
        self.assertEqual((b"/srv/y", Rights.READ_WRITE), _place(self.admission(OTHER)))

    def test_who_does_not(self) -> None:
        self.add("alice")
        self.add("bob", OTHER, expires=START + 5)
        self.clock.advance(5)
        self.revoke("alice")
        self.assertEqual("the token alice was revoked on 2027-01-15 08:00 UTC", self.refusal(NAME))
        self.assertEqual("the token bob expired on 2027-01-15 08:00 UTC", self.refusal(OTHER))
        for unknown in (b"", b"c" * 128, NAME[:-1], NAME + b"a", NAME.upper(), b"\xff"):
            self.assertEqual("there is no such token", self.refusal(unknown))

    def test_no_refusal_tells_a_secret(self) -> None:
        self.assertNotIn("ccc", self.refusal(b"c" * 128))

    def test_of_git_annex(self) -> None:
        admission = self.admission(b"theirs")
        self.assertEqual(Admission("token:git-annex", b"/srv/theirs", Rights.READ_WRITE), admission)
        self.others = Others()
        self.others.path = None
        self.assertEqual(b"/srv/theirs", self.admission(b"theirs").path)
        self.tokens.reload()
        self.assertEqual("there is no such token", self.refusal(b"theirs"))

    def test_what_cannot_be_read_lets_nobody_in(self) -> None:
        self.add("alice")
        self.clock.advance(1)
        self.come(NAME)
        with open(self.file.path, "w") as file:
            file.write("{")
        with capturedLogs() as events:
            for _ in range(3):
                self.clock.advance(2)
                self.assertIn(self.file.path, self.refusal(NAME))
        self.assertEqual(1, len([e for e in events if "no token is good" in e["log_format"]]))
        self.check()
        self.assertEqual([], self.stopped, "those inside stay")
        os.unlink(self.file.path)
        self.add("alice")
        self.clock.advance(1)
        self.admission(NAME)

    def test_a_spoilt_file_at_the_start(self) -> None:
        with open(self.file.path, "w") as file:
            file.write("{")
        self.tokens = self.make()
        self.tokens.start()
        self.assertIn(self.file.path, self.refusal(NAME))

    # --- the end of sessions -------------------------------------------

    def test_revoked(self) -> None:
        self.add("alice")
        self.add("bob", OTHER)
        self.clock.advance(1)
        self.come(NAME)
        self.come(OTHER)
        self.revoke("alice")
        self.check()
        self.assertEqual(
            [("token:alice", "the token alice was revoked on 2027-01-15 08:00 UTC")], self.stopped
        )
        self.over()

    def test_revoked_for_one_repository(self) -> None:
        self.add("alice", NAME, b"/srv/x")
        self.add("alice", OTHER, b"/srv/y")
        self.clock.advance(1)
        self.come(NAME)
        self.come(OTHER)
        self.revoke("alice", b"/srv/y")
        self.check()
        self.assertEqual({("token:alice", b"/srv/x", None)}, self.sessions.visits())

    def test_revoked_for_one_node(self) -> None:
        """The sessions by the principal's other tokens for the repository go on."""
        for secret, node in ((NAME, None), (OTHER, b"node")):
            token = Token("alice", b"/srv/x", Rights.READ_WRITE, digest_of(secret), START, node=node)
            self.file.add([token], START)
            self.clock.advance(1)
            self.assertEqual(node, self.admission(secret).node)
            self.sessions.open("token:alice", b"/srv/x", "tls", node=node)
        self.file.revoke("alice", (), self.clock.seconds(), [b"node"])
        stopped = self.patch_stop()
        self.check()
        self.assertEqual([("token:alice", b"/srv/x", b"node")], stopped)

    def patch_stop(self) -> list[object]:
        stopped: list[object] = []

        def stop(principal: str, reason: str, *visit: object) -> int:
            stopped.append((principal, *visit))
            return 1

        self.patch(self.sessions, "stop", stop)
        return stopped

    def test_replaced(self) -> None:
        """One that comes by the new token stays, whatever happened to the former."""
        self.add("alice")
        self.revoke("alice")
        self.add("alice", OTHER)
        self.clock.advance(1)
        self.come(OTHER)
        self.check()
        self.assertEqual([], self.stopped)

    def test_noticed_without_being_told(self) -> None:
        self.add("alice")
        self.clock.advance(1)
        self.come(NAME)
        self.revoke("alice")
        self.clock.advance(5)
        self.assertEqual(1, len(self.stopped))

    def test_one_who_was_at_the_door(self) -> None:
        """Revoked after it was let in and before there was a session to end."""
        self.add("alice")
        self.clock.advance(1)
        self.admission(NAME)
        self.revoke("alice")
        self.check()
        self.clock.advance(20)
        self.sessions.open(
            "token:alice", b"/srv/x", "tls", lambda reason: self.stopped.append(("late", reason))
        )
        self.clock.advance(5)
        self.assertEqual("late", self.stopped[0][0])

    def test_expiry_ends_sessions_when_its_time_comes(self) -> None:
        self.add("alice", NAME, expires=START + 100)
        self.add("bob", OTHER, expires=START + 7200)
        self.clock.advance(1)
        self.come(NAME)
        self.come(OTHER)
        self.clock.pump([1] * 98)
        self.assertEqual([], self.stopped)
        self.clock.advance(1)
        self.assertEqual(["token:alice"], [principal for principal, _ in self.stopped])
        self.clock.pump([1] * 7100)
        self.assertEqual(["token:alice", "token:bob"], [principal for principal, _ in self.stopped])

    def test_sessions_know_their_repository_by_another_name(self) -> None:
        self.aliases[b"/srv/x"] = b"/data/x"
        self.add("alice")
        self.clock.advance(1)
        self.come(NAME, b"/data/x")
        self.check()
        self.assertEqual([], self.stopped)
        self.revoke("alice")
        self.check()
        self.assertEqual(1, len(self.stopped))

    def test_a_token_that_vanished(self) -> None:
        self.add("alice")
        self.clock.advance(1)
        self.come(NAME)
        os.unlink(self.file.path)
        self.check()
        self.assertEqual([("token:alice", "the token alice is not there any more")], self.stopped)

    def test_others_are_let_be(self) -> None:
        for principal in ("alice", "certificate:alice", "token:git-annex"):
            self.sessions.open(principal, b"/srv/x", "tls", lambda reason: self.stopped.append(("", reason)))
        self.check()
        self.assertEqual([], self.stopped)

    def test_it_rests_when_nobody_is_inside(self) -> None:
        """Nothing wakes a machine on which nothing happens."""
        self.add("alice")
        self.clock.advance(1)
        self.come(NAME)
        for activity in self.sessions:
            self.sessions.close(activity)
        self.clock.pump([1] * 120)
        [call] = self.clock.getDelayedCalls()
        self.assertGreater(call.getTime() - self.clock.seconds(), 3000)

    # --- what is written down ------------------------------------------

    def test_last_use(self) -> None:
        self.add("alice")
        self.clock.advance(1)
        self.admission(NAME)
        self.clock.advance(1)
        self.admission(NAME)
        self.assertEqual({}, self.file.used(), "not with every request")
        self.clock.pump([1] * 60)
        self.assertEqual({digest_of(NAME): START + 2}, self.file.used())

    def test_last_use_before_the_end(self) -> None:
        self.add("alice")
        self.clock.advance(1)
        self.admission(NAME)
        self.over()
        self.assertEqual({digest_of(NAME): START + 1}, self.file.used())

    def test_last_use_that_cannot_be_written(self) -> None:
        self.add("alice")
        self.clock.advance(1)
        self.admission(NAME)
        os.rename(self.directory, self.directory + ".away")
        with capturedLogs() as events:
            self.clock.pump([1] * 60)
        self.assertIn("No such file", next(e["reason"] for e in events if "written down" in e["log_format"]))

    def test_changes_are_told(self) -> None:
        with capturedLogs() as events:
            self.add("alice")
            self.check()
            self.revoke("alice")
            self.check()
            self.check()
            os.unlink(self.file.path)
            self.check()
        told = [
            (e["event"], e["principal"], e["repository"])
            for e in events
            if e["log_namespace"] == "annexd.audit"
        ]
        self.assertEqual(
            [(event, "token:alice", "/srv/x") for event in ("token-added", "token-revoked", "token-removed")],
            told,
        )


def _place(admission: Admission) -> tuple[bytes, Rights]:
    return admission.path, admission.rights
