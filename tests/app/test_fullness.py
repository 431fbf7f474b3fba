"""How many bytes repositories hold, while that is counted."""

from __future__ import annotations

from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.fullness import Fullness
from annexd.errors import Refused
from annexd.protocol.keys import Key
from annexd.repo.census import Logged
from annexd.repo.whereabouts import Whereabouts

U = b"u1"
KEY = Key.parse(b"SHA256E-s10--abc")


class Counted:
    """A location log that is being walked through."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[list[Logged]]] = []

    async def census(self) -> Counted:
        return self

    async def some(self) -> list[Logged]:
        self.waiting.append(Deferred())
        return await self.waiting[-1]


class FullnessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.log = Counted()
        self.fullness = Fullness(Clock())
        self.over = 0
        self.fullness.note(KEY, {U: True})
        self.fullness.count(cast(Whereabouts, self.log), frozenset((U,)), self.count_over)
        self.fullness.note(KEY, {U: True})

    def count_over(self) -> None:
        self.over += 1

    def test_meanwhile_nothing_is_forgotten(self) -> None:
        self.assertEqual(self.fullness.sizes, {U: 20})
        self.log.waiting[0].callback([Logged(KEY, frozenset((U,)))])
        self.log.waiting[1].callback([])
        self.assertEqual((self.fullness.sizes, self.over), ({U: 20}, 1))

    def test_what_cannot_be_counted(self) -> None:
        self.log.waiting[0].errback(Refused("no"))
        self.assertEqual((self.fullness.sizes, self.over), ({U: 20}, 1))

    def test_called_off(self) -> None:
        self.fullness.call_off()
        self.assertEqual((self.fullness.sizes, self.over), ({U: 20}, 1))
