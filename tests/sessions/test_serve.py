"""The serving half of a session, against a store in memory and a scripted peer."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import FramingError, PeerLost, Refused, Stalled
from annexd.protocol.keys import Key
from annexd.sessions.activity import Activity
from annexd.sessions.deadlines import Deadlines
from annexd.sessions.serve import Server
from annexd.sessions.wire import Wire
from tests.support.duplex import Script, duplex
from tests.support.memory_store import MemoryStore, Shelf

KEY = b"SHA256-s5--2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
CONTENT = b"hello"
OTHER = b"SHA256-s3--ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


class Case(SynchronousTestCase):
    window = 64 * 1024

    def setUp(self) -> None:
        self.clock = Clock()
        self.shelf = Shelf(now=lambda: int(self.clock.seconds()) + 1000)
        self.store = MemoryStore(self.shelf)
        self.peer = Script()
        self.notices: list[str] = []
        self.wire = Wire(self.clock, Deadlines(idle=1000, stall=10, lock=100))
        _, self.end = duplex(self.peer, self.wire, self.window)
        activity = Activity(self.clock, id(self), "alice", b"/srv/x")
        self.passed: list[tuple[bytes, ...]] = []
        notice, bypass = self.notices.append, self.passed.append
        server = Server(self.wire, self.store, activity, notice=notice, bypass=bypass)
        self.done = Deferred.fromCoroutine(server.run())

    def hold(self, key: bytes = KEY, content: bytes = CONTENT) -> None:
        self.shelf.content[Key.parse(key)] = content

    def says(self, request: bytes, reply: bytes) -> None:
        self.assertEqual(self.peer.say(request), reply)

    def version(self, number: int) -> None:
        self.says(b"VERSION %d\n" % number, b"VERSION %d\n" % number)


class SimpleRequests(Case):
    def test_checks_presence(self) -> None:
        self.hold()
        self.says(b"CHECKPRESENT %b\nCHECKPRESENT %b\n" % (KEY, OTHER), b"SUCCESS\nFAILURE\n")

    def test_checks_however_they_are_cut(self) -> None:
        self.hold()
        self.says(b"CHECKPRESENT %b\r\n" % KEY, b"SUCCESS\n")
        self.says(b"CHECKPRESENT ", b"")
        self.says(b"%b\n" % OTHER, b"FAILURE\n")
        self.says(b"CHECKPRESENT %b\nGETTIME" % KEY, b"SUCCESS\n")
        self.says(b"STAMP\nCHECKPRESENT %b\n" % OTHER, b"TIMESTAMP 1000\nFAILURE\n")

    def test_a_peer_that_only_checks_is_not_idle(self) -> None:
        self.hold()
        for _ in range(3):
            self.clock.advance(900)
            self.says(b"CHECKPRESENT %b\n" % KEY, b"SUCCESS\n")
        self.clock.advance(1001)
        self.assertIsNone(self.successResultOf(self.done))

    def test_version_is_the_lower_one(self) -> None:
        for asked, got in (0, 0), (3, 3), (4, 4), (5, 4), (99, 4), (1, 1):
            self.says(b"VERSION %d\n" % asked, b"VERSION %d\n" % got)

    def test_timestamp(self) -> None:
        self.says(b"GETTIMESTAMP\n", b"TIMESTAMP 1000\n")

    def test_bypass_gets_no_reply(self) -> None:
        self.says(b"BYPASS a b\nBYPASS\nGETTIMESTAMP\n", b"TIMESTAMP 1000\n")
        self.assertEqual(self.passed, [(b"a", b"b"), ()])

    def test_garbage_is_answered_and_the_session_goes_on(self) -> None:
        for line in b"HELLO", b"", b"CHECKPRESENT", b"CHECKPRESENT nonsense", b"GET -1  " + KEY, b"DATA -1":
            self.says(line + b"\n", b"ERROR unknown command\n")
        self.says(b"SUCCESS\nPUT-FROM 3\nUNLOCKCONTENT\n", b"ERROR unexpected command\n" * 3)
        self.says(b"GETTIMESTAMP\n", b"TIMESTAMP 1000\n")

    def test_error_ends_an_idle_session(self) -> None:
        self.peer.say(b"ERROR whatever\n")
        self.assertIsNone(self.successResultOf(self.done))

    def test_hanging_up_ends_an_idle_session(self) -> None:
        self.peer.transport.loseConnection()
        self.assertIsNone(self.successResultOf(self.done))

    def test_what_came_before_the_end_of_input_is_answered(self) -> None:
        self.hold()
        self.peer.transport.write(b"CHECKPRESENT %b\nGETTIMESTAMP\nCHECKPR" % KEY)
        self.peer.transport.end_input_of_other()
        self.assertEqual(self.peer.hear(), b"SUCCESS\nTIMESTAMP 1000\n")
        self.assertIsNone(self.successResultOf(self.done))

    def test_a_line_without_end_closes_the_session(self) -> None:
        self.assertIn(b"ERROR ", self.peer.say(b"x" * 40000))
        self.failureResultOf(self.done, FramingError)

    def test_silence_ends_the_session(self) -> None:
        self.clock.advance(999)
        self.says(b"GETTIMESTAMP\n", b"TIMESTAMP 1999\n")
        self.clock.advance(999)
        self.assertNoResult(self.done)
        self.clock.advance(2)
        self.assertIsNone(self.successResultOf(self.done))

    def test_a_refusal_is_told_and_shown(self) -> None:
        self.store.refusing["present"] = Refused("the disk is on fire")
        self.says(b"CHECKPRESENT %b\n" % KEY, b"ERROR the disk is on fire\n")
        self.assertEqual(self.notices, ["the disk is on fire"])

    def test_a_refusal_may_name_any_path(self) -> None:
        self.store.refusing["present"] = Refused(os.fsdecode(b"/srv/caf\xe9 is locked"))
        self.says(b"CHECKPRESENT %b\n" % KEY, b"ERROR /srv/caf\\udce9 is locked\n")
        self.says(b"GETTIMESTAMP\n", b"TIMESTAMP 1000\n")

    def test_a_bug_ends_the_session(self) -> None:
        self.store.refusing["present"] = ZeroDivisionError("oops")
        self.says(b"CHECKPRESENT %b\n" % KEY, b"")
        self.failureResultOf(self.done, ZeroDivisionError)


class Outcomes(Case):
    """What the log says of a request that was cut off."""

    def reasons(self, cut: Callable[[], object]) -> list[str]:
        self.says(b"PUT  %b\n" % KEY, b"PUT-FROM 0\n")
        with capturedLogs() as events:
            cut()
        return [event["reason"] for event in events if event.get("result") == "lost"]

    def test_by_a_line_without_end(self) -> None:
        reasons = self.reasons(lambda: self.peer.say(b"x" * 40000))
        self.failureResultOf(self.done, FramingError)
        self.assertEqual(["a line of more than 32767 bytes"], reasons)

    def test_by_whoever_ends_the_session(self) -> None:
        self.assertEqual([], self.reasons(self.done.cancel))
        self.failureResultOf(self.done, CancelledError)


class Locks(Case):
    def setUp(self) -> None:
        super().setUp()
        self.hold()

    def test_held_until_unlocked(self) -> None:
        self.says(b"LOCKCONTENT %b\n" % KEY, b"SUCCESS\n")
        self.assertEqual(len(self.shelf.leases), 1)
        self.says(b"UNLOCKCONTENT\nGETTIMESTAMP\n", b"TIMESTAMP 1000\n")
        self.assertEqual(self.shelf.leases, [])

    def test_absent_content_cannot_be_locked(self) -> None:
        self.says(b"LOCKCONTENT %b\n" % OTHER, b"FAILURE\n")

    def test_anything_else_releases(self) -> None:
        for line in b"GETTIMESTAMP", b"garbage", b"ERROR x", b"UNLOCKCONTENT " + KEY:
            self.says(b"LOCKCONTENT %b\n" % KEY, b"SUCCESS\n")
            self.says(line + b"\n", b"ERROR expected UNLOCKCONTENT\n")
            self.assertEqual(self.shelf.leases, [])

    def test_a_vanished_client_releases(self) -> None:
        self.says(b"LOCKCONTENT %b\n" % KEY, b"SUCCESS\n")
        self.peer.transport.loseConnection()
        self.assertEqual(self.shelf.leases, [])
        self.failureResultOf(self.done, PeerLost)

    def test_a_client_is_told_of_a_lock_that_is_lost(self) -> None:
        """By the end of the session, as it listens to nothing else."""
        self.says(b"LOCKCONTENT %b\n" % KEY, b"SUCCESS\n")
        self.shelf.leases[0].lose()
        self.assertEqual(self.shelf.leases, [])
        self.failureResultOf(self.done, PeerLost)

    def test_a_silent_client_releases(self) -> None:
        self.says(b"LOCKCONTENT %b\n" % KEY, b"SUCCESS\n")
        self.clock.advance(101)
        self.assertEqual(self.shelf.leases, [])
        self.failureResultOf(self.done, Stalled)


class Removal(Case):
    def setUp(self) -> None:
        super().setUp()
        self.hold()

    def test_removes(self) -> None:
        self.says(b"REMOVE %b\nREMOVE %b\n" % (KEY, KEY), b"SUCCESS\nSUCCESS\n")
        self.assertEqual(self.shelf.content, {})

    def test_in_time_and_too_late(self) -> None:
        self.says(b"REMOVE-BEFORE 1000 %b\n" % KEY, b"FAILURE\n")
        self.assertEqual(self.notices, ["too late"])
        self.says(b"REMOVE-BEFORE 1001 %b\n" % KEY, b"SUCCESS\n")

    def test_locked_content_stays_and_the_reason_is_told(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.store.lock(Key.parse(KEY))))
        self.says(b"REMOVE %b\n" % KEY, b"ERROR the content is locked\n")
        self.says(b"CHECKPRESENT %b\n" % KEY, b"SUCCESS\n")


class Download(Case):
    def setUp(self) -> None:
        super().setUp()
        self.hold()

    def test_every_version(self) -> None:
        self.says(b"GET 0 f %b\n" % KEY, b"DATA 5\nhello")
        self.says(b"SUCCESS\n", b"")
        for number in 1, 2, 3, 4:
            self.version(number)
            self.says(b"GET 0  %b\n" % KEY, b"DATA 5\nhelloVALID\n")
            self.says(b"SUCCESS\n", b"")
        self.assertEqual([taken for _, taken in self.shelf.closings], [True] * 5)

    def test_offsets(self) -> None:
        self.version(1)
        for offset, data in (0, b"hello"), (2, b"llo"), (5, b""), (9, b""):
            self.says(b"GET %d f %b\n" % (offset, KEY), b"DATA %d\n%bVALID\n" % (len(data), data))
            self.says(b"SUCCESS\n", b"")

    def test_absent(self) -> None:
        self.says(b"GET 0 f %b\n" % OTHER, b"DATA 0\n")
        self.says(b"FAILURE\n", b"")
        self.version(1)
        self.says(b"GET 0 f %b\n" % OTHER, b"DATA 0\nINVALID\n")
        self.says(b"FAILURE\nGETTIMESTAMP\n", b"TIMESTAMP 1000\n")

    def test_an_odd_verdict_is_consumed(self) -> None:
        self.says(b"GET 0 f %b\n" % KEY, b"DATA 5\nhello")
        self.says(b"GETTIMESTAMP\n", b"ERROR expected SUCCESS or FAILURE\n")
        self.version(2)
        self.says(b"GET 0 f %b\n" % KEY, b"DATA 5\nhelloVALID\n")
        self.says(b"nonsense\n", b"ERROR expected SUCCESS or SUCCESS-PLUS or FAILURE or FAILURE-PLUS\n")
        self.says(b"GET 0 f %b\n" % KEY, b"DATA 5\nhelloVALID\n")
        self.says(b"ERROR x\nGETTIMESTAMP\n", b"TIMESTAMP 1000\n")
        self.assertEqual([taken for _, taken in self.shelf.closings], [False] * 3)

    def test_a_verdict_that_never_comes_releases_everything(self) -> None:
        self.says(b"GET 0 f %b\n" % KEY, b"DATA 5\nhello")
        self.clock.advance(11)
        self.assertEqual(self.shelf.open, [])
        self.failureResultOf(self.done, Stalled)


class PromptDownload(Case):
    """The same where content is had without waiting: of each request, what is said and what is logged."""

    def setUp(self) -> None:
        super().setUp()
        self.shelf.prompt = True
        self.hold()

    def get(self, version: int = 4) -> None:
        self.says(b"GET 0 f %b\n" % KEY, b"DATA 5\nhello" + (b"VALID\n" if version else b""))

    def results(self, act: Callable[[], object]) -> list[tuple[str, int, str]]:
        with capturedLogs() as events:
            act()
        # Sessions of other tests may be collected, and end, at any time.
        own = [event for event in events if event.get("session") == id(self)]
        return [(event["verb"], event["bytes"], event["result"]) for event in own]

    def test_every_version(self) -> None:
        def act() -> None:
            self.get(0)
            self.says(b"SUCCESS\n", b"")
            for number in 1, 2, 3, 4:
                self.version(number)
                self.get()
                self.says(b"SUCCESS\n", b"")

        self.assertEqual(self.results(act), [("GET", 5, "done")] * 5)
        self.assertEqual(self.shelf.closings, [])

    def test_offsets(self) -> None:
        self.version(1)
        for offset, data in (0, b"hello"), (2, b"llo"), (5, b""), (9, b""):
            self.says(b"GET %d f %b\n" % (offset, KEY), b"DATA %d\n%bVALID\n" % (len(data), data))
            self.says(b"SUCCESS\n", b"")

    def test_the_verdict_and_the_next_question_however_they_are_cut(self) -> None:
        self.version(4)
        text = b"SUCCESS\nGET 0 f %b\n" % KEY
        answer = b"DATA 5\nhelloVALID\n"

        def act() -> None:
            self.get()
            for cut in range(len(text)):
                self.assertEqual(self.peer.say(text[:cut]) + self.peer.say(text[cut:]), answer)
            self.says(b"SUCCESS\nCHECKPRESENT %b\nGETTIMESTAMP\n" % KEY, b"SUCCESS\nTIMESTAMP 1000\n")

        self.assertEqual(self.results(act), [("GET", 5, "done")] * (len(text) + 1))

    def test_many_questions_at_once(self) -> None:
        question = b"GET 0 f %b\nSUCCESS\n" % KEY
        self.says(question * 50 + b"GETTIMESTAMP\n", b"DATA 5\nhello" * 50 + b"TIMESTAMP 1000\n")

    def test_other_verdicts(self) -> None:
        def act() -> None:
            self.get(0)
            self.says(b"GETTIMESTAMP\n", b"ERROR expected SUCCESS or FAILURE\n")
            self.version(2)
            self.get()
            self.says(b"nonsense\n", b"ERROR expected SUCCESS or SUCCESS-PLUS or FAILURE or FAILURE-PLUS\n")
            for verdict in b"ERROR x", b"FAILURE", b"FAILURE-PLUS a":
                self.get()
                self.says(verdict + b"\nGETTIMESTAMP\n", b"TIMESTAMP 1000\n")
            self.get()
            self.says(b"SUCCESS-PLUS a\n", b"")

        self.assertEqual(self.results(act), [("GET", 5, "failed")] * 5 + [("GET", 5, "done")])

    def test_a_verdict_that_never_comes(self) -> None:
        def act() -> None:
            self.get(0)
            self.clock.advance(6)
            self.peer.say(b"SUCC")
            self.clock.advance(9)
            self.assertNoResult(self.done)
            self.clock.advance(2)

        self.assertEqual(self.results(act), [("GET", 5, "lost")])
        self.failureResultOf(self.done, Stalled)

    def test_between_requests_a_peer_may_be_silent_for_longer(self) -> None:
        self.get(0)
        self.says(b"SUCCESS\n", b"")
        self.clock.advance(990)
        self.get(0)
        self.says(b"SUCC", b"")
        self.says(b"ESS\n", b"")
        self.clock.advance(990)
        self.assertNoResult(self.done)
        self.clock.advance(20)
        self.assertIsNone(self.successResultOf(self.done))

    def test_a_peer_that_leaves_instead(self) -> None:
        def act() -> None:
            self.get(0)
            self.peer.transport.loseConnection()

        self.assertEqual(self.results(act), [("GET", 5, "lost")])
        self.failureResultOf(self.done, PeerLost)

    def test_a_line_without_end_instead(self) -> None:
        self.get(0)
        reasons = self.results(lambda: self.peer.say(b"x" * 40000))
        self.assertEqual(reasons, [("GET", 5, "lost")])
        self.failureResultOf(self.done, FramingError)

    def test_what_cannot_be_had_at_once_is_waited_for(self) -> None:
        self.store.refusing["read"] = Refused("the disk is on fire")
        self.says(b"GET 0 f %b\n" % KEY, b"ERROR the disk is on fire\n")
        self.says(b"GET 0 f %b\n" % OTHER, b"ERROR the disk is on fire\n")

    def test_asking_without_listening_is_stopped(self) -> None:
        self.hold(b"WORM-s60000--x", bytes(60_000))
        self.peer.transport.pauseProducing()
        for _ in range(100):
            self.peer.say(b"GET 0  WORM-s60000--x\nSUCCESS\n")
        self.assertLess(self.end.most_unsent, 400_000)


class LongDownload(Case):
    window = 50_000

    def test_a_reader_that_pauses_bounds_what_is_buffered(self) -> None:
        content = bytes(range(256)) * 20_000
        self.hold(b"WORM-s5120000--x", content)
        self.peer.transport.pauseProducing()
        self.peer.say(b"GET 0  WORM-s5120000--x\n")
        self.assertLess(self.end.most_unsent, 400_000)
        self.clock.advance(9)
        self.assertNoResult(self.done)
        self.peer.transport.resumeProducing()
        self.assertEqual(self.peer.hear(), b"DATA 5120000\n" + content)
        self.assertLess(self.end.most_unsent, 400_000)

    def test_a_reader_that_never_comes_back_is_given_up(self) -> None:
        self.hold(b"WORM-s5120000--x", bytes(5_120_000))
        self.peer.transport.pauseProducing()
        self.peer.say(b"GET 0  WORM-s5120000--x\n")
        self.clock.advance(11)
        self.failureResultOf(self.done, Stalled)
        self.assertEqual(self.shelf.open, [])

    def test_asking_without_listening_is_stopped(self) -> None:
        self.peer.transport.pauseProducing()
        for _ in range(100):
            self.peer.say(b"GETTIMESTAMP\n" * 1000)
        self.assertLess(self.end.most_unsent, 400_000)


class Upload(Case):
    def test_every_version(self) -> None:
        for number in range(5):
            self.shelf.content.clear()
            self.version(number)
            self.says(b"PUT f %b\n" % KEY, b"PUT-FROM 0\n")
            self.says(b"DATA 5\nhello" + (b"VALID\n" if number else b""), b"SUCCESS\n")
            self.assertEqual(self.shelf.content, {Key.parse(KEY): CONTENT})

    def test_byte_by_byte(self) -> None:
        self.version(1)
        heard = b""
        for byte in b"PUT f %b\nDATA 5\nhelloVALID\nGETTIMESTAMP\n" % KEY:
            heard += self.peer.say(bytes([byte]))
        self.assertEqual(heard, b"PUT-FROM 0\nSUCCESS\nTIMESTAMP 1000\n")

    def test_already_here(self) -> None:
        self.hold()
        self.says(b"PUT f %b\n" % KEY, b"ALREADY-HAVE\n")

    def test_a_vanished_client_can_resume(self) -> None:
        self.version(1)
        self.says(b"PUT f %b\n" % KEY, b"PUT-FROM 0\n")
        self.peer.say(b"DATA 5\nhel")
        self.peer.transport.loseConnection()
        self.failureResultOf(self.done, PeerLost)
        self.assertEqual(self.shelf.partial, {Key.parse(KEY): b"hel"})
        self.assertEqual(self.shelf.open, [])

    def test_resumes(self) -> None:
        self.shelf.partial[Key.parse(KEY)] = b"hel"
        self.version(1)
        self.says(b"PUT f %b\n" % KEY, b"PUT-FROM 3\n")
        self.says(b"DATA 2\nloVALID\n", b"SUCCESS\n")

    def test_wrong_content_fails_with_a_reason(self) -> None:
        self.version(1)
        self.says(b"PUT f %b\n" % KEY, b"PUT-FROM 0\n")
        self.says(b"DATA 5\nhullo" + b"VALID\n", b"FAILURE\n")
        self.assertEqual(len(self.notices), 1)
        self.assertEqual((self.shelf.content, self.shelf.partial), ({}, {}))

    def test_odd_messages_instead_of_data(self) -> None:
        for line in b"GETTIMESTAMP", b"nonsense", b"DATA x", b"DATA-PRESENT":
            self.version(3)
            self.says(b"PUT f %b\n" % KEY, b"PUT-FROM 0\n")
            self.says(line + b"\n", b"ERROR expected DATA\n")
        self.says(b"PUT f %b\n" % KEY, b"PUT-FROM 0\n")
        self.says(b"ERROR changed my mind\nGETTIMESTAMP\n", b"TIMESTAMP 1000\n")
        self.assertEqual(self.shelf.open, [])

    def test_odd_validity_is_complained_of_and_then_decided(self) -> None:
        self.version(1)
        self.says(b"PUT f %b\n" % KEY, b"PUT-FROM 0\n")
        self.says(b"DATA 5\nhelloGETTIMESTAMP\n", b"ERROR expected VALID or INVALID\nSUCCESS\n")

    def test_invalid_but_right_content_is_taken(self) -> None:
        self.version(1)
        self.says(b"PUT f %b\n" % KEY, b"PUT-FROM 0\n")
        self.says(b"DATA 5\nhelloINVALID\n", b"SUCCESS\n")

    def test_an_upload_given_up_keeps_what_is_there(self) -> None:
        self.shelf.partial[Key.parse(KEY)] = b"hello"
        self.version(1)
        self.says(b"PUT f %b\n" % KEY, b"PUT-FROM 5\n")
        self.says(b"DATA 0\nINVALID\n", b"FAILURE\n")
        self.says(b"PUT f %b\n" % KEY, b"PUT-FROM 5\n")
        self.says(b"DATA 0\nVALID\n", b"SUCCESS\n")

    def test_content_that_came_by_other_means(self) -> None:
        self.version(4)
        self.says(b"PUT f %b\n" % KEY, b"PUT-FROM 0\n")
        self.says(b"DATA-PRESENT\n", b"FAILURE\n")
        self.says(b"PUT f %b\n" % KEY, b"PUT-FROM 0\n")
        self.hold()
        self.says(b"DATA-PRESENT\n", b"SUCCESS\n")

    def test_a_refused_upload_and_the_clients_protest(self) -> None:
        self.store.refusing["write"] = Refused("this repository is full")
        self.says(b"PUT f %b\n" % KEY, b"ERROR this repository is full\n")
        self.says(b"ERROR expected PUT_FROM or ALREADY_HAVE\nGETTIMESTAMP\n", b"TIMESTAMP 1000\n")
        self.assertNoResult(self.done)

    def test_a_stalled_upload_is_given_up(self) -> None:
        self.version(1)
        self.says(b"PUT f %b\n" % KEY, b"PUT-FROM 0\n")
        self.peer.say(b"DATA 5\nhel")
        self.clock.advance(11)
        self.failureResultOf(self.done, Stalled)
        self.assertEqual(self.shelf.partial, {Key.parse(KEY): b"hel"})


class Changes(Case):
    def test_tells_of_changes(self) -> None:
        self.says(b"NOTIFYCHANGE\n", b"")
        self.shelf.changed(b"a" * 40, b"b" * 40)
        self.assertEqual(self.peer.hear(), b"CHANGED %b %b\n" % (b"a" * 40, b"b" * 40))
        self.says(b"GETTIMESTAMP\n", b"TIMESTAMP 1000\n")

    def test_a_vanished_client_ends_the_wait(self) -> None:
        self.peer.say(b"NOTIFYCHANGE\n")
        self.peer.transport.loseConnection()
        self.failureResultOf(self.done, PeerLost)

    def test_git_is_told_when_it_may_not_connect(self) -> None:
        heard: Any = self.peer.say(b"CONNECT git-upload-pack\n")
        self.assertRegex(heard, rb"^DATA \d+\n[0-9a-f]{4}ERR .*CONNECTDONE 1\n$")
        self.assertIsNone(self.successResultOf(self.done))
