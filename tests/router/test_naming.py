"""Tests of `annexd.router.naming`: names settle, and are the shortest."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from annexd.router.inference import legal
from annexd.router.naming import proxied_names
from annexd.router.topology import Attached, Here, Neighbour
from tests.support.gateway_net import CLUSTER, Net, gateway, node
from tests.support.gateway_nets import random_net, randoms, spoil

G1, G2, G3 = map(gateway, range(1, 4))
N1, N2, N3 = map(node, range(1, 4))
_MEMBERS = {CLUSTER: frozenset((N1, N2, N3, G2))}
_CLUSTERS = frozenset((CLUSTER,))


def here(*nodes: Attached, neighbours: tuple[tuple[bytes, str], ...] = ((G2, "G2"), (G3, "G3"))) -> Here:
    return Here(
        G1, nodes, tuple(Neighbour(uuid, name, 200, _CLUSTERS) for uuid, name in neighbours), {CLUSTER: "c"}
    )


class Names(unittest.TestCase):
    def names(self, here: Here, *lists: tuple[bytes, list[tuple[bytes, str]]]) -> dict[str, bytes]:
        return {name: uuid for uuid, name in proxied_names(here, dict(lists), _MEMBERS)}

    def test_own(self) -> None:
        found = self.names(here(Attached(N1, "n1"), Attached(node(9), "no-member")))
        self.assertEqual(found, {"c": CLUSTER, "n1": N1, "no-member": node(9)})

    def test_the_shortest_of_many(self) -> None:
        entries = [(N2, "G3-G1-G3-n2"), (N2, "G3-n2"), (N2, "n2")]
        self.assertEqual(self.names(here(), (G2, entries)), {"c": CLUSTER, "G2-n2": N2})

    def test_never_through_itself(self) -> None:
        mine = (G1, [(N1, "n1")])
        entries = [(N1, "G1-n1"), (N2, "G1-G3-n2")]
        self.assertEqual(self.names(here(Attached(N1, "n1")), mine, (G2, entries)), {"c": CLUSTER, "n1": N1})

    def test_members_only(self) -> None:
        self.assertEqual(self.names(here(), (G2, [(node(9), "other"), (CLUSTER, "c")])), {"c": CLUSTER})

    def test_gateways_that_are_nodes(self) -> None:
        self.assertEqual(self.names(here(), (G2, [(G2, "self")])), {"c": CLUSTER, "G2-self": G2})

    def test_no_two_by_one_name(self) -> None:
        """A name that a remote has is not for anything else, and a second way is taken where there is one."""
        own = Attached(N1, "G2-n2")
        found = self.names(here(own), (G2, [(N2, "n2")]), (G3, [(N2, "G2-n2")]))
        self.assertEqual(found, {"c": CLUSTER, "G2-n2": N1, "G3-G2-n2": N2})
        found = self.names(
            here(neighbours=((G2, "a"), (G3, "a-b"))), (G2, [(N2, "b-n")]), (G3, [(N3, "n"), (N1, "n1")])
        )
        self.assertEqual(found, {"c": CLUSTER, "a-b-n": N2, "a-b-n1": N1})

    def test_legal_ones(self) -> None:
        found = self.names(here(Attached(N1, "a:b")), (G2, [(N2, "a b"), (N3, "x" * 255)]))
        self.assertEqual(found, {"c": CLUSTER})

    def test_meshes_that_git_annex_never_settles(self) -> None:
        for size in (3, 4):
            everyone = {number: gateway(number) for number in range(1, size + 1)}
            net = Net(
                {uuid: {f"g{number}n1": node(number)} for number, uuid in everyone.items()},
                {at: {f"G{n}": to for n, to in everyone.items() if to != at} for at in everyone.values()},
            )
            net.update([*net.nodes] * 2, stock=True)
            self.assertGreater(len(net.lists[G1]), size + 1)
            net.settle()
            self.assertEqual(
                {name for _, name in net.lists[G1]},
                {"mycluster", "g1n1", *(f"G{n}-g{n}n1" for n in range(2, size + 1))},
            )


def distances(net: Net, at: bytes) -> dict[bytes, int]:
    """How many hops it is to each node."""
    found: dict[bytes, int] = {}
    seen, row, hops = {at}, [at], 0
    while row:
        for uuid in (uuid for passed in row for uuid in net.nodes[passed].values()):
            found.setdefault(uuid, hops)
        row = [to for passed in row for to in net.links[passed].values()]
        row = [to for to in dict.fromkeys(row) if to not in seen]
        seen.update(row)
        hops += 1
    return found


def check_settling(case: unittest.SynchronousTestCase, random: Random, gateways: int, dashes: bool) -> None:
    net = random_net(random, gateways, random.randrange(8), random.choice([0.7, 1.5]), dashes)
    spoil(random, net)
    everyone = [*net.nodes]
    for _ in range(300):
        before = dict(net.lists)
        order = random.choices(everyone, k=len(everyone)) + random.sample(everyone, len(everyone))
        net.update(order, stock=False)
        if net.lists == before:
            break
    else:
        case.fail("names do not settle")
    net.update(random.choices(everyone, k=2 * len(everyone)), stock=False)
    case.assertEqual(net.lists, before)
    for at, entries in net.lists.items():
        names = [name for _, name in entries]
        case.assertEqual(len(names), len(set(names)))
        case.assertTrue(all(map(legal, names)))
        uuids = {uuid: name for uuid, name in entries if uuid != CLUSTER}
        case.assertEqual(len(uuids), len(entries) - 1)
        if not dashes:
            case.assertEqual({uuid: name.count("-") for uuid, name in uuids.items()}, distances(net, at))


class Settling(unittest.TestCase):
    @settings(max_examples=12, deadline=None)
    @given(randoms(), st.integers(1, 6))
    def test_in_any_order_from_any_beginning(self, random: Random, gateways: int) -> None:
        check_settling(self, random, gateways, dashes=False)

    @settings(max_examples=12, deadline=None)
    @given(randoms(), st.integers(1, 5))
    def test_with_names_that_tell_nothing(self, random: Random, gateways: int) -> None:
        check_settling(self, random, gateways, dashes=True)
