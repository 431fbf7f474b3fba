"""When the location log is committed, and by whom at a time."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import Refused
from annexd.flow.workers import InlineWorkers
from annexd.protocol.keys import Key
from annexd.repo.ledger import Ledger
from tests.repo.test_trips import LatePool

KEY = Key.parse(b"WORM--k")


class Notes:
    """In place of a branch."""

    def __init__(self) -> None:
        self.journal = 0
        self.commits: list[int] = []
        self.failing = 0

    def record(self, key: Key, present: bool, *_: object) -> bool:
        self.journal += present
        return present

    def commit(self) -> None:
        if self.failing:
            self.failing -= 1
            raise Refused("the branch is locked")
        self.commits.append(self.journal)
        self.journal = 0


class LedgerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.notes = Notes()
        branch: Any = self.notes
        self.ledger = Ledger(branch, self.notes.commit, InlineWorkers().disk, self.clock)

    def record(self, present: bool = True) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.ledger.run(self.ledger.record, KEY, present)))

    def do(self, coroutine: Any) -> None:
        self.successResultOf(Deferred.fromCoroutine(coroutine))

    def test_a_second_after_the_last_change(self) -> None:
        self.record()
        self.clock.advance(0.9)
        self.record()
        self.clock.advance(0.9)
        self.assertEqual(self.notes.commits, [])
        self.clock.advance(0.2)
        self.assertEqual(self.notes.commits, [2])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_put_off_forever(self) -> None:
        for _ in range(50):
            self.record()
            self.clock.advance(0.5)
        self.assertGreaterEqual(len(self.notes.commits), 2)

    def test_no_change_no_commit(self) -> None:
        self.record(False)
        self.clock.advance(5)
        self.do(self.ledger.flush())
        self.do(self.ledger.close())
        self.assertEqual(self.notes.commits, [])

    def test_flush(self) -> None:
        self.record()
        self.do(self.ledger.flush())
        self.assertEqual(self.notes.commits, [1])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close(self) -> None:
        self.record()
        self.do(self.ledger.close())
        self.assertEqual(self.notes.commits, [1])

    def test_a_failed_commit_is_tried_again(self) -> None:
        self.notes.failing = 2
        self.record()
        self.clock.pump([1.1, 10.1])
        self.assertEqual(self.notes.commits, [])
        self.clock.pump([10.1])
        self.assertEqual(self.notes.commits, [1])

    def test_a_failed_commit_does_not_keep_from_closing(self) -> None:
        self.notes.failing = 1
        self.record()
        self.do(self.ledger.close())
        self.assertEqual(self.notes.journal, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_failed_flush_is_tried_again(self) -> None:
        self.notes.failing = 1
        self.record()
        self.failureResultOf(Deferred.fromCoroutine(self.ledger.flush()), Refused)
        self.clock.advance(10.1)
        self.assertEqual(self.notes.commits, [1])

    def test_what_a_cancelled_flush_leaves(self) -> None:
        pool, ledger = self.changed()
        Deferred.fromCoroutine(ledger.run(lambda: None))
        flushing = Deferred.fromCoroutine(ledger.flush())
        flushing.cancel()
        self.failureResultOf(flushing, CancelledError)
        self.finish(pool)
        self.clock.advance(10.1)
        self.finish(pool)
        self.assertEqual(self.notes.commits, [1])

    def test_two_who_flush(self) -> None:
        """Both find their changes on the branch afterwards."""
        pool, ledger = self.changed()
        flushing = [Deferred.fromCoroutine(ledger.flush()) for _ in range(2)]
        for waiting in flushing:
            self.assertNoResult(waiting)
        self.finish(pool)
        self.assertEqual(self.notes.commits, [1])
        self.finish(pool)
        for waiting in flushing:
            self.successResultOf(waiting)
        self.assertEqual(self.notes.commits, [1])

    def test_one_at_a_time(self) -> None:
        pool = LatePool()
        branch: Any = self.notes
        ledger = Ledger(branch, self.notes.commit, pool, self.clock)
        order: list[str] = []
        first = Deferred.fromCoroutine(ledger.run(order.append, "first"))
        second = Deferred.fromCoroutine(ledger.run(order.append, "second"))
        self.assertFalse(ledger.idle)
        self.assertEqual(len(pool.work), 1)
        for waiting in (first, second):
            pool.go()()
            self.successResultOf(waiting)
        self.assertEqual(order, ["first", "second"])
        self.assertTrue(ledger.idle)

    def test_cancelled_at_work(self) -> None:
        """The next one's turn comes when the thread is done."""
        pool = LatePool()
        branch: Any = self.notes
        ledger = Ledger(branch, self.notes.commit, pool, self.clock)
        first = Deferred.fromCoroutine(ledger.run(lambda: None))
        Deferred.fromCoroutine(ledger.run(lambda: None))
        first.cancel()
        self.assertEqual(len(pool.work), 1)
        pool.go()()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(len(pool.work), 1)

    def test_cancelled_before_its_turn(self) -> None:
        pool = LatePool()
        branch: Any = self.notes
        ledger = Ledger(branch, self.notes.commit, pool, self.clock)
        done: list[str] = []
        Deferred.fromCoroutine(ledger.run(done.append, "first"))
        given_up = Deferred.fromCoroutine(ledger.run(done.append, "given up"))
        anyway = Deferred.fromCoroutine(ledger.run_anyway(done.append, "anyway"))
        for waiting in (given_up, anyway):
            waiting.cancel()
        self.failureResultOf(given_up, CancelledError)
        self.assertNoResult(anyway)
        while pool.work:
            pool.go()()
        self.failureResultOf(anyway, CancelledError)
        self.assertEqual(done, ["first", "anyway"])
        self.assertTrue(ledger.idle)

    def test_flush_during_a_commit(self) -> None:
        """What comes after the commit under way has begun is committed, too."""
        pool, ledger = self.changed()
        self.clock.advance(1.1)
        another = Deferred.fromCoroutine(ledger.run(ledger.record, KEY, True))
        flushing = Deferred.fromCoroutine(ledger.flush())
        self.assertNoResult(flushing)
        while pool.work:
            self.finish(pool)
        self.successResultOf(another)
        self.successResultOf(flushing)
        self.assertEqual(self.notes.commits, [1, 1])

    def changed(self) -> tuple[LatePool, Ledger]:
        """A ledger with something to commit."""
        pool = LatePool()
        branch: Any = self.notes
        ledger = Ledger(branch, self.notes.commit, pool, self.clock)
        change = Deferred.fromCoroutine(ledger.run(ledger.record, KEY, True))
        self.finish(pool)
        self.successResultOf(change)
        return pool, ledger

    def finish(self, pool: LatePool) -> None:
        pool.go()()
