"""Second tries over other ways, in the same request."""

from __future__ import annotations

from dataclasses import replace

from annexd.errors import Refused, Unavailable
from annexd.store import Outcome
from tests.support.clusters import CLUSTER, KEY, ClusterCase
from tests.support.nodes import FakeNode
from tests.support.store_contract import CONTENT


class TwoWays(ClusterCase):
    """
    Nodes a and b are behind the gateway gw; b can also be reached through
    other, as becomes known when gw has not reached it.
    """

    def setUp(self) -> None:
        scene = self.make(1)
        self.gw, self.other = FakeNode("gw", is_local=False), FakeNode("other", is_local=False)
        self.gw.uuid = self.other.uuid = CLUSTER
        scene.nodes += [self.gw, self.other]
        self.told: list[frozenset[bytes]] = []
        self.ways(around=False)

    def ways(self, around: bool) -> None:
        (one, *_), gw, other = self.scene.nodes, self.gw, self.other
        behind = (b"a",) if around else (b"a", b"b")
        ways = [one.way(), gw.way(reaches=behind, bypass=(b"here", b"other")[: 1 if around else 2])]
        if around:
            ways.append(other.way(reaches=(b"b",), bypass=(b"here", b"gw")))
        self.scene.ways = [replace(way, missed=self.missed) for way in ways]

    def missed(self, nodes: frozenset[bytes]) -> None:
        self.told.append(nodes)
        self.ways(around=b"b" in nodes)

    def remove(self) -> Outcome:
        outcome = self.result(self.scene.session().remove(KEY))
        assert isinstance(outcome, Outcome)
        return outcome

    def test_removal(self) -> None:
        self.gw.answers["remove"] = Outcome(False, also=(b"a",))
        self.other.answers["remove"] = Outcome(True, also=(b"b",))
        self.assertEqual(self.remove(), Outcome(True, also=(b"a", b"b", b"n1")))
        self.assertEqual(self.told, [{b"b"}])
        self.assertEqual((self.gw.asked, self.other.asked), (["remove"], ["remove"]))

    def test_removal_that_fails_again(self) -> None:
        self.gw.faults.refusing["remove"] = Refused("nobody is there")
        self.other.faults.refusing["remove"] = Refused("nor here")
        outcome = self.remove()
        self.assertEqual((outcome.ok, outcome.also), (False, (b"n1",)))
        self.assertEqual(outcome.reason, "gw: nobody is there; other: nor here")
        self.assertEqual(self.told, [{b"a", b"b"}])

    def test_a_success_that_leaves_something_is_none(self) -> None:
        """The neighbour has not heard that there is something at the node that it cannot reach."""
        self.scene.log.known[KEY] = {b"a", b"b"}
        self.gw.answers["remove"] = Outcome(True, also=(b"a",))
        self.other.faults.refusing["remove"] = Unavailable("it is down")
        outcome = self.remove()
        self.assertEqual((outcome.ok, outcome.also), (False, (b"a", b"n1")))
        self.assertEqual(self.scene.log.known[KEY], {b"b"})

    def test_nodes_that_anybody_may_come_by(self) -> None:
        (one, *_), gw = self.scene.nodes, self.gw
        self.scene.ways = [one.way(), replace(gw.way(reaches=(b"a",)), perhaps=frozenset((b"b",)))]
        self.gw.answers["commit"] = Outcome(True, also=(b"a", b"b", b"c"))
        self.assertEqual(self.put(self.scene.session()).also, (b"a", b"b", b"n1"))
        self.gw.answers["remove"] = Outcome(True, also=(b"a", b"b", b"c"))
        self.assertEqual(self.remove().also, (b"a", b"b", b"n1"))

    def test_who_does_not_answer_is_not_suspected(self) -> None:
        self.gw.faults.refusing["remove"] = Unavailable("it is down")
        self.scene.log.known[KEY] = {b"a"}
        self.assertFalse(self.remove().ok)
        self.assertEqual(self.told, [])

    def test_presence(self) -> None:
        self.scene.log.known[KEY] = {b"b"}
        self.gw.faults.refusing["present"] = Refused("b: it is down")
        self.hold(self.other)
        self.assertIs(self.result(self.scene.session().present(KEY)), True)
        self.assertEqual(self.told, [{b"b"}])

    def test_download(self) -> None:
        self.scene.log.known[KEY] = {b"b"}
        self.gw.faults.refusing["read"] = Refused("b: it is down")
        self.hold(self.other)
        self.assertEqual(self.get(self.scene.session()), (CONTENT, True))

    def test_absence_is_no_reason(self) -> None:
        self.assertIs(self.result(self.scene.session().present(KEY)), False)
        self.assertEqual(self.told, [])

    def test_upload(self) -> None:
        """It is over then; the next one takes the other way."""
        self.gw.answers["commit"] = Outcome(True, also=(b"a",))
        self.assertEqual(self.put(self.scene.session()).also, (b"a", b"n1"))
        self.assertEqual(self.told, [{b"b"}])

    def test_upload_to_one_that_names_nobody(self) -> None:
        self.put(self.scene.session())
        self.assertEqual(self.told, [])
