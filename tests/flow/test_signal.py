from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import PeerLost, Stalled
from annexd.flow.signal import Signal, first_of


class SignalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.signal = Signal(self.clock)

    def wait(self, seconds: float) -> Deferred[None]:
        return Deferred.fromCoroutine(self.signal.wait(seconds, "silence"))

    def test_wakes(self) -> None:
        wait = self.wait(5)
        self.assertNoResult(wait)
        self.signal.wake()
        self.assertIsNone(self.successResultOf(wait))

    def test_the_deadline(self) -> None:
        wait = self.wait(5)
        self.clock.advance(4.9)
        self.assertNoResult(wait)
        self.clock.advance(0.2)
        self.failureResultOf(wait, Stalled)

    def test_each_wait_has_its_own_deadline(self) -> None:
        for seconds in 100, 5, 50, 1:
            for _ in range(3):
                wait = self.wait(seconds)
                self.clock.advance(seconds * 0.9)
                self.assertNoResult(wait)
                self.signal.wake()
                self.successResultOf(wait)
            wait = self.wait(seconds)
            self.clock.advance(seconds * 0.9)
            self.assertNoResult(wait)
            self.clock.advance(seconds * 0.2)
            self.failureResultOf(wait, Stalled)

    def test_putting_off_grants_the_whole_time_again(self) -> None:
        wait = self.wait(5)
        for _ in range(3):
            self.clock.advance(4)
            self.signal.put_off(5, "silence")
        self.clock.advance(4.9)
        self.assertNoResult(wait)
        self.clock.advance(0.2)
        self.failureResultOf(wait, Stalled)

    def test_an_unused_signal_leaves_no_timer_for_ever(self) -> None:
        wait = self.wait(5)
        self.signal.wake()
        self.successResultOf(wait)
        self.clock.advance(5)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_failing_ends_this_wait_and_all_that_follow(self) -> None:
        wait = self.wait(5)
        self.signal.fail(PeerLost("gone"))
        self.failureResultOf(wait, PeerLost)
        self.signal.fail(PeerLost("again"))
        self.assertEqual(str(self.failureResultOf(self.wait(5), PeerLost).value), "gone")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_cancelled_wait_can_be_followed_by_another(self) -> None:
        wait = self.wait(5)
        wait.cancel()
        self.failureResultOf(wait, CancelledError)
        again = self.wait(5)
        self.signal.wake()
        self.successResultOf(again)

    def test_a_second_waiter_does_not_take_the_place_of_the_first(self) -> None:
        wait = self.wait(5)
        self.failureResultOf(self.wait(5), AssertionError)
        self.signal.wake()
        self.successResultOf(wait)


class FirstOfTests(SynchronousTestCase):
    def test_the_first_counts_and_the_rest_is_cancelled(self) -> None:
        first: Deferred[int] = Deferred()
        second: Deferred[int] = Deferred()

        async def wait(deferred: Deferred[int]) -> int:
            return await deferred

        both = Deferred.fromCoroutine(first_of(wait(first), wait(second)))
        second.callback(3)
        self.assertEqual(self.successResultOf(both), 3)
        self.assertTrue(first.called)

    def test_so_does_the_first_error(self) -> None:
        first: Deferred[int] = Deferred()
        second: Deferred[int] = Deferred()

        async def wait(deferred: Deferred[int]) -> int:
            return await deferred

        both = Deferred.fromCoroutine(first_of(wait(first), wait(second)))
        first.errback(PeerLost("gone"))
        self.failureResultOf(both, PeerLost)
        self.assertTrue(second.called)
