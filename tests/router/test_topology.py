"""
What `annexd.router.routes` promises of whole networks, with the simulator of
`tests.support.gateway_net`.
"""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from tests.support.gateway_net import Net, TooMany, Upload, all_stock, gateway
from tests.support.gateway_nets import break_edges, random_net, randoms, spoil

ENTRY = gateway(1)
_LINKS = [0.7, 1.5, 3.0]


def small(random: Random, gateways: int, dashes: bool = False) -> Net:
    return random_net(random, gateways, random.randrange(20), random.choice(_LINKS), dashes)


def check_once(case: unittest.SynchronousTestCase, net: Net) -> Upload:
    """Every node that can be reached has it once, and no more was sent than for that."""
    upload = net.put(ENTRY)
    case.assertEqual(set(upload.received), net.reachable(ENTRY))
    case.assertLessEqual(max(upload.received.values(), default=1), 1)
    case.assertLess(upload.longest_bypass, 32_767)
    return upload


def check_large(case: unittest.SynchronousTestCase, random: Random, gateways: int, nodes: int) -> None:
    net = random_net(random, gateways, nodes, random.choice(_LINKS))
    net.perfect = True
    upload = check_once(case, net)
    case.assertLessEqual(upload.sent, len(net.nodes) - 1 + len(net.members))
    case.assertEqual(max(upload.visits.values()), 1)


def check_own_links_down(case: unittest.SynchronousTestCase, random: Random, gateways: int) -> None:
    """What is down at the gateway where the upload enters is known there, and got around."""
    net = small(random, gateways)
    net.perfect = True
    break_edges(random, net, 0.4)
    net.down = frozenset(edge for edge in net.down if edge[0] == ENTRY)
    check_once(case, net)


def check_broken(case: unittest.SynchronousTestCase, random: Random, gateways: int, nodes: int) -> None:
    """
    What is down elsewhere is not known: nodes may be missed, not by more tries.  None has it twice, but those
    that a second try looks for everywhere, since no way to them is known any more that is not suspected;
    that may cost more, too.
    """
    net = random_net(random, gateways, nodes, random.choice(_LINKS))
    net.perfect = True
    break_edges(random, net, 0.15)
    reached: frozenset[bytes] = frozenset()
    for tries in (1, 2, 9):
        net.tries = tries
        upload = net.put(ENTRY)
        case.assertLessEqual({uuid for uuid, times in upload.received.items() if times > 1}, upload.hoped)
        case.assertLessEqual(reached, frozenset(upload.received))
        reached = frozenset(upload.received)
        case.assertLessEqual(reached, net.reachable(ENTRY))
        ways = 1 + len(net.links[ENTRY]) if upload.hoped else 1
        case.assertLessEqual(upload.sent, ways * tries * (len(net.nodes) + len(net.members)))


def check_mixed(case: unittest.SynchronousTestCase, random: Random, gateways: int, dashes: bool) -> None:
    """
    With anything in proxy.log, and anything unknown or down: nobody gets more
    than from git-annex alone, and where not all are annexd, too.
    """
    net = small(random, gateways, dashes)
    net.update(random.choices([*net.nodes], k=random.randrange(1, 2 * gateways + 1)), random.random() < 0.5)
    net.update(random.choices([*net.nodes], k=random.randrange(gateways + 1)), random.random() < 0.5)
    if random.random() < 0.5:
        spoil(random, net)
    everyone = sorted(net.nodes)
    net.stock = frozenset(random.sample(everyone, random.randrange(gateways + 1)))
    net.unheard = {at: frozenset(random.sample(everyone, random.randrange(gateways))) for at in everyone}
    break_edges(random, net, random.choice([0.0, 0.0, 0.2]))
    try:
        alone = all_stock(net).put(ENTRY)
    except TooMany:
        return  # there is nothing to compare with
    mixed = net.put(ENTRY)
    for uuid, times in mixed.received.items():
        case.assertLessEqual(times, alone.received[uuid])
    case.assertLessEqual(mixed.sent, alone.sent)
    case.assertLessEqual(mixed.visits, alone.visits)


class Uploads(unittest.TestCase):
    @settings(max_examples=6, deadline=None)
    @given(randoms(), st.integers(1, 50), st.integers(0, 500))
    def test_once_each_and_linear(self, random: Random, gateways: int, nodes: int) -> None:
        check_large(self, random, gateways, nodes)

    @settings(max_examples=12, deadline=None)
    @given(randoms(), st.integers(1, 7))
    def test_once_each_by_what_the_lists_say(self, random: Random, gateways: int) -> None:
        """From names alone, with more tries where they mislead."""
        net = small(random, gateways)
        net.settle()
        net.tries = 5
        check_once(self, net)

    @settings(max_examples=20, deadline=None)
    @given(randoms(), st.integers(1, 8))
    def test_around_own_links_that_are_down(self, random: Random, gateways: int) -> None:
        check_own_links_down(self, random, gateways)

    @settings(max_examples=12, deadline=None)
    @given(randoms(), st.integers(1, 12), st.integers(0, 40))
    def test_links_that_fail_elsewhere(self, random: Random, gateways: int, nodes: int) -> None:
        check_broken(self, random, gateways, nodes)


class Mixed(unittest.TestCase):
    @settings(max_examples=25, deadline=None)
    @given(randoms(), st.integers(1, 6))
    def test_never_more_than_git_annex_alone(self, random: Random, gateways: int) -> None:
        check_mixed(self, random, gateways, dashes=False)

    @settings(max_examples=25, deadline=None)
    @given(randoms(), st.integers(1, 6))
    def test_with_names_that_tell_nothing(self, random: Random, gateways: int) -> None:
        check_mixed(self, random, gateways, dashes=True)

    def test_meshes_as_measured(self) -> None:
        """How often each node gets an upload from git-annex, in full meshes with a node for each gateway."""
        for size, often in ((2, 1), (3, 2), (4, 5)):
            everyone = {number: gateway(number) for number in range(1, size + 1)}
            net = Net(
                {uuid: {"n": b"node %d" % number} for number, uuid in everyone.items()},
                {at: {f"G{n}": to for n, to in everyone.items() if to != at} for at in everyone.values()},
            )
            net.settle()
            received = all_stock(net).put(ENTRY).received
            self.assertEqual(
                {uuid: received[uuid] for uuid in received if uuid != b"node 1"},
                {b"node %d" % number: often for number in range(2, size + 1)},
            )
            self.assertEqual(set(check_once(self, net).received.values()), {1})
            net.stock = frozenset(net.nodes) - {ENTRY}
            self.assertEqual(set(net.put(ENTRY).received.values()), {1})
