"""What a gateway makes of its neighbours' answers."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.charts import Chart
from annexd.app.estate import Estate
from annexd.app.unusable import Unusable
from annexd.node import Condition, Health, Node
from annexd.router.configured import Configured, Remote
from annexd.router.knowledge import Knowledge
from annexd.router.ports import Way
from tests.router.test_routes import ME, N1, N2, N3, N4, RING, A, B, C, routes
from tests.support.gateway_net import CLUSTER
from tests.support.nodes import FakeNode


class SecondTries(SynchronousTestCase):
    """A ring of four: n3 can be reached over a and over c."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.estate = Estate(ME, self.clock, self.make)
        remotes = [
            Remote(name, uuid, b"ssh://host/", 200.0) for name, uuid in (("n1", N1), ("a", A), ("c", C))
        ]
        chart = Chart(Configured(tuple(remotes)), Knowledge.from_logs({}), routes(*RING))
        self.estate._use(chart)

    def make(self, remote: Remote, uuid: bytes) -> Node:
        return FakeNode(remote.name)

    def ways(self, *bypass: bytes) -> dict[str, Way]:
        return {way.node.name: way for way in self.estate.ways(CLUSTER, bypass)}

    def reached(self, *bypass: bytes) -> dict[str, frozenset[bytes]]:
        return {name: way.reaches for name, way in self.ways(*bypass).items()}

    def test_another_way_for_a_while(self) -> None:
        before = self.reached()
        self.assertEqual(before, {"n1": {N1}, "a": {N2, N3}, "c": {N4}})
        self.ways()["a"].missed(frozenset((N3,)))
        self.assertEqual(self.reached(), {"n1": {N1}, "a": {N2}, "c": {N3, N4}})
        self.assertNotIn(B, self.ways()["c"].bypass)
        self.clock.advance(61)
        self.assertEqual(self.reached(), before)

    def test_who_answered_is_not_suspected(self) -> None:
        self.ways()["a"].missed(frozenset((N2, N3)))
        self.assertEqual(self.reached()["a"], {N2})
        self.ways()["c"].missed(frozenset((N4,)))
        self.assertEqual(self.reached()["c"], {N3, N4})

    def test_the_gateway_where_a_request_came_in_sees_to_it(self) -> None:
        self.ways(C)["a"].missed(frozenset((N3,)))
        self.assertEqual(self.reached()["a"], {N2, N3})
        self.ways()["a"].missed(frozenset((N3,)))
        self.assertEqual(self.reached(C)["a"], {N2, N3})

    def test_the_same_until_something_changes(self) -> None:
        before = self.estate.ways(CLUSTER, ())
        self.assertIs(self.estate.ways(CLUSTER, ()), before)
        self.assertNotEqual(self.reached(C), self.reached())
        reached = self.reached()
        self.assertEqual(reached, {way.node.name: way.reaches for way in before})
        a = self.ways()["a"].node
        assert isinstance(a, FakeNode)
        a.condition = Condition(Health.DOWN)
        self.assertNotEqual(self.reached(), reached)
        a.condition = Condition()
        self.assertEqual(self.reached(), reached)
        self.estate._use(self.estate._chart)
        self.assertEqual(self.estate._found, {})

    def test_what_cannot_be_used_is_looked_at_again(self) -> None:
        self.estate._make = lambda remote, uuid: Unusable(uuid, remote.name, "it lacks something")
        self.assertTrue(all(isinstance(way.node, Unusable) for way in self.ways().values()))
        self.estate._make = self.make
        self.assertTrue(all(isinstance(way.node, FakeNode) for way in self.ways().values()))

    def test_a_single_node(self) -> None:
        self.estate.names = lambda uuid: ("name",)  # type: ignore[method-assign]
        way = self.estate.way_to(N3)
        assert way is not None
        self.assertEqual(way.node.name, "a")
        self.ways()["a"].missed(frozenset((N3,)))
        way = self.estate.way_to(N3)
        assert way is not None
        self.assertEqual(way.node.name, "c")
