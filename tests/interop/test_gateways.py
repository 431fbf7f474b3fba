"""Clusters with several gateways, all of annexd's or some of git-annex's own."""

from __future__ import annotations

from tests.support.load import content_of, key_of
from tests.support.processes import until
from tests.support.several_gateways import ANNEXD, STOCK, GatewaysScene

CONTENT = content_of(1, 50_000)
KEY = key_of(CONTENT)


class Two(GatewaysScene):
    def test_everywhere_and_back(self) -> None:
        first, second = self.gateways
        session = self.session(first)
        reply = session.put(KEY, CONTENT)
        self.assertEqual(self.named(reply), {first.node_uuid, second.node_uuid}, self.said())
        self.assertEqual(self.holding(KEY), {"G1", "G2"})
        self.assertEqual(session.get(KEY), (CONTENT, b"VALID"))
        behind = self.session(first, second.node_uuid)
        self.assertEqual(behind.ask(b"CHECKPRESENT " + KEY), b"SUCCESS")
        reply = session.ask(b"REMOVE " + KEY)
        self.assertEqual(self.named(reply), {first.node_uuid, second.node_uuid})
        self.assertEqual(self.holding(KEY), set())

    def named(self, reply: bytes) -> set[bytes]:
        """The nodes in a reply; git-annex's own gateways name the cluster among them."""
        return set(reply.split()[1:]) - {self.cluster_uuid}


class TwoAnotherStock(Two):
    kinds = (ANNEXD, STOCK)


class TwoBehindStock(Two):
    kinds = (STOCK, ANNEXD)


class Exchange(GatewaysScene):
    """What one gateway knows is known to the other seconds later, whichever is told of it."""

    links = ((1, 2), (2, 1))

    def test_a_key_is_found_through_the_other(self) -> None:
        first, second = self.gateways
        self.session(second).close()  # from now on it watches its branch
        session = self.session(first)
        session.put(KEY, CONTENT)
        until(lambda: self.logged(second, KEY) == {"G1", "G2"}, "G2 knows of both nodes", 20)
        self.assertEqual(self.logged(first, KEY), {"G1", "G2"})
        self.session(second).ask(b"REMOVE " + KEY)
        until(lambda: self.logged(first, KEY) == set(), "G1 knows that they have it no longer", 20)
        self.host.git(first.path, "fsck", "--no-dangling")
        self.assertNotIn("error", self.said())
