"""Gateways that are killed or frozen, and links that are cut: what requests come to."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support.gateways import CLUSTER
from tests.support.load import content_of, key_of
from tests.support.p2p import Dialogue
from tests.support.processes import until
from tests.support.several_gateways import ANNEXD, Gateway, GatewaysScene, mesh
from tests.support.tap import Upload

_DEADLINE_S = 5.0
_SIZE = 50_000
_BACK_S = 90.0
"""Until a gateway is in use again that was down."""


class Failing(GatewaysScene):
    nodes = f"connect = {_DEADLINE_S}\nanswer = {_DEADLINE_S}\nstall = {_DEADLINE_S}\n"

    def setUp(self) -> None:
        super().setUp()
        self._numbers = itertools.count(1)
        self.entry = self.session(self.gateways[0])
        self.everybody = {gateway.name for gateway in self.gateways}
        self.others = self.everybody - {"G2"}
        self.back_in_use(self.everybody)

    def fresh(self) -> tuple[bytes, bytes]:
        content = content_of(next(self._numbers), _SIZE)
        return key_of(content), content

    def put(self, session: Dialogue | None = None) -> tuple[bytes, set[str]]:
        """A new key, and whose nodes it is on; the reply says the same."""
        key, content = self.fresh()
        named = self.nodes_in((session or self.entry).put(key, content))
        self.assertEqual(named, self.holding(key), self.said())
        return key, named

    def back_in_use(self, everybody: set[str]) -> None:
        """Uploads reach all again, each once."""
        until(lambda: self.put()[1] == everybody, "all gateways are in use", _BACK_S)
        key, _ = self.put()
        for gateway in self.gateways:
            expected = Upload(1, _SIZE) if gateway.name in everybody else Upload()
            self.assertEqual(gateway.tap.upload(key), expected, gateway.name)

    @contextmanager
    def in_time(self, deadlines: int = 1) -> Iterator[None]:
        began = time.monotonic()
        yield
        taken = time.monotonic() - began
        self.assertLess(taken, deadlines * _DEADLINE_S + 4.0, self.said())


class MeshOfThree(Failing):
    kinds = (ANNEXD,) * 3
    links = mesh(3)

    def test_a_gateway_that_is_killed_or_frozen(self) -> None:
        second = self.gateways[1]
        self.goes_away(second.annexd.daemon.kill)
        second.become(ANNEXD)
        self.comes_back()
        self.goes_away(lambda: self.signal(second, signal.SIGSTOP))
        self.signal(second, signal.SIGCONT)
        self.comes_back()

    def signal(self, gateway: Gateway, number: signal.Signals) -> None:
        process = gateway.annexd.daemon.process
        assert process is not None
        process.send_signal(number)
        self.addCleanup(process.send_signal, signal.SIGCONT)  # or it would not stop

    def goes_away(self, go: Callable[[], object]) -> None:
        self.key, everybody = self.put()
        self.assertEqual(everybody, self.everybody)
        go()
        with self.in_time(2):  # what was under way over the link is lost, and so is a new connection
            _, reached = self.put()
        self.assertEqual(reached, self.others)
        with self.in_time():
            self.assertEqual(self.put()[1], self.others)
        with self.in_time():
            self.assertEqual(self.entry.ask(b"CHECKPRESENT " + self.key), b"SUCCESS")
        with self.in_time():
            self.assertEqual(self.entry.get(self.key)[1], b"VALID")
        with self.in_time(2):
            reply = self.entry.ask(b"REMOVE " + self.key)
        self.assertEqual((reply.split()[0], self.nodes_in(reply)), (b"FAILURE-PLUS", self.others))
        self.assertEqual(self.holding(self.key), {"G2"})
        self.assertEqual(self.logged(self.gateways[0], self.key), {"G2"})

    def comes_back(self) -> None:
        self.back_in_use(self.everybody)
        self.assertEqual(self.entry.ask(b"CHECKPRESENT " + self.key), b"SUCCESS")
        reply = self.entry.ask(b"REMOVE " + self.key)
        self.assertEqual(reply.split()[0], b"SUCCESS-PLUS")
        self.assertEqual(self.holding(self.key), set())

    def has_behind(self, key: bytes) -> bool:
        """By a session with the node of G2 alone: it has one way, that which seems best as it begins."""
        behind = self.session(self.gateways[0], self.gateways[1].node_uuid)
        try:
            return behind.ask(b"CHECKPRESENT " + key) == b"SUCCESS"
        finally:
            behind.close()

    def test_a_link_that_is_cut(self) -> None:
        """What is behind it is reached by another way."""
        key, _ = self.put()
        self.cables[1, 2].cut()
        with self.in_time(2):
            self.put()
        until(lambda: self.put()[1] == self.everybody, "another way is taken", _BACK_S)
        around, everybody = self.put()
        self.assertEqual(everybody, self.everybody, self.said())
        self.assertEqual(self.gateways[1].tap.upload(around), Upload(1, _SIZE))
        until(lambda: self.has_behind(key), "the node behind it is reached", _BACK_S)
        self.cables[1, 2].mend()
        self.back_in_use(self.everybody)
        self.assertEqual(self.nodes_in(self.entry.ask(b"REMOVE " + key)), self.everybody)


class LinkElsewhere(Failing):
    """G4 is behind G2 and behind G3; whichever way is taken, its link is cut behind the neighbour."""

    kinds = (ANNEXD,) * 4
    links = ((1, 2), (2, 1), (1, 3), (3, 1), (2, 4), (4, 2), (3, 4), (4, 3))
    nodes = GatewaysScene.nodes  # a link that refuses is noticed without a deadline

    def test_the_other_way_is_taken(self) -> None:
        everybody = self.everybody
        for cut in ((2, 4), (3, 4)):
            key, reached = self.put()
            self.assertEqual(reached, everybody)
            self.cables[cut].refuse()
            reply = self.entry.ask(b"REMOVE " + key)
            self.assertEqual(
                (reply.split()[0], self.nodes_in(reply)), (b"SUCCESS-PLUS", everybody), self.said()
            )
            key, reached = self.put()
            self.assertEqual(reached, everybody, self.said())
            self.assertEqual(self.gateways[3].tap.upload(key), Upload(1, _SIZE))
            self.cables[cut].mend()
            self.link_is_up(*cut)

    def link_is_up(self, one: int, other: int) -> None:
        """A gateway reaches another one, and may not go around."""
        near, far = self.gateways[one - 1], self.gateways[other - 1]
        session = self.session(near)
        around = [gateway.uuid for gateway in self.gateways if gateway not in (near, far)]
        session.send(b"BYPASS " + b" ".join(around) + b"\n")
        both = {near.name, far.name}
        until(lambda: self.put(session)[1] == both, "the link is in use", _BACK_S)


class Oddities(GatewaysScene):
    """G2 is a node of G1, too, and has two names there."""

    nodes = Failing.nodes

    def connect(self) -> None:
        super().connect()
        first, second = self.gateways
        self.remote(first, "again", second, second.url)
        self.host.git(first.path, "config", "remote.G2.annex-cluster-node", CLUSTER)
        self.host.annex(second.path, "wanted", ".", "")
        self.settle()

    def test_it_all_works(self) -> None:
        first, second = self.gateways
        everybody = {first.node_uuid, second.node_uuid, second.uuid}
        session = self.session(first)

        def put(number: int) -> set[bytes]:
            content = content_of(number, _SIZE)
            return set(session.put(key_of(content), content).split()[1:])

        until(lambda: put(1) == everybody, "all are there", _BACK_S)
        key = key_of(content_of(2, _SIZE))
        self.assertEqual(put(2), everybody, self.said())
        self.assertEqual(second.tap.upload(key), Upload(1, _SIZE))
        self.assertEqual(session.ask(b"REMOVE " + key).split()[0], b"SUCCESS-PLUS")
        self.assertEqual(second.tap.asked(b"REMOVE", key), 1)
        self.cables[1, 2].refuse()
        numbers = itertools.count(3)
        until(lambda: second.node_uuid in put(next(numbers)), "the other name is used", _BACK_S)
