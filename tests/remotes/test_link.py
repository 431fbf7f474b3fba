"""The pool of connections to one peer, and what it makes of a peer that does not answer."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import Unavailable
from annexd.node import Health
from annexd.protocol.keys import Key
from annexd.remotes.link import Link
from annexd.remotes.peer import PeerNode
from annexd.store import Caller
from tests.support.far_peer import Scripted

KEY = Key.parse(b"WORM-s3--x")
CHECK = b"CHECKPRESENT WORM-s3--x\n"
MOST = 3


class LinkCase(SynchronousTestCase):
    settles = False

    def setUp(self) -> None:
        self.clock = Clock()
        self.dialer = Scripted()
        self.link = Link(
            "far",
            b"u",
            self.dialer,
            self.clock,
            most=MOST,
            settles=self.settles,
            random=Random(1),
            time_of_day=lambda: 1e9 + self.clock.seconds(),
        )
        self.node = PeerNode(self.link, 200.0, self.clock.seconds)
        self.started: list[Deferred[Any]] = []
        self.readers: list[Any] = []

    def tearDown(self) -> None:
        """Nothing is left for the garbage collector to end."""
        self.link.close()
        for deferred in self.started:
            deferred.addErrback(lambda failure: failure.trap(Unavailable))

    def start(self, coroutine: Any) -> Deferred[Any]:
        self.started.append(Deferred.fromCoroutine(coroutine))
        return self.started[-1]

    def store(self, *bypass: bytes) -> Any:
        return self.node.store(Caller(b"client", "alice", bypass))

    def ask(self, *bypass: bytes) -> Deferred[Any]:
        return self.start(self.store(*bypass).present(KEY))

    def answer(self, number: int = -1, line: bytes = b"SUCCESS\n") -> None:
        self.dialer.scripts[number].transport.write(line)

    def asked(self) -> list[int]:
        """The numbers of the connections on which a question has come since the last call."""
        return [n for n, script in enumerate(self.dialer.scripts) if script.hear().endswith(CHECK)]

    def ask_and_answer(self) -> None:
        asked = self.ask()
        self.answer()
        self.assertIs(self.successResultOf(asked), True)
        self.asked()

    def assert_health(self, health: Health) -> None:
        self.assertEqual(self.node.condition.health, health, self.node.condition.reason)

    def assert_unavailable(self, asked: Deferred[Any], *words: str) -> None:
        error = str(self.failureResultOf(asked, Unavailable).value)
        for word in words:
            self.assertIn(word, error)


class Pool(LinkCase):
    def test_nothing_is_opened_before_it_is_used(self) -> None:
        self.store()
        self.assertEqual(self.dialer.scripts, [])

    def test_as_many_as_may_be_and_the_others_wait(self) -> None:
        asks = [self.ask() for _ in range(MOST + 2)]
        self.assertEqual(self.asked(), [0, 1, 2])
        self.answer(1)
        self.assertIs(self.successResultOf(asks[1]), True)
        self.assertEqual(self.asked(), [1])
        self.answer(1)
        self.assertIs(self.successResultOf(asks[MOST]), True)
        self.assertEqual(len(self.dialer.scripts), MOST)

    def test_nobody_waits_long(self) -> None:
        """As for those who may be waiting for him with another node."""
        self.read(MOST)
        waiting = self.ask()
        self.clock.advance(7)
        self.assertEqual(len(self.dialer.scripts), MOST)
        self.clock.advance(1)
        self.answer()
        self.assertIs(self.successResultOf(waiting), True)
        self.ask_and_answer()
        self.assertEqual(len(self.dialer.scripts), MOST + 1)

    def test_there_is_an_end_to_it(self) -> None:
        self.read(MOST)
        self.read(MOST * 7, wait=8)
        waiting = self.ask()
        self.clock.advance(8)
        self.clock.advance(22)
        self.assert_unavailable(waiting, "far is busy")
        self.assert_health(Health.UP)
        self.assertEqual(self.node.condition.busy, MOST * 8)

    def read(self, count: int, wait: float = 0) -> None:
        for _ in range(count):
            opening = self.start(self.store().read(KEY, 0, b""))
            self.clock.advance(wait)
            self.answer(line=b"DATA 9\n")
            self.readers.append(self.successResultOf(opening))

    def test_whoever_gives_up_waiting_is_forgotten(self) -> None:
        asks = [self.ask() for _ in range(MOST + 2)]
        asks[MOST].cancel()
        self.failureResultOf(asks[MOST], CancelledError)
        self.asked()
        self.answer(0)
        self.assertEqual(self.asked(), [0])
        self.answer(0)
        self.assertIs(self.successResultOf(asks[MOST + 1]), True)

    def test_locks_are_in_nobodys_way(self) -> None:
        for _ in range(MOST + 1):
            locking = self.start(self.store().lock(KEY))
            self.answer()
            self.successResultOf(locking)
        self.ask_and_answer()

    def test_a_lock_is_let_go_and_its_connection_used_again(self) -> None:
        locking = self.start(self.store().lock(KEY))
        self.answer()
        lease = self.successResultOf(locking)
        self.clock.advance(6 * 3600)
        self.dialer.script.hear()
        self.successResultOf(self.start(lease.release()))
        self.assertEqual(self.dialer.script.hear(), b"UNLOCKCONTENT\n")
        self.ask_and_answer()
        self.assertEqual(len(self.dialer.scripts), 1)

    def test_idle_ones_are_kept_and_closed_after_a_while(self) -> None:
        asks = [self.ask(), self.ask()]
        self.answer(0)
        self.answer(1)
        self.clock.advance(40)
        self.ask_and_answer()  # on the one that was used last
        self.clock.advance(21)
        self.assertEqual([script.lost for script in self.dialer.scripts], [True, False])
        self.clock.advance(40)
        self.assertEqual(self.dialer.living, [])
        self.assertEqual(len(asks), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_connections_are_for_one_way_through_gateways(self) -> None:
        for bypass in ((b"g1",), (b"g2",), (b"g1", b"g2"), ()):
            asked = self.ask(*bypass)
            self.answer()
            self.successResultOf(asked)
        self.assertEqual(len(self.dialer.scripts), 4)
        self.assertEqual(len(self.dialer.living), MOST, "one that was idle made room")
        again = self.ask(b"g2")
        self.answer(1)
        self.successResultOf(again)
        self.assertEqual(len(self.dialer.scripts), 4)

    def test_one_that_has_ended_is_replaced(self) -> None:
        self.ask_and_answer()
        self.dialer.script.transport.loseConnection()
        self.ask_and_answer()
        self.assertEqual(len(self.dialer.scripts), 2)

    def test_one_that_speaks_unasked_is_replaced(self) -> None:
        self.ask_and_answer()
        self.answer()
        self.ask_and_answer()
        self.assertEqual(len(self.dialer.scripts), 2)

    def test_one_that_dies_of_the_question_is_replaced_where_it_may_be_asked_again(self) -> None:
        self.ask_and_answer()
        asked = self.ask()
        self.dialer.script.transport.loseConnection()
        self.answer()
        self.assertIs(self.successResultOf(asked), True)
        self.assertEqual(len(self.dialer.scripts), 2)

        removal = self.start(self.store().remove(KEY))
        self.dialer.script.transport.loseConnection()
        self.assert_unavailable(removal)
        self.assertEqual(len(self.dialer.scripts), 2)

    def test_a_fresh_one_that_dies_is_not(self) -> None:
        asked = self.ask()
        self.dialer.script.transport.loseConnection()
        self.assert_unavailable(asked)
        self.assertEqual(len(self.dialer.scripts), 1)
        self.assert_health(Health.UP)

    def test_a_cancelled_request_takes_its_connection_along(self) -> None:
        asked = self.ask()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual(self.dialer.living, [])
        self.ask_and_answer()

    def test_closing(self) -> None:
        self.ask_and_answer()
        under_way = self.ask()
        locking = self.start(self.store().lock(KEY))
        self.answer()
        lease = self.successResultOf(locking)
        self.link.close()
        self.assert_unavailable(under_way)
        self.assertEqual(self.dialer.living, [])
        self.successResultOf(self.start(lease.release()))
        self.assert_unavailable(self.ask())
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Settling(LinkCase):
    """The peer commits what it has recorded when the connection ends."""

    settles = True

    def remove(self) -> None:
        removal = self.start(self.store().remove(KEY))
        self.answer()
        self.assertTrue(self.successResultOf(removal).ok)

    def test_soon_after_a_change(self) -> None:
        self.remove()
        self.clock.advance(4)
        self.remove()
        self.clock.advance(4)
        self.assertEqual(len(self.dialer.living), 1)
        self.clock.advance(1)
        self.assertEqual(self.dialer.living, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_only_asks_may_do_so_for_long(self) -> None:
        self.ask_and_answer()
        self.clock.advance(59)
        self.assertEqual(len(self.dialer.living), 1)

    def test_one_that_is_never_idle_is_replaced_at_times(self) -> None:
        for _ in range(20):
            self.remove()
            self.clock.advance(2)
        self.assertEqual((len(self.dialer.scripts), len(self.dialer.living)), (2, 1))

    def test_an_older_one_may_stay_longer(self) -> None:
        asks = [self.ask(), self.ask()]
        self.answer(0)
        self.answer(1)
        self.assertEqual(len(asks), 2)
        self.remove()
        self.clock.advance(5)
        self.assertEqual([script.lost for script in self.dialer.scripts], [False, True])
        self.clock.advance(55)
        self.assertEqual(self.dialer.living, [])


class Silence(LinkCase):
    """A peer that does not answer costs one deadline, once."""

    def test_all_who_wait_are_told_at_once(self) -> None:
        warm = [self.ask() for _ in range(MOST)]
        for number in range(len(warm)):
            self.answer(number)
            self.assertIs(self.successResultOf(warm[number]), True)
        self.clock.advance(1)
        first = self.ask()
        self.clock.advance(29)
        others = [self.ask() for _ in range(MOST + 1)]
        self.clock.advance(2)
        for asked in [first, *others]:
            self.assert_unavailable(asked, "far", "deadline")
        self.assert_health(Health.DOWN)
        self.assertEqual(self.node.condition.since, 1e9 + 32)
        self.assertEqual(self.dialer.living, [])

    def test_all_who_come_are_told_at_once_until_it_is_back(self) -> None:
        self.assert_unavailable_after(31, self.ask())
        self.assert_unavailable(self.ask())
        self.clock.advance(1.01)
        self.assertIn(b"CHECKPRESENT", self.dialer.script.hear())
        self.assert_unavailable(self.ask())
        self.answer(line=b"FAILURE\n")
        self.assert_health(Health.SLOW)
        self.ask_and_answer()
        self.assertEqual(len(self.dialer.scripts), 2)
        self.clock.advance(61)
        self.assert_health(Health.UP)
        self.assertEqual((self.node.condition.reason, self.node.condition.since), ("", 1e9 + 92.01))

    def test_that_it_refuses_is_an_answer_too(self) -> None:
        self.assert_unavailable_after(31, self.ask())
        self.clock.advance(1.01)
        self.answer(line=b"ERROR not for you\n")
        self.ask_and_answer()

    def test_the_next_try_comes_later_each_time(self) -> None:
        self.dialer.refusal = "nobody listens"
        moments = []
        failures = 0
        for _ in range(400):
            self.assert_unavailable(self.ask(), "far cannot be reached: nobody listens")
            if self.link.vitals._failures > failures:
                moments.append(self.clock.seconds())
                failures = self.link.vitals._failures
            self.clock.advance(1)
        pauses = [b - a for a, b in zip(moments, moments[1:], strict=False)]
        self.assertLessEqual(pauses[0], 2)
        for pause, longest in zip(pauses, (1, 2, 4, 8, 16, 32, 60, 60), strict=False):
            self.assertLessEqual(longest / 2, pause)
            self.assertLessEqual(pause, longest + 1)
        self.dialer.refusal = ""
        self.clock.advance(60)
        self.answer()
        self.ask_and_answer()
        self.assert_health(Health.UP)

    def test_a_try_that_fails_is_in_nobodys_way(self) -> None:
        self.assert_unavailable_after(31, self.ask())
        self.clock.advance(2)
        for _ in range(31):
            self.assert_unavailable(self.ask())
            self.clock.advance(1)
        self.assertEqual(self.dialer.living, [])
        self.assert_health(Health.DOWN)
        self.assertEqual(self.node.condition.since, 1e9 + 31, "it has been so since the first time")
        self.clock.advance(2)
        self.dialer.script.transport.loseConnection()
        self.assert_health(Health.DOWN)
        self.clock.advance(4)
        self.answer()
        self.ask_and_answer()

    def test_who_comes_after_long_waits_for_it(self) -> None:
        self.assert_unavailable_after(31, self.ask())
        self.dialer.refusal = "nobody listens"
        self.pass_time(1000)
        self.dialer.refusal = ""
        probe = self.ask()
        self.assertNoResult(probe)
        self.assert_unavailable(self.ask())
        probe.cancel()
        self.failureResultOf(probe, CancelledError)
        self.ask_and_answer()

    def test_it_is_tried_rarely_when_nobody_asks(self) -> None:
        self.assert_unavailable_after(31, self.ask())
        self.dialer.refusal = "nobody listens"
        self.pass_time(700)
        failures = self.link.vitals._failures
        self.pass_time(1800)
        self.assertEqual(self.link.vitals._failures, failures + 2)
        self.dialer.refusal = ""
        while len(self.dialer.scripts) == 1:
            self.pass_time(1)
        self.assertLess(self.clock.seconds(), 3500)
        self.answer()
        self.assert_health(Health.SLOW)

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)

    def test_who_does_not_introduce_himself(self) -> None:
        self.dialer.silent = True
        asks = [self.ask(), self.ask()]
        self.clock.advance(10)
        asks.append(self.ask())
        self.clock.advance(5.1)
        for asked in asks:
            self.assert_unavailable(asked, "far cannot be reached: no answer within 15 seconds")
        self.assertEqual(self.dialer.living, [])
        self.dialer.silent = False
        self.clock.advance(1)
        self.answer()
        self.ask_and_answer()

    def test_a_stranger(self) -> None:
        self.dialer.silent = True
        asked = self.ask()
        self.dialer.script.say(b"AUTH-SUCCESS other\n")
        self.assert_unavailable(asked, "other")
        self.assertEqual(self.dialer.living, [])

    def test_what_a_program_said_explains_why_there_is_nobody(self) -> None:
        self.dialer.silent, self.dialer.said = True, "no such repository"
        asked = self.ask()
        self.dialer.script.transport.loseConnection()
        self.assert_unavailable(asked, "far cannot be reached: no such repository")

    def test_others_have_heard_from_it(self) -> None:
        stuck, other = self.ask(), self.start(self.store().read(KEY, 0, b""))
        self.answer(1, b"DATA 900\n")
        reader = self.successResultOf(other)
        for _ in range(31):
            self.clock.advance(1)
            self.answer(1, b"x")
        self.assert_unavailable(stuck)
        self.assert_health(Health.SLOW)
        self.answer(1, b"x" * 869)
        while reader.source.remaining:
            self.successResultOf(self.start(reader.source.read(1000)))
        self.ask_and_answer()

    def test_a_lock_and_a_transfer_outlive_it(self) -> None:
        opening = self.start(self.store().write(KEY, b""))
        self.answer(line=b"PUT-FROM 0\n")
        writer = self.successResultOf(opening)
        locking = self.start(self.store().lock(KEY))
        self.answer(1)
        self.successResultOf(locking)
        self.assert_unavailable_after(31, self.ask())
        self.assertEqual(self.dialer.living, self.dialer.scripts[:2])
        writer.announce(3)
        self.successResultOf(self.start(writer.sink.write(b"abc")))
        commit = self.start(writer.commit(True))
        self.answer(0)
        self.assertTrue(self.successResultOf(commit).ok)
        self.assert_health(Health.SLOW)
        self.ask_and_answer()

    def assert_unavailable_after(self, seconds: float, asked: Deferred[Any]) -> None:
        self.clock.advance(seconds)
        self.assert_unavailable(asked)

    def test_a_body_that_stops(self) -> None:
        opening = self.start(self.store().read(KEY, 0, b""))
        self.answer(line=b"DATA 9\nabc")
        reader = self.successResultOf(opening)
        self.successResultOf(self.start(reader.source.read(3)))
        rest = self.start(reader.source.read(6))
        self.clock.advance(31)
        self.failureResultOf(rest)
        self.successResultOf(self.start(reader.close(False)))
        self.assert_health(Health.DOWN)
        self.assert_unavailable(self.ask())

    def test_a_peer_that_takes_only_so_many(self) -> None:
        under_way = self.ask()
        self.dialer.refusal = "too many"
        waiting = self.ask()
        self.assertNoResult(waiting)
        self.answer(0)
        self.assertIs(self.successResultOf(under_way), True)
        self.answer(0)
        self.assertIs(self.successResultOf(waiting), True)
        self.assert_health(Health.UP)

    def test_what_is_measured(self) -> None:
        asked = self.ask()
        self.clock.advance(0.5)
        self.answer()
        self.successResultOf(asked)
        self.assertEqual(self.node.condition.latency_s, 0.5)
        opening = self.start(self.store().read(KEY, 0, b""))
        self.answer(line=b"DATA 100000\n")
        reader = self.successResultOf(opening)
        self.clock.advance(2)
        self.answer(line=b"x" * 100000 + b"VALID\n")
        while reader.source.remaining:
            self.successResultOf(self.start(reader.source.read(100000)))
        verdict = self.start(reader.valid())
        self.clock.advance(0)
        self.assertTrue(self.successResultOf(verdict))
        self.successResultOf(self.start(reader.close(True)))
        self.assertEqual(self.node.condition.bytes_per_s, 50000)
