"""Stock clients of a gateway whose nodes are partly behind another gateway."""

from __future__ import annotations

from tests.support.load import content_of
from tests.support.several_gateways import GatewaysScene

CONTENT = content_of(1, 50_000)


class Clients(GatewaysScene):
    def test_a_day_with_two_gateways(self) -> None:
        """The client only fetched from the first; all else it knows from the git-annex branch."""
        first, second = self.gateways
        client, repo = self.client(first)
        listed = client.annex(repo, "info", "--json", "--fast")
        for name in (b"gw-mycluster", b"gw-g1n", b"gw-G2-g2n"):
            self.assertIn(name, listed)
        (repo / "file").write_bytes(CONTENT)
        client.annex(repo, "add", "-q", "file")
        client.git(repo, "commit", "-q", "-m", "add")
        key = client.key(repo, "file")

        client.annex(repo, "copy", "--to", "gw-mycluster", "file")
        self.assertEqual(self.holding(key), {"G1", "G2"})
        nodes = {first.node_uuid, second.node_uuid}
        self.assertTrue({*nodes, self.cluster_uuid} <= self.whereis(client, repo, "file"))
        client.annex(repo, "fsck", "-q", "--from", "gw-mycluster", "file")
        client.annex(repo, "fsck", "-q", "--from", "gw-G2-g2n", "file")

        client.annex(repo, "drop", "file")
        client.annex(repo, "drop", "--from", "gw-g1n", "file", "--force")
        self.assertEqual(self.holding(key), {"G2"})
        client.annex(repo, "get", "--from", "gw-mycluster", "file")
        self.assertEqual((repo / "file").read_bytes(), CONTENT)
        client.annex(repo, "move", "--from", "gw-G2-g2n", "file")
        self.assertEqual(self.holding(key), set())

        client.annex(repo, "move", "--to", "gw-G2-g2n", "file")
        self.assertEqual(self.holding(key), {"G2"})
        client.annex(repo, "sync", "-q", "gw")
        other, copy = self.client(first, "other")
        other.annex(copy, "get", "-q", "file")
        self.assertEqual((copy / "file").read_bytes(), CONTENT)
        other.annex(copy, "drop", "-q", "--from", "gw-mycluster", "file")
        self.assertEqual(self.holding(key), set())


class TestRemotes(GatewaysScene):
    def test_node_behind_two_gateways_and_cluster(self) -> None:
        client, repo = self.client(self.gateways[0])
        for name in ("gw-G2-g2n", "gw-mycluster"):
            said = client.annex(repo, "testremote", "--fast", name, seconds=300)
            self.assertIn(b"All 125 tests passed", said[-200:], name)
