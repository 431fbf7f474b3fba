"""Which nodes a cluster has after an update."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from annexd.router.membership import members_after
from annexd.router.topology import Attached, Here, Neighbour

CLUSTER = b"ac808f00-0000-8000-8000-000000000000"
NODE = frozenset((CLUSTER,))


def here(*names: str, single: str = "") -> Here:
    nodes = [Attached(name.encode(), name, clusters=NODE) for name in names]
    nodes += [Attached(single.encode(), single)] if single else []
    return Here(b"G1", tuple(nodes), (Neighbour(b"G2", "g2", clusters=NODE),), {CLUSTER: "c"})


def log(*lines: str) -> bytes:
    return b"".join(b"%ds %b %b\n" % (5 + at, CLUSTER, line.encode()) for at, line in enumerate(lines))


class Members(SynchronousTestCase):
    def after(self, text: bytes, gateway: Here, **listed: list[tuple[bytes, str]]) -> frozenset[bytes]:
        return members_after(text, CLUSTER, gateway, {name.encode(): line for name, line in listed.items()})

    def test_the_first_ones(self) -> None:
        self.assertEqual(self.after(b"", here("n1", "n2", single="s")), {b"n1", b"n2"})

    def test_those_of_other_gateways_stay(self) -> None:
        text = log("n1 m1 forgotten")
        self.assertEqual(self.after(text, here("n1"), G2=[(b"m1", "m1"), (b"m2", "m2")]), {b"n1", b"m1"})

    def test_edits_at_once(self) -> None:
        self.assertEqual(self.after(log("m1", "n1"), here("n1"), G2=[(b"m1", "m1")]), {b"n1", b"m1"})

    def test_an_own_one_that_is_none_any_more(self) -> None:
        """Its remote may be there still or not, and neighbours know it through this gateway."""
        text = log("n1 n2 m1")
        for gateway, line in (
            (here("n1"), [(b"n1", "n1"), (b"n2", "n2")]),
            (here("n1", single="n2"), [(b"n1", "n1")]),
        ):
            behind = [(b"m1", "m1"), (b"n2", "g1-n2"), (b"n1", "g1-n1")]
            self.assertEqual(self.after(text, gateway, G1=line, G2=behind), {b"n1", b"m1"})

    def test_what_another_gateway_has_besides(self) -> None:
        """Not a node by way of this gateway, but by way of that one."""
        gateway = here("n1", single="n2")
        self.assertEqual(self.after(log("n1 n2"), gateway, G2=[(b"n2", "n2")]), {b"n1", b"n2"})

    def test_what_is_known_here_through_a_neighbour(self) -> None:
        mine = [(b"m1", "g2-m1")]
        self.assertEqual(self.after(log("n1 m1"), here("n1"), G1=mine, G2=[(b"m1", "m1")]), {b"n1", b"m1"})
