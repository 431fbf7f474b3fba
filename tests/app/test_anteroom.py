"""Who waits to be let in, and who has to make room."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.anteroom import Anteroom, circuit, neighbourhood, plain_address
from annexd.app.guessing import Guessing


class Visitor:
    def __init__(self, place: str | None) -> None:
        self.place = place
        self.reason = ""

    def send_away(self, reason: str) -> None:
        self.reason = reason


class Places(SynchronousTestCase):
    def test_one_customer_is_one_place(self) -> None:
        self.assertEqual(neighbourhood("2001:db8:1:2:3::4"), neighbourhood("2001:db8:1:2:ffff::"))
        self.assertNotEqual(neighbourhood("2001:db8:1:2::"), neighbourhood("2001:db8:1:3::"))
        self.assertNotEqual(neighbourhood("192.0.2.1"), neighbourhood("192.0.2.2"))
        self.assertEqual(neighbourhood(""), "")

    def test_circuits_of_tor(self) -> None:
        """Each is a place of its own."""
        first, second = "fc00:dead:beef:4dad::0:1b4", "fc00:dead:beef:4dad::ffff:ffff"
        self.assertNotEqual(neighbourhood(first), neighbourhood(second))
        self.assertEqual([circuit(first), circuit(second)], [436, 0xFFFFFFFF])
        for other in ("", "192.0.2.1", "2001:db8::1", "fc00:dead:beef:4dae::1"):
            self.assertIsNone(circuit(other))

    def test_addresses_as_people_write_them(self) -> None:
        self.assertEqual(plain_address("::ffff:192.0.2.1"), "192.0.2.1")
        self.assertEqual(plain_address("2001:db8:0:0::1"), "2001:db8::1")


class Rooms(SynchronousTestCase):
    def setUp(self) -> None:
        self.most = 8
        self.room = Anteroom(lambda: self.most)

    def come(self, place: str | None) -> Visitor:
        visitor = Visitor(place)
        self.room.enter(visitor)
        return visitor

    def test_the_oldest_makes_room(self) -> None:
        visitors = [self.come(str(number)) for number in range(10)]
        self.assertEqual([bool(visitor.reason) for visitor in visitors], [True] * 2 + [False] * 8)
        self.assertIn("others need its place", visitors[0].reason)

    def test_neighbours_make_room_for_each_other(self) -> None:
        """A fourth of the places is theirs, however many come."""
        other = self.come("b")
        visitors = [self.come("a") for _ in range(5)]
        self.assertEqual(
            [bool(v.reason) for v in (other, *visitors)], [False, True, True, True, False, False]
        )
        self.assertIn("too many come from its address", visitors[0].reason)

    def test_front_ends_are_no_place(self) -> None:
        visitors = [self.come(None) for _ in range(8)]
        self.assertEqual({visitor.reason for visitor in visitors}, {""})
        for visitor in visitors:
            self.room.move(visitor, "a")
        self.assertEqual(len([visitor for visitor in visitors if not visitor.reason]), 2)

    def test_leaving(self) -> None:
        visitors = [self.come("a") for _ in range(2)]
        for visitor in visitors * 2:
            self.room.leave(visitor)
        self.room.move(visitors[0], "b")
        self.assertEqual((len(self.room), list(self.room)), (0, []))
        self.come("a")
        self.come("a")
        self.assertEqual(visitors[0].reason, "")

    def test_no_descriptors(self) -> None:
        first, second = self.come("a"), self.come("b")
        self.room.make_room()
        self.assertEqual((bool(first.reason), second.reason), (True, ""))
        self.room.make_room()
        self.room.make_room()

    def test_a_smaller_room(self) -> None:
        for number in range(8):
            self.come(str(number))
        self.most = 4
        self.come("x")
        self.assertEqual([visitor.place for visitor in self.room], ["5", "6", "7", "x"])

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
    def test_never_too_many(self, events: list[tuple[str, bool]]) -> None:
        self.setUp()
        for place, comes in events:
            if comes:
                self.come(place)
            elif len(self.room):
                self.room.leave(next(iter(self.room)))
            self.assertLessEqual(len(self.room), self.most)
            for name in "abc":
                self.assertLessEqual(len([v for v in self.room if v.place == name]), self.most // 4)


class Waits(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.guessing = Guessing(self.clock)

    def test_failures_wait_longer_each_time(self) -> None:
        waits = [self.guessing.failed("a") for _ in range(8)]
        self.assertEqual(waits, [1, 2, 4, 8, 16, 30, 30, 30])
        self.assertEqual(self.guessing.failed("b"), 1)

    def test_good_tokens_wait_a_little(self) -> None:
        self.assertEqual(self.guessing.passed("a"), 0)
        for _ in range(8):
            self.guessing.failed("a")
        self.assertEqual((self.guessing.passed("a"), self.guessing.passed("b")), (1, 0))

    def test_forgotten(self) -> None:
        for _ in range(8):
            self.guessing.failed("a")
        self.clock.advance(599)
        self.assertEqual(self.guessing.failed("a"), 30)
        self.clock.advance(599)
        self.assertEqual(self.guessing.passed("a"), 1)
        self.clock.advance(1)
        self.assertEqual((self.guessing.passed("a"), self.guessing.failed("a")), (0, 1))

    def test_bounded(self) -> None:
        """The places that failed last are remembered."""
        for number in range(10_005):
            self.guessing.failed(str(number))
        self.assertEqual(len(self.guessing), 10_000)
        self.assertEqual((self.guessing.passed("4"), self.guessing.passed("5")), (0, 1))
