"""Who is to have what arrives."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from annexd.router.clusters import is_cluster
from annexd.router.placement import Placement, place
from annexd.router.ports import Way, Wish
from tests.support.clusters import CLUSTER
from tests.support.nodes import FakeNode

A, B, C = b"a", b"b", b"c"
WAYS = [FakeNode("a").way(), FakeNode("gw").way(reaches=(B, C))]


class Places(SynchronousTestCase):
    def check(self, holders: set[bytes], wishes: dict[bytes, Wish], *targets: bytes) -> Placement:
        placement = place(WAYS, frozenset(holders), wishes)
        self.assertEqual(placement.targets, frozenset(targets))
        self.assertEqual(bool(placement.reason), not targets)
        return placement

    def test_those_that_want_it(self) -> None:
        self.check(set(), {A: Wish.WANTED, B: Wish.UNWANTED, C: Wish.FULL}, A)
        self.check(set(), dict.fromkeys((A, B, C), Wish.WANTED), A, B, C)

    def test_and_lack_it(self) -> None:
        self.check({A, b"elsewhere"}, dict.fromkeys((A, B, C), Wish.WANTED), B, C)

    def test_nobody_wants_it(self) -> None:
        self.check({b"elsewhere"}, dict.fromkeys((A, B, C), Wish.UNWANTED), A, B, C)

    def test_nobody_else_wants_it(self) -> None:
        self.check({A}, {B: Wish.UNWANTED, C: Wish.UNWANTED})

    def test_they_are_full(self) -> None:
        placement = self.check(set(), {A: Wish.UNWANTED, B: Wish.FULL, C: Wish.UNWANTED})
        self.assertIn("full", placement.reason)

    def test_all_have_it(self) -> None:
        self.check({A, B, C}, {})

    def test_no_ways(self) -> None:
        empty: list[Way] = []
        self.assertTrue(place(empty, frozenset(), {}).reason)


class Uuids(SynchronousTestCase):
    def test_clusters(self) -> None:
        self.assertTrue(is_cluster(CLUSTER))

    def test_others(self) -> None:
        for uuid in (
            b"",
            b"n1",
            CLUSTER[:-1],
            b"ac808f00-0000-4000-8000-000000000000",
            b"bc808f00-0000-8000-8000-000000000000",
        ):
            self.assertFalse(is_cluster(uuid))
