"""Who waits to be let in, and who has to make room."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.anteroom import Anteroom


class Visitor:
    def __init__(self, place: str | None) -> None:
        self.place = place
        self.reason = ""

    def send_away(self, reason: str) -> None:
        self.reason = reason


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
