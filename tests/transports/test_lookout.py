"""When it is looked out for the next request, with a clock that only the test moves."""

from __future__ import annotations

import os

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase

from annexd.transports.lookout import Lookout, lookout
from annexd.transports.pipes import PipeTransport

OURS, OTHER = 7, 8
PEER, ANOTHER = object(), object()


class World:
    """
    One peer that asks again ``gap`` seconds after each answer.  Whoever does
    not look out for it is woken, which takes ``waking`` more.
    """

    def __init__(self) -> None:
        self.now = 100.0
        self.gap = 20e-6
        self.waking = 40e-6
        self.others: float | None = None
        """Seconds after an answer at which something else is ready."""

        self.due: float | None = None
        """Seconds after an answer at which a timer fires."""

        self.needs_processor = False
        """The peer does not come to ask while it is looked out for."""

        self.looks = 0
        self.looked_s = 0.0
        self._answered = 0.0
        self.lookout = Lookout(self._ready, lambda: self.due, lambda: self.now)

    def _ready(self) -> list[tuple[int, int]]:
        self.now += 1e-6
        since = self.now - self._answered
        asked = since >= self.gap and not self.needs_processor
        found = [(OURS, 1)] if asked else []
        if self.others is not None and since >= self.others:
            found.append((OTHER, 1))
        return found

    def request(self, peer: object = PEER) -> int:
        """One that wakes us, and those that come in sight after it; how many were answered."""
        self.lookout.begin(peer)
        for answered in range(1, 1000):
            self.now += 15e-6
            self._answered = began = self.now
            seen = self.lookout.sees_more(OURS)
            if self.now > began:
                self.looks += 1
                self.looked_s += self.now - began
            if not seen:
                self.now = max(self.now, self._answered + self.gap) + self.waking
                return answered
        raise AssertionError("no end of it")

    def requests(self, count: int) -> int:
        return sum(self.request() for _ in range(count))


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()


class CloseOnes(Case):
    def test_come_in_sight(self) -> None:
        self.world.requests(30)
        self.assertGreater(self.world.request(), 10)

    def test_not_the_first_ones(self) -> None:
        self.assertEqual(self.world.requests(3), 3)
        self.assertEqual(self.world.looks, 0)

    def test_one_turn_has_an_end(self) -> None:
        self.world.requests(30)
        began = self.world.now
        self.world.request()
        self.assertLess(self.world.now - began, 0.0022)

    def test_one_that_takes_its_time_for_once(self) -> None:
        self.world.requests(60)
        self.world.gap = 1.0
        self.world.request()
        self.world.gap = 20e-6
        self.world.requests(20)
        self.assertGreater(self.world.request(), 10)


class DistantOnes(Case):
    def test_are_never_looked_out_for(self) -> None:
        self.world.gap = 120e-6
        self.assertEqual(self.world.requests(1000), 1000)
        self.assertEqual(self.world.looks, 0)

    def test_no_more_when_they_become_distant(self) -> None:
        self.world.requests(60)
        self.world.gap = 5e-3
        self.world.requests(10)
        self.world.looks = 0
        self.world.requests(1000)
        self.assertEqual(self.world.looks, 0)


class InVain(Case):
    def share(self, count: int) -> float:
        """The part of the time that it is looked for something."""
        began, self.world.looked_s = self.world.now, 0.0
        self.world.requests(count)
        return self.world.looked_s / (self.world.now - began)

    def test_where_the_peer_needs_the_processor(self) -> None:
        self.world.needs_processor = True
        self.assertLess(self.share(500), 0.01)
        self.assertLess(self.share(10_000), 0.001)

    def test_it_is_tried_again(self) -> None:
        self.world.needs_processor = True
        self.world.requests(10_000)
        self.world.needs_processor = False
        self.world.requests(5000)
        self.assertGreater(self.world.request(), 10)

    def test_once_among_many(self) -> None:
        self.world.requests(60)
        self.world.needs_processor = True
        self.world.request()
        self.world.needs_processor = False
        self.assertGreater(self.world.request(), 10)


class Others(Case):
    def test_end_a_look_at_once(self) -> None:
        self.world.requests(60)
        self.world.others = 5e-6
        self.world.looked_s = 0.0
        self.assertEqual(self.world.request(), 1)
        self.assertLess(self.world.looked_s, 8e-6)

    def test_come_first_when_both_are_ready(self) -> None:
        self.world.requests(60)
        self.world.others = self.world.gap
        self.assertEqual(self.world.request(), 1)

    def test_keep_us_from_looking(self) -> None:
        self.world.others = 5e-6
        self.world.requests(1000)
        self.world.looks = 0
        self.world.requests(1000)
        self.assertLess(self.world.looks, 10)

    def test_timers(self) -> None:
        self.world.requests(60)
        self.world.looks = 0
        self.world.due = 10e-6
        self.assertEqual(self.world.requests(10), 10)
        self.assertEqual(self.world.looks, 0)
        self.world.due = 1.0
        self.assertGreater(self.world.request(), 10)

    def test_with_requests_in_between(self) -> None:
        for _ in range(500):
            self.assertEqual(self.world.request(PEER), 1)
            self.assertEqual(self.world.request(ANOTHER), 1)
        self.assertEqual(self.world.looks, 0)


class Reactors(SynchronousTestCase):
    def test_that_cannot_be_asked(self) -> None:
        self.assertIsNone(lookout(object()))

    def test_epoll(self) -> None:
        """It has what is used of it."""
        reactor = EPollReactor()
        self.addCleanup(reactor._poller.close)
        for own in reactor._internalReaders:
            self.addCleanup(own.connectionLost, None)
        inlet, outlet = os.pipe()
        os.write(outlet, b"more")
        made = lookout(reactor)
        assert made is not None
        transport = PipeTransport(reactor, inlet, outlet)
        self.addCleanup(transport.abortConnection)
        transport.connect(Protocol())
        for _ in range(1000):
            made.begin(transport)
            if made.sees_more(inlet):
                break
        else:
            self.fail("it sees nothing")
