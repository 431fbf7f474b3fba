"""Work with deadlines, of which nobody waits for more than he must."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import PeerLost, Refused, Unavailable
from annexd.router.errands import Errands
from tests.support.nodes import Running


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.errands = Errands(self.clock)
        self.given_back: list[object] = []

    def start(self, work: Coroutine[Any, Any, Any]) -> Running:
        return Running(self.clock, work)

    async def give_back(self, result: object) -> None:
        self.given_back.append(result)

    async def after(self, seconds: float, result: Any) -> Any:
        await deferLater(self.clock, seconds)
        if isinstance(result, Exception):
            raise result
        return result

    async def stubborn(self, seconds: float, result: Any) -> Any:
        """Comes to its end although it was called off, as a thread does."""
        ends = self.clock.seconds() + seconds
        while self.clock.seconds() < ends:
            try:
                await deferLater(self.clock, ends - self.clock.seconds())
            except CancelledError:
                continue
        return await self.after(0, result)


class Within(Case):
    def within(self, work: Coroutine[Any, Any, Any]) -> Running:
        return self.start(self.errands.within(10, work, "silence", self.give_back))

    def test_in_time(self) -> None:
        self.assertEqual(self.within(self.after(9, 1)).turn(9).value(), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_at_once(self) -> None:
        async def work() -> int:
            return 1

        self.assertEqual(self.within(work()).value(), 1)

    def test_too_late(self) -> None:
        running = self.within(self.after(11, 1)).turn(10)
        error = self.assertRaises(Unavailable, running.value)
        self.assertEqual(str(error), "silence")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.given_back, [])

    def test_what_comes_too_late_is_given_back(self) -> None:
        running = self.within(self.stubborn(20, 1)).turn(10)
        self.assertRaises(Unavailable, running.value)
        self.clock.pump([10, 0, 0])
        self.assertEqual(self.given_back, [1])

    def test_what_fails_too_late_is_forgotten(self) -> None:
        self.within(self.stubborn(20, Refused("no"))).turn(10)
        self.clock.pump([10, 0, 0])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_bugs_are_told_even_then(self) -> None:
        self.within(self.stubborn(20, KeyError("bug"))).turn(10)
        self.clock.pump([10, 0, 0])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_its_errors(self) -> None:
        self.assertRaises(Refused, self.within(self.after(1, Refused("no"))).turn(1).value)

    def test_the_loss_of_a_node_is_not_that_of_the_client(self) -> None:
        error = self.assertRaises(Unavailable, self.within(self.after(1, PeerLost("gone"))).turn(1).value)
        self.assertEqual(str(error), "gone")

    def test_called_off(self) -> None:
        running = self.within(self.after(9, 1)).cancel()
        self.assertRaises(CancelledError, running.value)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_called_off_and_given_back_when_it_comes(self) -> None:
        running = self.within(self.stubborn(20, 1)).cancel()
        self.assertRaises(CancelledError, running.value)
        self.clock.pump([20, 0, 0])
        self.assertEqual(self.given_back, [1])


class Each(Case):
    def each(self, most: int, *delays: float) -> Running:
        async def do(delay: float) -> float:
            await deferLater(self.clock, delay)
            return delay

        return self.start(self.errands.each(most, delays, do))

    def test_in_order(self) -> None:
        self.assertEqual(self.each(3, 3, 1, 2).turn(1).turn(1).turn(1).value(), [3, 1, 2])

    def test_of_nothing(self) -> None:
        self.assertEqual(self.each(3).value(), [])

    def test_so_many_at_once(self) -> None:
        running = self.each(2, 1, 1, 1)
        self.assertEqual(len(self.clock.getDelayedCalls()), 2)
        self.assertFalse(running.turn(1).over)
        self.assertEqual(running.turn(1).value(), [1, 1, 1])

    def test_called_off(self) -> None:
        self.each(2, 1, 1, 1).cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_bug_calls_the_others_off(self) -> None:
        async def do(delay: float) -> None:
            await self.after(delay, KeyError("bug") if delay == 1 else 0)

        running = self.start(self.errands.each(2, [1.0, 5.0, 5.0], do)).turn(1)
        self.assertRaises(KeyError, running.value)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class First(Case):
    def first(self, most: int, stagger: float, *items: tuple[float, Any]) -> Running:
        self.begun: list[Any] = []

        async def do(item: tuple[float, Any]) -> Any:
            self.begun.append(item[1])
            return await self.after(*item)

        return self.start(self.errands.first(most, stagger, items, do))

    def test_the_quickest(self) -> None:
        self.assertEqual(self.first(3, 0, (3, "a"), (1, "b"), (2, "c")).turn(1).value(), "b")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_none(self) -> None:
        self.assertIsNone(self.first(3, 0, (1, None), (2, None)).turn(1).turn(1).value())
        self.assertIsNone(self.first(3, 0).value())

    def test_the_next_one_at_a_no(self) -> None:
        self.assertEqual(self.first(3, 10, (1, None), (1, "b"), (1, "c")).turn(1).turn(1).value(), "b")
        self.assertEqual(self.begun, [None, "b"])

    def test_the_next_one_after_a_while(self) -> None:
        running = self.first(3, 2, (100, "a"), (1, "b"), (1, "c"))
        self.assertEqual(running.turn(1).turn(1).turn(1).value(), "b")
        self.assertEqual(self.begun, ["a", "b"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_called_off(self) -> None:
        self.first(3, 2, (100, "a"), (100, "b")).turn(3).cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_bug(self) -> None:
        self.assertRaises(KeyError, self.first(3, 0, (1, KeyError("bug")), (5, "b")).turn(1).value)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Closing(Case):
    def test_all_is_called_off(self) -> None:
        self.errands.start(self.after(100, None))
        self.assertTrue(self.start(self.errands.close(5)).over)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_stubborn_are_waited_for_a_little(self) -> None:
        self.errands.start(self.stubborn(3, None))
        self.errands.start(self.stubborn(100, None))
        closing = self.start(self.errands.close(5))
        self.assertFalse(closing.turn(4).over)
        self.assertTrue(closing.turn(1).over)

    def test_no_longer_than_necessary(self) -> None:
        self.errands.start(self.stubborn(3, None))
        self.assertTrue(self.start(self.errands.close(5)).turn(3).turn().over)
        self.assertEqual(self.clock.getDelayedCalls(), [])
