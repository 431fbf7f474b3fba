"""A cluster behind annexd, used by stock clients as git-annex's documentation describes."""

from __future__ import annotations

from tests.support.gateways import ClusterScene

CONTENT = b"All that is gold does not glitter\n" * 5000


class Documentation(ClusterScene):
    proxied_names = ("single",)

    def test_a_day_with_a_cluster(self) -> None:
        client, repo = self.clone()
        listed = client.annex(repo, "info", "--json", "--fast")
        for name in (b"gw-mycluster", b"gw-n1", b"gw-single"):
            self.assertIn(name, listed)
        key = self.add(client, repo, "file", CONTENT)

        client.annex(repo, "copy", "--to", "gw-mycluster", "file")
        self.assertEqual(self.cluster.holding(key), {"n1", "n2", "n3"})
        self.assertEqual(self.cluster.logged(key), {"n1", "n2", "n3"})
        uuids = {self.cluster.node_uuid(name) for name in ("n1", "n2", "n3")}
        self.assertTrue({*uuids, self.cluster.uuid} <= self.whereis(client, repo, "file"))

        client.annex(repo, "drop", "file")
        client.annex(repo, "get", "--from", "gw-mycluster", "file")
        self.assertEqual((repo / "file").read_bytes(), CONTENT)
        client.annex(repo, "fsck", "-q", "--from", "gw-mycluster", "file")

        client.annex(repo, "drop", "--from", "gw-n2", "file")
        self.assertEqual(self.cluster.holding(key), {"n1", "n3"})
        client.annex(repo, "drop", "--from", "gw-mycluster", "file")
        self.assertEqual(self.cluster.holding(key), set())
        self.assertEqual(self.cluster.logged(key), set())

        client.annex(repo, "copy", "--to", "gw-single", "file")
        self.assertEqual(self.cluster.holding(key), {"single"})
        client.annex(repo, "move", "--from", "gw-single", "file", "--force")
        self.assertEqual(self.cluster.logged(key), set())
        client.annex(repo, "sync", "-q", "gw")

    def test_who_only_fetched(self) -> None:
        """The nodes and the cluster are known from the git-annex branch alone."""
        client, repo = self.clone()
        key = self.add(client, repo, "file", CONTENT)
        client.annex(repo, "move", "--to", "gw-mycluster", "file")
        client.annex(repo, "sync", "-q", "gw")
        other, copy = self.clone("other")
        other.annex(copy, "get", "file")
        self.assertEqual((copy / "file").read_bytes(), CONTENT)
        self.assertEqual(self.cluster.holding(key), {"n1", "n2", "n3"})


class TestRemotes(ClusterScene):
    proxied_names = ("single",)

    def test_node_and_cluster(self) -> None:
        client, repo = self.clone()
        for name in ("gw-single", "gw-n1", "gw-mycluster"):
            said = client.annex(repo, "testremote", "--fast", name, seconds=300)
            self.assertIn(b"All 125 tests passed", said[-200:], name)
