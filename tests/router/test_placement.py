"""Which nodes get a key."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from annexd.node import Condition
from annexd.router.placement import place
from annexd.router.ports import Way, Wish
from annexd.store import Caller, Store

_A, _B, _C, _D = b"aaaa", b"bbbb", b"cccc", b"dddd"


class _Node:
    """One that is only talked about."""

    cost = 100.0
    is_local = True
    allowance = None
    condition = Condition()

    def __init__(self, uuid: bytes, name: str) -> None:
        self.uuid = uuid
        self.name = name

    def store(self, caller: Caller) -> Store:
        raise NotImplementedError


def _plain(uuid: bytes, name: str) -> Way:
    return Way(_Node(uuid, name), frozenset((uuid,)), 100.0)


_WAYS = [
    _plain(_A, "a"),
    _plain(_B, "b"),
    Way(_Node(b"cluster", "next"), frozenset((_C, _D)), 200.0, (b"self",)),
]


class PlaceTests(SynchronousTestCase):
    def test_who_lacks_it_and_wants_it(self) -> None:
        wishes = {_A: Wish.WANTED, _B: Wish.WANTED, _C: Wish.UNWANTED, _D: Wish.FULL}
        self.assertEqual(place(_WAYS, {_A, b"other"}, wishes).targets, {_B})

    def test_no_wish_is_a_wish_for_everything(self) -> None:
        self.assertEqual(place(_WAYS, frozenset(), {}).targets, {_A, _B, _C, _D})

    def test_all_that_lack_it_when_none_wants_it(self) -> None:
        wishes = dict.fromkeys((_A, _B, _C, _D), Wish.UNWANTED)
        self.assertEqual(place(_WAYS, {b"other"}, wishes).targets, {_A, _B, _C, _D})

    def test_what_a_node_has_is_not_forced_upon_the_others(self) -> None:
        wishes = {_A: Wish.WANTED, _B: Wish.UNWANTED, _C: Wish.UNWANTED, _D: Wish.UNWANTED}
        self.assertEqual(place(_WAYS, {_A}, wishes).targets, frozenset())

    def test_nobody_when_those_who_want_it_are_full(self) -> None:
        wishes = {_A: Wish.FULL, _B: Wish.UNWANTED, _C: Wish.UNWANTED, _D: Wish.FULL}
        placed = place(_WAYS, frozenset(), wishes)
        self.assertEqual(placed.targets, frozenset())
        self.assertEqual(placed.reason, "no room by annex maxsize on a, dddd (through next)")

    def test_everybody_is_asked_when_all_are_said_to_have_it(self) -> None:
        wishes = dict.fromkeys((_A, _B, _C, _D), Wish.FULL)
        self.assertEqual(place(_WAYS, {_A, _B, _C, _D}, wishes).targets, {_A, _B, _C, _D})

    def test_no_ways(self) -> None:
        placed = place([], {_A}, {})
        self.assertEqual(placed.targets, frozenset())
        self.assertIn("no node", placed.reason)
