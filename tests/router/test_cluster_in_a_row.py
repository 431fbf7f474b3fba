"""Gateways in a row, and what is wrong at its end: each hears it before it gives up itself."""

from __future__ import annotations

import itertools

from annexd.node import Condition
from annexd.router.limits import Limits, Waits, without_waits
from annexd.router.ports import Way
from annexd.store import Caller, Outcome, Store
from tests.support.clusters import KEY, ClusterCase, Scene
from tests.support.nodes import FakeNode

DEPTH = 4
OUTER_S = 15.0


class Neighbour:
    """A gateway as a node of another one, which waits for it no longer than `OUTER_S`."""

    is_local = False
    allowance = None
    cost = 200.0
    condition = Condition()

    def __init__(self, name: str, scene: Scene) -> None:
        self.name = name
        self.uuid = name.encode()
        self.told: list[tuple[bytes, ...]] = []
        self._scene = scene

    def store(self, caller: Caller) -> Store:
        self.told.append(caller.bypass)
        cluster = self._scene.session(answer=35.0, removal=95.0, outer_answer=OUTER_S)
        cluster.bypass(caller.bypass)
        return cluster

    def close(self) -> None:
        pass


class InARow(ClusterCase):
    """G0, which a client asks, to G4; each with a node of its own, of which the last one is frozen."""

    def setUp(self) -> None:
        self.make(1, is_local=False)
        first = self.scene
        self.scenes = [first]
        self.gateways: list[Neighbour] = []
        for number in range(1, DEPTH + 1):
            here, there = self.scenes[-1], Scene(FakeNode(f"m{number}", is_local=False), clock=first.clock)
            gateway = Neighbour(f"g{number}", there)
            behind = [f"m{n}".encode() for n in range(number, DEPTH + 1)]
            bypass = tuple(b"g%d" % n for n in range(number))
            here.ways = [here.nodes[0].way(), Way(gateway, frozenset(behind), 400.0, bypass)]
            self.scenes.append(there)
            self.gateways.append(gateway)
        self.scenes[-1].nodes[0].faults.frozen.add("remove")
        for scene in self.scenes:
            scene.log.known[KEY] = {b"n1", b"m1", b"m2", b"m3", b"m4"}

    def test_only_what_is_frozen_is_missed(self) -> None:
        removal = self.start(self.scene.session(answer=35.0, removal=95.0, outer_answer=OUTER_S).remove(KEY))
        self.scene.clock.pump([0.1] * round(OUTER_S * 10))
        outcome = removal.value()
        assert isinstance(outcome, Outcome)
        self.assertFalse(outcome.ok)
        self.assertEqual(outcome.also, (b"m1", b"m2", b"m3", b"n1"))
        self.assertIn("m4", outcome.reason)

    def test_each_waits_less_than_the_one_before(self) -> None:
        self.start(self.scene.session(outer_answer=OUTER_S).remove(KEY))
        waits = [Waits.told(gateway.told[0]) for gateway in self.gateways]
        seconds = [one.answer for one in waits if one is not None]
        self.assertEqual(seconds[0], OUTER_S)
        self.assertEqual(len(seconds), DEPTH)
        for former, later in itertools.pairwise(seconds):
            self.assertLess(later, 0.7 * former)

    def test_it_is_said_once(self) -> None:
        self.start(self.scene.session(outer_answer=OUTER_S).remove(KEY))
        for gateway in self.gateways:
            self.assertEqual(len(gateway.told[0]) - len(without_waits(gateway.told[0])), 1)


class Words(ClusterCase):
    def test_as_they_are_written(self) -> None:
        waits = Waits(7.5, 1 / 3)
        self.assertEqual(waits.word, b"waits:7.500:0.333")
        self.assertEqual(Waits.told([b"g1", waits.word]), Waits(7.5, 0.333))

    def test_the_least_counts(self) -> None:
        """Gateways that do not know the word pass on those that they got."""
        self.assertEqual(Waits.told([b"waits:10:3", b"waits:15:2.5"]), Waits(10, 2.5))

    def test_others(self) -> None:
        words = (b"g1", b"node:waits:1:1", b"waits:1", b"waits:-1:1", b"waits:1:1x", b"waits:9999999:1")
        self.assertIsNone(Waits.told(words))
        self.assertEqual(without_waits((*words, b"waits:1:1")), words)

    def test_who_says_nothing_waits_as_we_would(self) -> None:
        limits = Limits(answer=35, outer_answer=15, outer_stall=30, progress=60).behind()
        self.assertEqual((limits.answer, limits.progress), (10, 20))
        self.assertEqual(limits.outer, Waits(10, 20))

    def test_no_longer_than_ever(self) -> None:
        self.assertEqual(Limits(answer=5).behind(Waits(1000, 1000)).answer, 5)
