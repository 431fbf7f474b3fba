"""What git-annex writes of clusters, proxies and repositories, and what it reads of what is written here."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from annexd.router.clusters import is_cluster
from annexd.router.knowledge import LOGS, Knowledge, Proxied, Trust, cluster_log_with, proxy_log_with
from tests.support.annex import Machine

_OTHER = b"99999999-2222-4333-8444-555555555555"


class Logs(SynchronousTestCase):
    def setUp(self) -> None:
        self.machine = Machine(Path(self.mktemp()).resolve())
        self.gateway = self.machine.new("gateway")
        self.nodes = []
        for name in ("n1", "n2"):
            node = self.machine.new(name, bare=True)
            self.nodes.append(self.machine.uuid(node))
            self.machine.git(self.gateway, "remote", "add", name, node)
            self.machine.git(self.gateway, "config", f"remote.{name}.annex-cluster-node", "mine")
        self.machine.git(self.gateway, "fetch", "-q", "--all")
        for command in (
            ["initcluster", "mine"],
            ["updatecluster"],
            ["group", "n1", "a"],
            ["group", "n1", "b"],
            ["untrust", "n2"],
            ["wanted", "n1", "include=*.a  or (copies=2)"],
            ["required", "n2", "nothing"],
            ["maxsize", "n2", "1.5kb"],
            ["numcopies", "2"],
            ["mincopies", "1"],
            ["groupwanted", "a", "include=*"],
        ):
            self.machine.annex(self.gateway, *command)
        self.machine.annex(self.gateway, "config", "--set", "annex.synccontent", "true")

    def test_what_git_annex_wrote_is_read(self) -> None:
        known = Knowledge.from_logs(self._logs())
        gateway, cluster = self.machine.uuid(self.gateway), self._cluster()
        self.assertEqual(known.clusters, {cluster: set(self.nodes)})
        self.assertTrue(is_cluster(cluster))
        called = {(self.nodes[0], b"n1"), (self.nodes[1], b"n2"), (cluster, b"mine")}
        self.assertEqual({(each.uuid, each.name) for each in known.proxies[gateway]}, called)
        self.assertEqual(known.preferred, {self.nodes[0]: b"include=*.a  or (copies=2)"})
        self.assertEqual(known.required, {self.nodes[1]: b"nothing"})
        self.assertEqual(known.groups[self.nodes[0]], {b"a", b"b"})
        self.assertEqual(known.trust, {self.nodes[1]: Trust.UNTRUSTED})
        self.assertEqual(known.maxsizes, {self.nodes[1]: 1500})
        self.assertEqual((known.numcopies, known.mincopies), (2, 1))
        self.assertEqual(known.group_preferred, {b"a": b"include=*"})
        self.assertEqual(known.config, {b"annex.synccontent": b"true"})
        self.assertEqual(known.descriptions[cluster], b"cluster mine")

    def test_writing_what_is_there_changes_nothing(self) -> None:
        texts = self._logs()
        known = Knowledge.from_logs(texts)
        for cluster, members in known.clusters.items():
            text = texts[b"cluster.log"]
            self.assertEqual(cluster_log_with(text, cluster, members, 9e9), text)
        for gateway, proxied in known.proxies.items():
            text = texts[b"proxy.log"]
            self.assertEqual(proxy_log_with(text, gateway, reversed(proxied), 9e9), text)

    def test_git_annex_goes_on_from_what_is_written(self) -> None:
        texts, gateway = self._logs(), self.machine.uuid(self.gateway)
        proxied = [*Knowledge.from_logs(texts).proxies[gateway], Proxied(_OTHER, b"other")]
        journal = self.gateway / ".git" / "annex" / "journal"
        journal.mkdir(exist_ok=True)
        (journal / "proxy.log").write_bytes(proxy_log_with(texts[b"proxy.log"], gateway, proxied, 9e9))
        text = cluster_log_with(texts[b"cluster.log"], self._cluster(), [*self.nodes, _OTHER], 9e9)
        (journal / "cluster.log").write_bytes(text)
        said = self.machine.annex(self.gateway, "updatecluster")
        self.assertIn(b"Removed node other", said.replace(_OTHER, b"other"))
        known = Knowledge.from_logs(self._logs())
        self.assertEqual(known.clusters, {self._cluster(): set(self.nodes)})
        self.assertNotIn(_OTHER, {each.uuid for each in known.proxies[gateway]})

    def _cluster(self) -> bytes:
        return self.machine.git(self.gateway, "config", "annex.cluster.mine").strip()

    def _logs(self) -> dict[bytes, bytes]:
        found = {}
        for name in LOGS:
            listed = self.machine.git(self.gateway, "ls-tree", "git-annex", "--", name)
            if listed.strip():
                found[name] = self.machine.git(self.gateway, "show", b"git-annex:" + name)
        return found
