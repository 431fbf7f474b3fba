"""
Clusters with several gateways, all of annexd's, or some of git-annex's own, or
all of them: what each node gets is counted where it arrives.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

from tests.support.load import content_of, key_of
from tests.support.p2p import Dialogue
from tests.support.several_gateways import (
    ANNEXD,
    ONE_WAY,
    RING,
    STOCK,
    TWO_WAY,
    Gateway,
    GatewaysScene,
    mesh,
)
from tests.support.tap import Upload

_SIZE = 50_000


class TwoOneWay(GatewaysScene):
    """
    With annexd everywhere each node gets each upload once; with git-annex's
    own gateways among them, no node gets more than from those alone.
    """

    links = ONE_WAY
    with_stock = False
    """Whether git-annex is measured, too, alone and with annexd."""

    def setUp(self) -> None:
        super().setUp()
        self._numbers = itertools.count(1)

    def test_who_gets_what(self) -> None:
        others = len(self.kinds) - 1
        self.all_annexd()
        if self.with_stock:
            alone = self.counted((STOCK,) * (others + 1))
            for kinds in ((ANNEXD, *(STOCK,) * others), (STOCK, *(ANNEXD,) * others)):
                mixed = self.counted(kinds)
                for name, upload in mixed.items():
                    self.assertLessEqual(upload.offers, alone[name].offers, (kinds, mixed, alone))
                    self.assertLessEqual(upload.bytes, alone[name].bytes, (kinds, mixed, alone))

    def all_annexd(self) -> None:
        """Through the first of the gateways, and the last."""
        for gateway in (self.gateways[0], self.gateways[-1]):
            key, content = self.fresh()
            behind = self.reached(gateway)
            session = self.session(gateway)
            reply = session.put(key, content)
            self.assertEqual(self.nodes_in(reply), behind, reply)
            for other in self.gateways:
                once = Upload(1, _SIZE) if other.name in behind else Upload()
                self.assertEqual(other.tap.upload(key), once, (gateway.name, other.name))
            self.elsewhere(gateway, key, content)
            session.close()

    def elsewhere(self, gateway: Gateway, key: bytes, content: bytes) -> None:
        """What is not at the gateway's own node is found behind others, and goes there, too."""
        own = self.session(gateway, gateway.node_uuid)
        self.assertEqual(own.ask(b"REMOVE " + key), b"SUCCESS")
        others = self.holding(key)
        session = self.session(gateway)
        expected = b"SUCCESS" if others else b"FAILURE"
        self.assertEqual(session.ask(b"CHECKPRESENT " + key), expected)
        if others:
            self.assertEqual(session.get(key), (content, b"VALID"))
        for other in self.gateways:
            if other.name in others:
                behind = self.session(gateway, other.node_uuid)
                self.assertEqual(behind.ask(b"CHECKPRESENT " + key), b"SUCCESS")
        reply = session.ask(b"REMOVE " + key)
        self.assertEqual(self.nodes_in(reply), self.reached(gateway))
        self.assertEqual(self.holding(key), set())

    def counted(self, kinds: tuple[str, ...]) -> dict[str, Upload]:
        """What the nodes get of an upload to the first gateway, and that it can be had again."""
        self.become(kinds)
        key, content = self.fresh()
        session = self.session(self.gateways[0], seconds=150)
        reply = session.put(key, content)
        reached = self.reached(self.gateways[0])
        self.assertEqual((self.nodes_in(reply), self.holding(key)), (reached, reached), kinds)
        found = {gateway.name: gateway.tap.upload(key) for gateway in self.gateways}
        if kinds[0] == ANNEXD:  # git-annex asks one at random, which may not know
            self.assertEqual(session.get(key), (content, b"VALID"), kinds)
        self.assertEqual(self.nodes_in(session.ask(b"REMOVE " + key)), reached, kinds)
        self.assertEqual(self.holding(key), set(), kinds)
        session.close()
        return found

    def fresh(self) -> tuple[bytes, bytes]:
        content = content_of(next(self._numbers), _SIZE)
        return key_of(content), content

    def reached(self, gateway: Gateway) -> set[str]:
        """The gateways to which there is a way, over the links that there are."""
        found = {gateway.name}
        for _ in self.links:
            found |= {f"G{other}" for one, other in self.links if f"G{one}" in found}
        return found


class TwoTwoWay(TwoOneWay):
    links = TWO_WAY
    with_stock = True

    def test_the_same_at_both_at_once(self) -> None:
        """Neither waits for the other for ever, and what they are told is true."""
        sessions = [self.session(gateway) for gateway in self.gateways]
        for _ in range(5):
            key, content = self.fresh()
            with ThreadPoolExecutor(2) as both:
                replies = list(both.map(Dialogue.put, sessions, [key] * 2, [content] * 2))
            self.assertEqual(self.holding(key), {"G1", "G2"}, replies)
            for reply in replies:
                self.assertTrue(reply.startswith((b"SUCCESS-PLUS", b"ALREADY-HAVE")), replies)
            for gateway in self.gateways:
                self.assertEqual(gateway.tap.upload(key).bytes, _SIZE, replies)


class RingOfThree(TwoOneWay):
    kinds = (ANNEXD,) * 3
    links = RING
    rounds = 3
    with_stock = True


class MeshOfThree(TwoOneWay):
    kinds = (ANNEXD,) * 3
    links = mesh(3)
    with_stock = True


class MeshOfFour(TwoOneWay):
    """What git-annex makes of it takes half a minute, see `tests.soak.test_gateways`."""

    kinds = (ANNEXD,) * 4
    links = mesh(4)
