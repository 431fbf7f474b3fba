"""Tests of `annexd.router.inference`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from annexd.router.inference import Entries, Survey, infer, legal
from annexd.router.topology import Here
from tests.support.gateway_net import CLUSTER, Net, gateway, node

G1, G2, G3, G4 = map(gateway, range(1, 5))
N1, N2, N3, N4 = map(node, range(1, 5))


def mesh(size: int) -> Net:
    everyone = {number: gateway(number) for number in range(1, size + 1)}
    return Net(
        {uuid: {f"g{number}n1": node(number)} for number, uuid in everyone.items()},
        {at: {f"G{n}": to for n, to in everyone.items() if to != at} for at in everyone.values()},
    )


def links(entries: Entries, uuid: bytes) -> dict[str, bytes]:
    return {link.name: link.to for link in Survey(entries).gateways[uuid].links}


def nodes(entries: Entries, uuid: bytes) -> dict[bytes, str]:
    return dict(Survey(entries).gateways[uuid].nodes)


class Links(unittest.TestCase):
    def test_what_git_annex_writes_for_meshes(self) -> None:
        for size in (2, 3, 4):
            net = mesh(size)
            net.settle(stock_rounds=3)
            for at in net.nodes:
                self.assertEqual(links(net.lists, at), net.links[at])
                self.assertEqual(nodes(net.lists, at), {n: name for name, n in net.nodes[at].items()})

    def test_the_same_of_what_annexd_writes(self) -> None:
        net = mesh(4)
        net.settle()
        for at in net.nodes:
            self.assertEqual(links(net.lists, at), net.links[at])

    def test_carries(self) -> None:
        entries = {G1: [(N2, "G2-n"), (N3, "G2-G3-n")], G2: [(N3, "G3-n"), (N2, "n")], G3: [(N3, "n")]}
        (link,) = Survey(entries).gateways[G1].links
        self.assertEqual((link.to, link.name, link.carries), (G2, "G2", frozenset((N2, N3))))

    def test_dashes_in_names(self) -> None:
        entries = {G1: [(N2, "nas-2-my-disk")], G2: [(N2, "my-disk")]}
        self.assertEqual(links(entries, G1), {"nas-2": G2})
        self.assertEqual(nodes(entries, G1), {})

    def test_one_dashed_remote_is_not_taken_for_two_hops(self) -> None:
        """a-b is G2, though G3 calls G2 b: all of G3's own nodes would be listed, too, if a were G3."""
        entries = {
            G1: [(N2, "a-b-n"), (N3, "far-away-g3-n")],
            G2: [(N2, "n")],
            G3: [(N2, "b-n"), (N3, "n")],
            G4: [(N3, "g3-n")],
        }
        self.assertEqual(links(entries, G1), {"a-b": G2, "far-away": G4})

    def test_two_hops_are_not_taken_for_one_dashed_remote(self) -> None:
        entries = {
            G1: [(N2, "a-n2"), (N3, "a-b-n3")],
            G2: [(N2, "n2"), (N3, "b-n3")],
            G3: [(N3, "n3")],
        }
        self.assertEqual(links(entries, G1), {"a": G2})

    def test_two_names_for_one_gateway(self) -> None:
        entries = {G1: [(N2, "near-n"), (N2, "wan-n")], G2: [(N2, "n")]}
        self.assertEqual(links(entries, G1), {"near": G2, "wan": G2})

    def test_circles_of_names_alone(self) -> None:
        """Nobody has the node any more, but its names are still going round."""
        entries = {
            G1: [(N4, "G3-G2-G1-n"), (N4, "G2-G1-G3-G2-G1-n")],
            G2: [(N4, "G1-G3-G2-G1-n")],
            G3: [(N4, "G2-G1-n"), (N4, "G2-G1-G3-G2-G1-n")],
        }
        Survey(entries)
        self.assertEqual(links(entries, G1)["G3"], G3)


class Nodes(unittest.TestCase):
    def test_of_several_gateways(self) -> None:
        entries = {G1: [(N1, "disk")], G2: [(N1, "shared")]}
        self.assertEqual(nodes(entries, G1), {N1: "disk"})
        self.assertEqual(nodes(entries, G2), {N1: "shared"})

    def test_a_gateway_that_is_a_node(self) -> None:
        entries = {G1: [(G1, "self"), (G2, "g2")], G2: [(N2, "n")]}
        self.assertEqual(nodes(entries, G1), {G1: "self", G2: "g2"})

    def test_a_stale_name_is_no_node(self) -> None:
        entries = {
            G1: [(N2, "G2-n2"), (N3, "G2-old")],
            G2: [(N2, "n2"), (N3, "n3")],
        }
        self.assertEqual(nodes(entries, G1), {})
        self.assertEqual(Survey(entries).gateways[G1].maybe, frozenset((N3,)))

    def test_but_it_is_when_nobody_else_has_the_node(self) -> None:
        entries = {G1: [(N2, "nas-n2"), (N1, "nas-backup")], G2: [(N2, "n2")]}
        self.assertEqual(nodes(entries, G1), {N1: "nas-backup"})

    def test_clusters_and_illegal_names_are_none(self) -> None:
        entries = {G1: [(CLUSTER, "mycluster"), (N1, "a b"), (N2, ""), (N3, "a//b"), (N4, ".a")]}
        network = infer(Here(G2), entries, {})
        self.assertEqual(network.gateways[G1].clusters, frozenset((CLUSTER,)))
        self.assertEqual(network.gateways[G1].proxies, frozenset())

    def test_own_lists_are_not_for_oneself(self) -> None:
        self.assertEqual(infer(Here(G1), {G1: [(N1, "n")]}, {}).gateways, {})


class Words(unittest.TestCase):
    def test_legal(self) -> None:
        for name in ("n1", "my-disk", "a.b", "a_b", "käse", "a+b", "a=b", "a@b", "a/b", "-x"):
            self.assertTrue(legal(name), name)
        for name in (
            "",
            ".a",
            "a b",
            "a/.b",
            "a//b",
            "/a",
            "a/",
            "a:b",
            "a..b",
            "a.lock",
            "a@{",
            "a\n",
            "a\n\n",
            "ä" * 128,
        ):
            self.assertFalse(legal(name), name)


_NAMES = st.lists(st.sampled_from(["G1", "G2", "G3", "n", "a-b", ""]), min_size=1, max_size=8).map("-".join)
_ENTRIES = st.dictionaries(
    st.sampled_from([G1, G2, G3, G4]),
    st.lists(st.tuples(st.sampled_from([N1, N2, G1, CLUSTER]), _NAMES), max_size=12),
)


class Anything(unittest.TestCase):
    @given(_ENTRIES)
    def test_a_node_that_is_listed_is_somewhere(self, entries: Entries) -> None:
        gateways = Survey(entries).gateways
        for uuid in (N1, N2, G1):
            listed = any(uuid in known.proxies for known in gateways.values())
            self.assertEqual(listed, any(uuid in known.nodes for known in gateways.values()))
        for known in gateways.values():
            self.assertTrue(all(link.to != known.uuid for link in known.links))
            names = [link.name for link in known.links]
            self.assertEqual(len(names), len(set(names)))
