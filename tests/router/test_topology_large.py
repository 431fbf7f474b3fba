"""A thousand gateways and twenty thousand nodes."""

from __future__ import annotations

from random import Random
from unittest.mock import patch

from twisted.trial import unittest

from annexd.router import tree
from annexd.router.routes import Routes
from annexd.router.topology import Attached, Gateway, Here, Link, Neighbour, Network
from annexd.router.weights import Quality, Weights
from tests.support.gateway_net import CLUSTER, gateway, node

GATEWAYS = 1000
NODES = 20_000
_CHORDS = 8


def ring_and_mesh(seed: int = 1) -> Network:
    """A ring, with links across it from everywhere to anywhere; one node in fifty is of two gateways."""
    random = Random(seed)
    everyone = [gateway(number) for number in range(GATEWAYS)]
    members = frozenset(map(node, range(NODES)))
    nodes: dict[bytes, dict[bytes, str]] = {uuid: {} for uuid in everyone}
    for number in range(NODES):
        for at in random.sample(everyone, 2 if number % 50 == 0 else 1):
            nodes[at][node(number)] = f"n{number}"
    links = {
        at: {everyone[number - 1], everyone[(number + 1) % GATEWAYS], *random.sample(everyone, _CHORDS)}
        for number, at in enumerate(everyone)
    }
    cluster = frozenset((CLUSTER,))
    known = {
        at: Gateway(
            at, cluster, nodes[at], links=tuple(Link(to, to.decode(), members) for to in sorted(links[at]))
        )
        for at in everyone[1:]
    }
    me = everyone[0]
    here = Here(
        me,
        tuple(Attached(uuid, name, 200, cluster) for uuid, name in nodes[me].items()),
        tuple(Neighbour(uuid, uuid.decode(), 200, cluster) for uuid in sorted(links[me] - {me})),
    )
    return Network(here, {CLUSTER: members}, known)


class Large(unittest.TestCase):
    def test_every_node_once_and_linear_work(self) -> None:
        routes = Routes(ring_and_mesh())
        routes.plan(CLUSTER)
        pushed: list[object] = []
        push = tree.heappush

        def count(heap: list[tuple[float, int, bytes, bytes]], item: tuple[float, int, bytes, bytes]) -> None:
            pushed.append(item)
            push(heap, item)

        with patch.object(tree, "heappush", count):
            plan = routes.plan(CLUSTER, (gateway(GATEWAYS),))
        reached = [uuid for branch in plan.branches for uuid in branch.reaches]
        self.assertEqual(len(reached), NODES)
        self.assertEqual(len(set(reached)), NODES)
        self.assertLessEqual(len(pushed), GATEWAYS * (_CHORDS + 2))
        for branch in plan.branches:
            self.assertLess(len(b" ".join(branch.bypass)), 30_000)

    def test_nothing_is_computed_twice(self) -> None:
        routes = Routes(ring_and_mesh())
        weights = [Weights({"x": Quality(latency_s=seconds)}) for seconds in (0.1, 0.101)]
        one = routes.plan(CLUSTER, (), weights[0])
        with patch.object(tree.Plane, "grow", side_effect=AssertionError):
            self.assertIs(routes.plan(CLUSTER, (), weights[1]), one)
