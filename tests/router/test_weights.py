"""Tests of `annexd.router.weights`."""

from __future__ import annotations

from twisted.trial import unittest

from annexd.router.weights import Quality, Weights


class Costs(unittest.TestCase):
    def cost(self, quality: Quality) -> float:
        return Weights({"n": quality}).cost("n", 200)

    def test_unmeasured(self) -> None:
        self.assertEqual(Weights().cost("n", 100), 110)
        self.assertEqual(self.cost(Quality()), 210)

    def test_a_second_is_the_difference_between_disk_and_network(self) -> None:
        self.assertEqual(self.cost(Quality(latency_s=1.0)), 310)
        self.assertEqual(self.cost(Quality(bytes_per_s=float(1 << 20))), 310)
        self.assertEqual(self.cost(Quality(latency_s=0.5, bytes_per_s=float(2 << 20))), 310)

    def test_in_order(self) -> None:
        rising = [
            Quality(latency_s=0.0001),
            Quality(latency_s=0.02),
            Quality(latency_s=0.1),
            Quality(latency_s=0.1, slow=True),
            Quality(bytes_per_s=0.0),
            Quality(up=False),
        ]
        costs = [self.cost(quality) for quality in rising]
        self.assertEqual(costs, sorted(set(costs)))

    def test_negative_costs_count_as_none(self) -> None:
        self.assertEqual(Weights().cost("n", -5), 10)

    def test_small_changes_change_nothing(self) -> None:
        one, other = (Weights({"n": Quality(latency_s=s)}) for s in (0.100, 0.103))
        self.assertEqual(one, other)
        self.assertEqual(hash(one), hash(other))
        self.assertNotEqual(one, Weights({"n": Quality(latency_s=0.3)}))
        self.assertNotEqual(one, "weights")

    def test_what_adds_nothing_is_equal_to_nothing(self) -> None:
        self.assertEqual(Weights({"n": Quality()}), Weights())
