"""Open repositories, shared and let go."""

from __future__ import annotations

import os

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import Refused
from annexd.flow.workers import InlineWorkers
from annexd.router.directory import Directory, Visit
from annexd.router.places import Place, Served
from tests.router.test_places import make
from tests.support.steady_disks import SteadyDisks


class Pretended:
    """A repository that does nothing; ``closing`` holds up its end."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.refreshed = 0
        self.closed = False
        self.closing: Deferred[None] | None = None

    async def refresh(self) -> None:
        self.refreshed += 1

    async def close(self) -> None:
        if self.closing is not None:
            await self.closing
        self.closed = True


class Sharing(SynchronousTestCase):
    def setUp(self) -> None:
        root = os.path.realpath(os.fsencode(self.mktemp()))
        self.paths = [make(os.path.join(root, name)) for name in (b"a", b"b")]
        self.clock = Clock()
        self.opened: list[Pretended] = []
        self.opening: Deferred[None] | None = None
        pool = InlineWorkers().disk
        served = [Served(root, nested=True)]
        self.directory = Directory(self.clock, pool, self.open, served, SteadyDisks(pool), idle_s=60)

    async def open(self, place: Place) -> Pretended:
        if self.opening is not None:
            await self.opening
        self.opened.append(Pretended(place))
        return self.opened[-1]

    def begin(self, number: int = 0) -> Deferred[Visit[Pretended]]:
        return Deferred.fromCoroutine(self.directory.find(self.paths[number]))

    def visit(self, number: int = 0) -> Visit[Pretended]:
        return self.successResultOf(self.begin(number))

    def test_nothing_is_opened_before_it_is_used(self) -> None:
        self.assertEqual(([], {}), (self.opened, self.directory.opened()))

    def test_one_for_all(self) -> None:
        first, second = self.visit(), self.visit()
        self.assertIs(first.repository, second.repository)
        self.assertEqual({self.paths[0]: 2}, self.directory.opened())
        self.assertEqual(1, self.opened[0].refreshed)

    def test_one_for_all_who_come_while_it_opens(self) -> None:
        self.opening = Deferred()
        waiting = [self.begin(), self.begin()]
        self.opening.callback(None)
        first, second = map(self.successResultOf, waiting)
        self.assertIs(first.repository, second.repository)

    def test_others_are_others(self) -> None:
        self.assertIsNot(self.visit(0).repository, self.visit(1).repository)

    def same(self, one: bytes, other: bytes) -> bool:
        same: bool = self.successResultOf(Deferred.fromCoroutine(self.directory.same(one, other)))
        return same

    def test_one_by_several_paths(self) -> None:
        first, second = self.paths
        self.assertTrue(self.same(first, first + b"/../a/"))
        self.assertFalse(self.same(first, second))
        for one, other in ((first, b"/nonexistent"), (b"/nonexistent", first)):
            self.assertFalse(self.same(one, other))
        self.assertTrue(self.same(b"/nonexistent", b"/neither"), "nobody can tell")

    def test_closed_when_idle(self) -> None:
        first, second = self.visit(), self.visit()
        first.leave()
        first.leave()
        self.clock.advance(100)
        self.assertFalse(self.opened[0].closed)
        second.leave()
        self.clock.advance(59)
        self.assertFalse(self.opened[0].closed)
        self.clock.advance(1)
        self.assertTrue(self.opened[0].closed)
        self.assertEqual({}, self.directory.opened())
        self.assertEqual({}, self.directory._entries)

    def test_back_in_time(self) -> None:
        self.visit().leave()
        self.clock.advance(59)
        self.visit()
        self.clock.advance(100)
        self.assertFalse(self.opened[0].closed)
        self.assertEqual(1, len(self.opened))

    def test_back_while_it_closes(self) -> None:
        """The next one waits for the end of the former, and gets a new one."""
        self.visit().leave()
        self.opened[0].closing = Deferred()
        self.clock.advance(60)
        coming = self.begin()
        self.assertNoResult(coming)
        self.opened[0].closing.callback(None)
        self.assertIs(self.opened[1], self.successResultOf(coming).repository)
        self.assertEqual({self.paths[0]: 1}, self.directory.opened())

    def test_cannot_be_opened(self) -> None:
        self.opening = Deferred()
        waiting = [self.begin(), self.begin()]
        failing, self.opening = self.opening, None
        failing.errback(Refused("broken"))
        self.failureResultOf(waiting[0], Refused)
        self.successResultOf(waiting[1]).leave()
        self.clock.advance(60)
        self.assertEqual({}, self.directory._entries)

    def test_given_up_while_it_opens(self) -> None:
        self.opening = Deferred()
        waiting = self.begin()
        waiting.cancel()
        self.failureResultOf(waiting)
        self.assertEqual({}, self.directory._entries)

    def test_another_at_the_same_path(self) -> None:
        former = self.visit()
        os.rename(self.paths[0], self.paths[0] + b".gone")
        make(self.paths[0])
        self.assertIsNot(former.repository, self.visit().repository)
        former.leave()
        self.clock.advance(60)
        self.assertEqual([True, False], [repository.closed for repository in self.opened])

    def test_reload_leaves_those_inside(self) -> None:
        visit = self.visit()
        self.directory.reload([])
        self.failureResultOf(self.begin(), Refused)
        self.assertFalse(visit.repository.closed)

    def test_close(self) -> None:
        self.visit(0)
        self.visit(1).leave()
        self.opened[1].closing = Deferred()
        ending = Deferred.fromCoroutine(self.directory.close())
        self.assertNoResult(ending)
        self.opened[1].closing.callback(None)
        self.successResultOf(ending)
        self.assertTrue(all(repository.closed for repository in self.opened))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_leaving_after_the_close(self) -> None:
        visit = self.visit()
        self.successResultOf(Deferred.fromCoroutine(self.directory.close()))
        visit.leave()
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual({}, self.directory._entries)

    def test_a_close_that_fails_is_logged(self) -> None:
        self.visit().leave()
        self.opened[0].closing = Deferred()
        self.clock.advance(60)
        self.opened[0].closing.errback(ValueError("x"))
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))
        self.visit()
