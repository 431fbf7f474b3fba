"""Tests of `annexd.router.routes` and `annexd.router.explain` on small networks."""

from __future__ import annotations

from twisted.trial import unittest

from annexd.router.explain import explain
from annexd.router.routes import Branch, Plan, Routes, nearest, suspects
from annexd.router.topology import Attached, Gateway, Here, Link, Neighbour, Network, unwanted_node
from annexd.router.weights import Quality, Weights
from tests.support.gateway_net import CLUSTER, Net, all_stock, gateway, node

ME, A, B, C, D = map(gateway, range(1, 6))
N1, N2, N3, N4, N5 = map(node, range(1, 6))
NAMES = {ME: "me", A: "a", B: "b", C: "c", D: "d", N1: "n1", N2: "n2", N3: "n3", N4: "n4", N5: "n5"}


def routes(nodes: dict[bytes, dict[str, bytes]], links: dict[bytes, dict[str, bytes]]) -> Routes:
    return Net(nodes, links, perfect=True).routes(ME)


def by_name(plan: Plan) -> dict[str, Branch]:
    return {branch.name: branch for branch in plan.branches}


RING = (
    {ME: {"n1": N1}, A: {"n2": N2}, B: {"n3": N3}, C: {"n4": N4}},
    {ME: {"a": A, "c": C}, A: {"me": ME, "b": B}, B: {"a": A, "c": C}, C: {"b": B, "me": ME}},
)


class Plans(unittest.TestCase):
    def test_each_node_by_its_cheapest_path(self) -> None:
        plan = routes(*RING).plan(CLUSTER)
        self.assertEqual([branch.name for branch in plan.branches], ["n1", "a", "c"])
        branches = by_name(plan)
        self.assertEqual(branches["n1"], Branch(N1, "n1", False, frozenset((N1,)), 210, (ME,)))
        self.assertEqual(branches["a"], Branch(A, "a", True, frozenset((N2, N3)), 420, (ME, C)))
        self.assertEqual(branches["c"], Branch(C, "c", True, frozenset((N4,)), 420, (ME, A, B)))
        self.assertEqual(plan.unreached, frozenset())

    def test_measured_costs_turn_the_tree(self) -> None:
        plan = routes(*RING).plan(CLUSTER, weights=Weights({"a": Quality(latency_s=0.5)}))
        self.assertEqual(by_name(plan)["c"].reaches, frozenset((N3, N4)))

    def test_around_what_is_down(self) -> None:
        plan = routes(*RING).plan(CLUSTER, weights=Weights({"a": Quality(up=False)}))
        self.assertEqual(by_name(plan)["c"].reaches, frozenset((N2, N3, N4)))
        self.assertEqual(by_name(plan)["c"].bypass, (ME,))
        self.assertNotIn("a", by_name(plan))

    def test_what_is_down_everywhere_is_tried_last_and_forbidden_to_nobody(self) -> None:
        weights = Weights({"a": Quality(up=False)})
        nodes: dict[bytes, dict[str, bytes]] = {ME: {}, A: {"n2": N2}, B: {"n3": N3}}
        plan = routes(nodes, {ME: {"a": A, "b": B}, A: {}, B: {}}).plan(CLUSTER, weights=weights)
        self.assertEqual([branch.name for branch in plan.branches], ["b", "a"])
        self.assertEqual([branch.down for branch in plan.branches], [False, True])
        self.assertEqual(plan.branches[0].bypass, (ME,))
        self.assertEqual(plan.unsure, {N2})

    def test_the_clients_list_is_kept_and_heeded(self) -> None:
        plan = routes(*RING).plan(CLUSTER, (D, C, unwanted_node(N2)))
        branches = by_name(plan)
        self.assertEqual(set(branches), {"n1", "a"})
        self.assertEqual(branches["a"].reaches, frozenset((N3,)))
        self.assertEqual(branches["a"].bypass, (D, C, unwanted_node(N2), ME))
        self.assertEqual(branches["n1"].bypass, (D, C, unwanted_node(N2), ME))
        self.assertEqual(plan.unreached, frozenset((N4,)))

    def test_a_request_that_was_here_goes_nowhere(self) -> None:
        self.assertEqual(routes(*RING).plan(CLUSTER, (ME,)).branches, ())

    def test_a_node_of_several_gateways(self) -> None:
        nodes = {ME: {}, A: {"n1": N1, "n2": N2}, B: {"n1": N1, "n3": N3}}
        plan = routes(nodes, {ME: {"a": A, "b": B}, A: {}, B: {}}).plan(CLUSTER)
        self.assertEqual(by_name(plan)["a"].bypass, (ME, B))
        self.assertEqual(by_name(plan)["b"].bypass, (ME, A, unwanted_node(N1)))

    def test_own_nodes_are_kept_from_neighbours_that_have_them_too(self) -> None:
        nodes = {ME: {"n1": N1}, A: {"n1": N1, "n2": N2}}
        plan = routes(nodes, {ME: {"a": A}, A: {}}).plan(CLUSTER)
        self.assertEqual(by_name(plan)["a"].bypass, (ME, unwanted_node(N1)))
        self.assertEqual(by_name(plan)["a"].reaches, frozenset((N2,)))

    def test_a_gateway_that_is_a_node_is_both(self) -> None:
        nodes = {ME: {"self": ME}, A: {"self": A}, B: {"a": A, "n3": N3}}
        plan = routes(nodes, {ME: {"a": A, "b": B}, A: {}, B: {}}).plan(CLUSTER, ())
        branches = by_name(plan)
        self.assertEqual(branches["self"].uuid, ME)
        self.assertEqual(branches["a"].reaches, frozenset((A,)))
        self.assertEqual(branches["b"].bypass, (ME, A, unwanted_node(A)))
        # And that it has passed the request on is no reason to leave it out as a node.
        self.assertIn(
            A, by_name(routes(nodes, {ME: {"b": B}, A: {}, B: {}}).plan(CLUSTER, (A,)))["b"].reaches
        )

    def test_the_better_of_two_remotes(self) -> None:
        cluster = frozenset((CLUSTER,))
        near, far = Neighbour(A, "near", 150, cluster), Neighbour(A, "far", 250, cluster)
        known = {A: Gateway(A, cluster, {N2: "n2"}), B: Gateway(B, cluster)}
        network = Network(Here(ME, (), (far, near)), {CLUSTER: frozenset((N2,))}, known)
        self.assertEqual(list(by_name(Routes(network).plan(CLUSTER))), ["near"])
        weights = Weights({"near": Quality(up=False)})
        self.assertEqual(list(by_name(Routes(network).plan(CLUSTER, weights=weights))), ["far"])

    def test_a_gateway_that_is_a_node_has_a_name_for_each(self) -> None:
        cluster = frozenset((CLUSTER,))
        own = (Attached(A, "as-node", 100, cluster),)
        neighbours = (Neighbour(A, "as-node", 300, cluster), Neighbour(A, "as-gateway", 200, cluster))
        known = {A: Gateway(A, cluster, {N2: "n2"})}
        network = Network(Here(ME, own, neighbours), {CLUSTER: frozenset((A, N2))}, known)
        branches = Routes(network).plan(CLUSTER).branches
        self.assertEqual([(b.name, b.reaches) for b in branches], [("as-node", {A}), ("as-gateway", {N2})])

    def test_gateways_without_nodes_are_left_out(self) -> None:
        nodes: dict[bytes, dict[str, bytes]] = {ME: {"n1": N1}, A: {}, B: {"n3": N3}, C: {}}
        plan = routes(nodes, {ME: {"a": A, "c": C}, A: {"b": B}, B: {}, C: {}}).plan(CLUSTER)
        self.assertEqual(set(by_name(plan)), {"n1", "a"})
        self.assertEqual(by_name(plan)["a"].bypass, (ME, C))

    def test_members_only_and_only_where_the_cluster_is_served(self) -> None:
        cluster = frozenset((CLUSTER,))
        own = (Attached(N1, "n1", 200, cluster), Attached(N2, "n2", 200, cluster), Attached(N4, "n4"))
        known = {A: Gateway(A, cluster, {N3: "n3", N5: "n5"}), B: Gateway(B, frozenset(), {N4: "n4"})}
        here = Here(ME, own, (Neighbour(A, "a", 200, cluster), Neighbour(B, "b")))
        network = Network(here, {CLUSTER: frozenset((N1, N3, N4))}, known)
        plan = Routes(network).plan(CLUSTER)
        self.assertEqual({b.name: b.reaches for b in plan.branches}, {"n1": {N1}, "a": {N3}})
        self.assertEqual(plan.unreached, frozenset((N4,)))
        self.assertEqual(Routes(network).plan(D).branches, ())

    def test_a_plan_for_some_leaves_the_others_where_they_are(self) -> None:
        here = Here(ME, (), (Neighbour(A, "a", 200, frozenset((CLUSTER,))),))
        found = Routes(Network(here, {CLUSTER: frozenset((N1, N2))}, {}))
        self.assertEqual(found.plan(CLUSTER, targets=frozenset((N1,))).branches[0].reaches, {N1})
        self.assertEqual(found.plan(CLUSTER).branches[0].reaches, {N1, N2})

    def test_nodes_of_nobody_are_looked_for_where_nothing_is_known(self) -> None:
        cluster = frozenset((CLUSTER,))
        here = Here(ME, (), (Neighbour(A, "a", 200, cluster), Neighbour(B, "b", 100, cluster)))
        network = Network(here, {CLUSTER: frozenset((N1,))}, {})
        (branch,) = Routes(network).plan(CLUSTER).branches
        self.assertEqual((branch.name, branch.reaches, branch.bypass), ("b", {N1}, (ME,)))
        tried = suspects(Routes(network).plan(CLUSTER), ())
        self.assertEqual(Routes(network).plan(CLUSTER, avoid=tried).branches[0].name, "a")

    def test_a_link_counts_for_the_clusters_it_carries(self) -> None:
        cluster = frozenset((CLUSTER,))
        link = Link(B, "b", frozenset((N5,)))
        known = {A: Gateway(A, cluster, {N2: "n2"}, links=(link,)), B: Gateway(B, cluster, {N3: "n3"})}
        here = Here(ME, (), (Neighbour(A, "a", 200, cluster),))
        plan = Routes(Network(here, {CLUSTER: frozenset((N2, N3))}, known)).plan(CLUSTER)
        self.assertEqual(plan.unreached, frozenset((N3,)))

    def test_the_same_again_is_not_computed_again(self) -> None:
        ways = routes(*RING)
        one = ways.plan(CLUSTER, (D,), Weights({"a": Quality(latency_s=0.1)}))
        self.assertIs(one, ways.plan(CLUSTER, (D,), Weights({"a": Quality(latency_s=0.101)})))
        self.assertIsNot(one, ways.plan(CLUSTER, (), Weights({"a": Quality(latency_s=0.1)})))

    def test_stock_gateways_in_the_ring_send_once(self) -> None:
        net = Net(*RING, stock=frozenset((A, B, C)), perfect=True)
        self.assertEqual(set(net.put(ME).received.values()), {1})
        self.assertEqual(max(all_stock(net).put(ME).received.values()), 2)


class OneNode(unittest.TestCase):
    def test_own(self) -> None:
        (branch,) = routes(*RING).path_to(N1).branches
        self.assertEqual((branch.name, branch.is_gateway), ("n1", False))

    def test_behind_two_gateways(self) -> None:
        (branch,) = routes(*RING).path_to(N3, (D,)).branches
        self.assertEqual((branch.name, branch.reaches, branch.bypass), ("a", {N3}, (D, ME)))
        (branch,) = routes(*RING).path_to(N3, (A,)).branches
        self.assertEqual((branch.name, branch.bypass), ("c", (A, ME)))

    def test_only_where_it_is_proxied(self) -> None:
        known = {A: Gateway(A, nodes={N2: "n2"}, proxies=frozenset((N2,)))}
        network = Network(Here(ME, (), (Neighbour(A, "a"), Neighbour(B, "b", 100))), {}, known)
        self.assertEqual(Routes(network).path_to(N2).branches[0].name, "a")
        self.assertEqual(Routes(network).path_to(N3).branches, ())

    def test_not_where_it_came_from(self) -> None:
        self.assertEqual(routes(*RING).path_to(N3, (A, C)).branches, ())


class SecondTries(unittest.TestCase):
    def test_a_gateway_of_which_nothing_was_heard(self) -> None:
        ways = routes(*RING)
        plan = ways.plan(CLUSTER)
        found = suspects(plan, (N1, N2, N4))
        self.assertEqual(found, {(A, B)})
        (again,) = ways.plan(CLUSTER, targets=frozenset((N3,)), avoid=found).branches
        self.assertEqual((again.name, again.reaches), ("c", {N3}))
        self.assertEqual(again.bypass, (ME, A, unwanted_node(N4)))

    def test_a_neighbour_that_does_not_answer(self) -> None:
        ways = routes(*RING)
        found = suspects(ways.plan(CLUSTER), (N1, N4))
        self.assertEqual(found, {(ME, A)})
        (again,) = ways.plan(CLUSTER, targets=frozenset((N2, N3)), avoid=found).branches
        self.assertEqual((again.name, again.reaches), ("c", {N2, N3}))

    def test_a_node_alone(self) -> None:
        nodes = {ME: {}, A: {"n1": N1, "n2": N2}, B: {"n1": N1}}
        ways = routes(nodes, {ME: {"a": A, "b": B}, A: {}, B: {}})
        found = suspects(ways.plan(CLUSTER), (N2,))
        self.assertEqual(found, {(A, N1)})
        (again,) = ways.plan(CLUSTER, targets=frozenset((N1,)), avoid=found).branches
        self.assertEqual(again.name, "b")

    def test_a_gateway_behind_one_without_nodes(self) -> None:
        """First the last link is suspected; when that did not help, the one before it."""
        nodes: dict[bytes, dict[str, bytes]] = {ME: {}, A: {"n1": N1}, B: {}, C: {"n2": N2}}
        ways = routes(nodes, {ME: {"a": A}, A: {"b": B}, B: {"c": C}, C: {}})
        one = suspects(ways.plan(CLUSTER), (N1,))
        self.assertEqual(one, {(B, C)})
        again = ways.plan(CLUSTER, targets=frozenset((N2,)), avoid=one)
        self.assertEqual(suspects(again, (N1,)), {(A, B)})

    def test_nothing_is_suspected_when_all_went_well(self) -> None:
        self.assertEqual(suspects(routes(*RING).plan(CLUSTER), (N1, N2, N3, N4)), frozenset())


class Order(unittest.TestCase):
    def test_own_nodes_then_by_cost_then_by_uuid(self) -> None:
        def branch(uuid: bytes, is_gateway: bool, cost: float) -> Branch:
            return Branch(uuid, "", is_gateway, frozenset(), cost, ())

        wanted = [branch(N2, False, 100), branch(N1, False, 500), branch(A, True, 50), branch(B, True, 50)]
        self.assertEqual(nearest(reversed(wanted)), wanted)


class Explanations(unittest.TestCase):
    def test_ring(self) -> None:
        nodes = {**RING[0], C: {"n4": N4, "n1": N1}}
        plan = routes(nodes, RING[1]).plan(CLUSTER, (D,), Weights({"c": Quality(latency_s=1.0)}))
        self.assertEqual(
            explain(plan, NAMES.__getitem__),
            [
                "from me:",
                "  node n1, remote n1, cost 210 (also at c: dearer, or of the same cost)",
                "  gateway a, remote a, cost 210",
                "    node n2, cost 420",
                "    gateway b, cost 420",
                "      node n3, cost 630",
                "    told to bypass the gateways d, me, c",
                "  gateway c, remote c, cost 310",
                "    node n4, cost 520",
                "    told to bypass the gateways d, me, a, b",
                "    told not to serve the nodes n1",
            ],
        )

    def test_what_is_not_reached(self) -> None:
        cluster = frozenset((CLUSTER,))
        known = {A: Gateway(A, cluster, {N2: "n2"}), B: Gateway(B, cluster, {N3: "n3"})}
        here = Here(ME, (Attached(N1, "n1", 200, cluster),), (Neighbour(A, "a", 200, cluster),))
        network = Network(here, {CLUSTER: frozenset((N1, N2, N3, N4))}, known)
        plan = Routes(network).plan(CLUSTER, (A,), Weights({"n1": Quality(up=False)}))
        self.assertEqual(
            explain(plan, NAMES.__getitem__),
            [
                "from me:",
                "  node n1, remote n1, cost 1000210, down or avoided",
                "  not reached: n2: a: is to be bypassed",
                "  not reached: n3: b: no way is known to it",
                "  not reached: n4: no gateway is known to have it",
            ],
        )

    def test_what_is_looked_for(self) -> None:
        cluster = frozenset((CLUSTER,))
        here = Here(ME, (), (Neighbour(A, "a", 200, cluster),))
        plan = Routes(Network(here, {CLUSTER: frozenset((N1,))}, {})).plan(CLUSTER)
        self.assertIn(
            "    node n1, cost 420 (nobody is known to have it, so it is looked for here)",
            explain(plan, NAMES.__getitem__),
        )
