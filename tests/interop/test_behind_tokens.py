"""Nodes and clusters behind one TLS listener, each by a token of its own; clients are stock git-annex."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.interop.test_p2p_client import client
from tests.support.annex import Machine
from tests.support.behind_tokens import BehindTokens
from tests.support.daemon import Daemon
from tests.support.gateways import CLUSTER, Cluster
from tests.support.processes import run
from tests.support.programs import annexd_program


class OverTls(BehindTokens):
    """n1 and n2 are in the cluster, n3 is proxied alone."""

    more = ""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory(prefix="annexd-behind-", ignore_cleanup_errors=True)
        self.addCleanup(scratch.cleanup)
        self.directory = Path(scratch.name)
        self.host = Machine(self.directory / "host")
        self.served = self.host.new("served", bare=True)
        self.cluster = Cluster(self.host, self.served)
        self.cluster.add_node("n1")
        self.cluster.add_node("n2")
        self.cluster.add_node("n3", member=False)
        self.cluster.make()
        self.host.annex(self.served, "updateproxy")
        self.client = client(self.directory / "client")
        self.work = self.client.new("work")
        self.start()

    def start(self) -> None:
        config = self.directory / "annexd.toml"
        config.write_text(
            f'[daemon]\nstate-directory = "{self.directory}/state"\n'
            f'[deadlines]\ndrain = 2\n[[repository]]\npath = "{self.served}"\n'
            f'[listen.tls]\naddress = "127.0.0.1:0"\n{self.more}'
        )
        home = Path(self.host.env["HOME"])
        self.daemon = Daemon(self.directory / "daemon", home, options=("--config", str(config)))
        self.addCleanup(self.daemon.stop)
        self.daemon.start()
        [listener] = [text for text in self.daemon.status()["listeners"] if text.startswith("tls:")]
        fingerprint = self.typed("invite", "nobody", "--repo", str(self.served)).partition("sha256=")[2][:64]
        port = listener.rpartition(":")[2]
        self.way = ("--address", f"127.0.0.1:{port},sha256={fingerprint}")
        self.annexd = self.typed

    def typed(self, *argv: str) -> str:
        said = run(
            annexd_program("annexd"),
            *argv,
            *("--config", self.directory / "annexd.toml", *self.daemon.socket_option),
            cwd=self.directory,
            env=self.daemon.env,
        )
        return said.decode()


class Lines(OverTls):
    def test_all(self) -> None:
        lines = self.addresses()
        self.assertEqual({"served", CLUSTER, "n1", "n2", "n3"}, set(lines))
        for label, line in lines.items():
            self.link("gw" if label == "served" else f"gw-{label}", line)
        self.assertEqual(self.setting(f"gw-{CLUSTER}", "annex-uuid").encode(), self.cluster.uuid)
        self.assertEqual(self.setting("gw-n3", "annex-uuid").encode(), self.cluster.node_uuid("n3"))
        self.try_cluster(f"gw-{CLUSTER}", "n1", "n2")
        self.try_git("gw-n1")
        key = self.add_file("alone", b"alone")
        self.annex("copy", "--to", "gw-n3", "alone")
        self.assertEqual(self.cluster.holding(key), {"n3"})

    def test_script(self) -> None:
        self.try_script()
        self.try_cluster(f"gw-{CLUSTER}", "n1", "n2", "late")
        self.annex("sync", "--content")

    def test_revoked(self) -> None:
        """One of a principal's tokens; the sessions by the others go on."""
        lines = self.addresses()
        self.link("gw-n1", lines["n1"])
        self.link("gw-n2", lines["n2"])
        self.add_file("small", b"small")
        self.annex("copy", "--to", "gw-n1", "small")
        said = self.annexd("token", "revoke", "bob", "--repo", str(self.served), "--node", "n1")
        self.assertIn(f"{self.cluster.node_uuid('n1').decode()} behind {self.served}", said)
        self.add_file("other", b"other")
        self.annex("copy", "--to", "gw-n1", "other", ok=False)
        self.assertIn(b"nable to", self.link("again", lines["n1"], ok=False))
        self.annex("copy", "--to", "gw-n2", "small")


class Rules(OverTls):
    more = (
        '[[access]]\nusers = ["token:eve"]\nnodes = ["n2"]\nrights = "none"\n'
        '[[access]]\nusers = ["token:eve"]\nrights = "read-write"\n[nodes]\ngit-through-nodes = false\n'
    )

    def test_rules(self) -> None:
        """A line for what may be used, and only for that; and no git where it is not wanted."""
        lines = self.addresses("eve")
        self.assertEqual({"served", CLUSTER, "n1", "n3"}, set(lines))
        self.link("gw-n1", lines["n1"])
        said = self.client.git(self.work, "ls-remote", "gw-n1", seconds=60, ok=False)
        self.assertIn(b"cannot be used with git", said)
        self.link("gw", lines["served"])
        self.client.git(self.work, "ls-remote", "gw", seconds=60)
