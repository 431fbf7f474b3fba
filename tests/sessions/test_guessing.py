"""Guessing costs time, and remembering it costs little memory."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from annexd.sessions.guessing import FORGOTTEN_S, LONGEST_S, Guessing, origin_of


class GuessingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.guessing = Guessing(self.clock.seconds, most=3)

    def test_delays_grow_to_a_bound(self) -> None:
        delays = [self.guessing.failed("192.0.2.1") for _ in range(50)]
        self.assertEqual([0.25, 0.5, 1.0, 2.0, 4.0], delays[:5])
        self.assertEqual({LONGEST_S}, set(delays[5:]))
        self.assertEqual(LONGEST_S, self.guessing.delay("192.0.2.1"))
        self.assertEqual(50, self.guessing.count("192.0.2.1"))

    def test_delays_as_they_are_wanted(self) -> None:
        guessing = Guessing(self.clock.seconds, 1.0, 30.0)
        delays = [guessing.failed("192.0.2.1") for _ in range(7)]
        self.assertEqual([1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0], delays)

    def test_others_do_not_wait(self) -> None:
        self.guessing.failed("192.0.2.1")
        self.assertEqual(0.0, self.guessing.delay("192.0.2.2"))

    def test_forgotten_in_time(self) -> None:
        self.guessing.failed("192.0.2.1")
        self.clock.advance(FORGOTTEN_S - 1)
        self.assertEqual(2, self.guessing.failed("192.0.2.1") / 0.25)
        self.clock.advance(FORGOTTEN_S)
        self.assertEqual((0, 0.25), (self.guessing.count("192.0.2.1"), self.guessing.failed("192.0.2.1")))

    def test_forgiven(self) -> None:
        self.guessing.failed("192.0.2.1")
        self.guessing.succeeded("192.0.2.1")
        self.assertEqual((0, 0), (self.guessing.count("192.0.2.1"), len(self.guessing)))

    def test_bounded(self) -> None:
        """Who failed least recently is forgotten first."""
        for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.1", "192.0.2.4"):
            self.guessing.failed(address)
        self.assertEqual(3, len(self.guessing))
        self.assertEqual((2, 0), (self.guessing.count("192.0.2.1"), self.guessing.count("192.0.2.2")))

    def test_origins(self) -> None:
        for address, origin in (
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::/64"),
            ("2001:db8::ffff:0:0:1", "2001:db8::/64"),
            ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            ("circuit 7", "circuit 7"),
        ):
            self.assertEqual(origin, origin_of(address))
