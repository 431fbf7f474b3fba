"""How long a peer that failed is left alone."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import Unavailable
from annexd.node import Health
from annexd.remotes.vitals import Backoff, Vitals


class BackoffTests(SynchronousTestCase):
    @given(st.integers(0, 10_000), st.integers())
    def test_bounds(self, failures: int, seed: int) -> None:
        delay = Backoff(first=1, most=60).delay(failures, Random(seed))
        self.assertGreaterEqual(delay, 0.5)
        self.assertLessEqual(delay, min(60, 2**failures))


class VitalsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.vitals = Vitals(self.clock, Random(1), lambda: 1e9 + self.clock.seconds(), Backoff())

    def test_one_at_a_time_tries_again(self) -> None:
        self.assertFalse(self.vitals.admit())
        self.vitals.failed("gone", silent=False)
        self.assertRaises(Unavailable, self.vitals.admit)
        self.clock.advance(1)
        self.assertTrue(self.vitals.admit())
        self.assertRaises(Unavailable, self.vitals.admit)
        self.vitals.probed()
        self.assertTrue(self.vitals.admit())
        self.vitals.answered()
        self.assertFalse(self.vitals.admit())

    def test_success_forgets_how_often_it_failed(self) -> None:
        for _ in range(10):
            self.vitals.failed("gone", silent=False)
        self.clock.advance(60)
        self.assertTrue(self.vitals.admit())
        self.vitals.answered()
        self.vitals.failed("gone", silent=False)
        self.clock.advance(1)
        self.assertTrue(self.vitals.admit())

    def test_each_miss_is_remembered_from_then_on(self) -> None:
        self.vitals.missed("late")
        self.clock.advance(59)
        self.vitals.missed("late again")
        self.clock.advance(59)
        condition = self.vitals.condition(3)
        self.assertEqual((condition.health, condition.reason, condition.busy), (Health.SLOW, "late again", 3))
        self.assertEqual(condition.since, 1e9)
        self.clock.advance(2)
        self.assertEqual(self.vitals.condition(0).health, Health.UP)

    def test_measurements_are_smoothed(self) -> None:
        for latency in (1.0, 2.0):
            self.vitals.answered(latency)
        self.assertEqual(self.vitals.condition(0).latency_s, 1.2)
        self.vitals.moved(1000, 1.0)
        self.assertIsNone(self.vitals.condition(0).bytes_per_s, "that says nothing")
        self.vitals.moved(1_000_000, 0.5)
        self.assertEqual(self.vitals.condition(0).bytes_per_s, 2e6)
