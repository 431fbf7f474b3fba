"""Gateways at onions, and nodes that are onions: the real tor, and stock git-annex on the client."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

from tests.support.annex import Machine
from tests.support.behind_tokens import SECONDS, BehindTokens
from tests.support.gateways import CLUSTER, Cluster
from tests.support.onion_nodes import Onion
from tests.support.onion_scene import OnionScene
from tests.support.processes import run, run_code, start, stop_group, until
from tests.support.programs import NEWEST, annexd_program, git_annex_bin, program

_TOR_S = 10
"""For a node behind tor, in these tests."""


class Scene(OnionScene, BehindTokens):
    way = ("--tor",)

    def setUp(self) -> None:
        super().setUp()
        for name in ("git-remote-tor-annex",):
            (self.host.directory / "tools" / name).symlink_to(git_annex_bin(NEWEST) / "git-annex")
        self.host.prefix = self.client.prefix
        self.cluster = Cluster(self.host, self.served)

    def onion(self, name: str, repository: Path) -> Onion:
        made = Onion(self.host, self.directory / name, repository, self.host.prefix)
        self.addCleanup(made.daemon.stop)
        return made


class FarNodeScene(Scene):
    """A cluster of a node on the gateway's disk, and one that is an onion."""

    def setUp(self) -> None:
        super().setUp()
        self.far = self.host.new("far", bare=True)
        self.onion_of_far = self.onion("annexd-far", self.far)
        self.onion_of_far.serve(f'control = "{self.shared_tor("far")}"')
        self.link_at(self.host, self.served, "far", self.onion_of_far.invite("gateway"))
        self.cluster.nodes["far"] = self.far
        self.host.git(self.served, "config", "remote.far.annex-cluster-node", CLUSTER)
        self.cluster.add_node("n1")
        self.cluster.make()
        self.serve(f'control = "{self.shared_tor("service")}"')
        self.await_published()

    def serve(self, listen: str) -> None:
        nodes = (
            f'[nodes]\ntor-socks = "{self.network.socks}"\ntor-connect = {_TOR_S}\n'
            f"tor-answer = {_TOR_S}\ntor-stall = {_TOR_S}\n"
        )
        super().serve(f"{listen}\n{nodes}")


class FarNode(FarNodeScene):
    def test_in_and_out(self) -> None:
        """By the printed lines; then without the node, whose tor is killed."""
        lines = self.addresses()
        self.assertEqual({"served", CLUSTER, "n1", "far"}, set(lines))
        for label, line in lines.items():
            self.link("gw" if label == "served" else f"gw-{label}", line)
        self.try_cluster(f"gw-{CLUSTER}", "n1", "far")
        self.try_git(f"gw-{CLUSTER}")
        self.annexd("token", "revoke", "bob", "--node", "far", "--repo", str(self.served))
        self.assertIn(b"nable to", self.link("again", lines["far"], ok=False))

        self.network.kill("far")
        key = self.add_file("later", b"later")
        began = time.monotonic()
        self.annex("copy", "--to", f"gw-{CLUSTER}", "later")
        self.annex("drop", "later")
        self.annex("get", "--from", f"gw-{CLUSTER}", "later")
        self.assertLess(time.monotonic() - began, 3 * _TOR_S + 30)
        self.assertEqual(self.cluster.holding(key), {"n1"})
        until(lambda: self.cluster.logged(key) == {"n1"}, "the gateway knows who has it")
        [ailing] = [node for node in self.daemon.status()["nodes"] if node["name"] == "far"]
        self.assertEqual(ailing["health"], "down")

    def test_script(self) -> None:
        self.try_script()
        self.try_cluster(f"gw-{CLUSTER}", "n1", "far", "late")


class StockFarNode(Scene):
    """The same with a node that git-annex's own remotedaemon serves."""

    def test_in_and_out(self) -> None:
        far = self.host.new("far", bare=True)
        self.link_at(self.host, self.served, "far", self.serve_by_git_annex(far))
        self.cluster.nodes["far"] = far
        self.host.git(self.served, "config", "remote.far.annex-cluster-node", CLUSTER)
        self.cluster.add_node("n1")
        self.cluster.make()
        self.serve(f'control = "{self.shared_tor("service")}"\n[nodes]\ntor-socks = "{self.network.socks}"')
        self.await_published()
        for label, line in self.addresses().items():
            self.link("gw" if label == "served" else f"gw-{label}", line)
        self.try_cluster(f"gw-{CLUSTER}", "n1", "far")

    def serve_by_git_annex(self, far: Path) -> str:
        """Its address and token.  It looks for its onion in /etc/tor, so it gets one of its own."""
        uuid = self.host.uuid(far).decode()
        place = self.directory / "tor-annex" / f"0_{uuid}"
        place.mkdir(parents=True)
        service = self.network.directory / "stock" / f"tor-annex_0_{uuid}"
        torrc = f"HiddenServiceDir {service}\nHiddenServicePort 41862 unix:{place}/s\n"
        self.start_tor("stock", torrc)
        etc = self.directory / "etc"
        etc.mkdir()
        (etc / "torrc").write_text(torrc)
        creds = far / "annex" / "creds"
        creds.mkdir(exist_ok=True)
        (creds / "p2paddrs").write_text(f"tor-annex::{(service / 'hostname').read_text().strip()}:41862\n")
        address = self.host.annex(far, "p2p", "--gen-addresses").decode().split()[-1]
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        script = 'mount --bind "$1" /etc/tor && exec git-annex remotedaemon --foreground'
        # It goes on for as long as its standard input does.
        argv = ("unshare", *user, "--mount", "sh", "-c", script, "sh", etc)
        process = start(*argv, cwd=far, env=self.host.env, stdin=subprocess.PIPE)
        self.addCleanup(_end, process)
        until((place / "s").exists, "git-annex listens")
        return address


class Ssh(Scene):
    """The SSH listener at the onion's port 22: git-annex sees by itself what is behind the gateway."""

    def test_nodes_and_cluster(self) -> None:
        self.cluster.add_node("n1")
        self.cluster.add_node("n2")
        self.cluster.make()
        torrc = self.directory / "torrc"
        torrc.write_text(self.network.common)
        keys = self.directory / "keys"
        keys.mkdir()
        own = f'launch = "tor"\ntorrc = "{torrc}"\nssh = true\n[listen.ssh]\nusers = "{keys}"'
        self.serve(own)
        self.await_published()
        ssh_config = self.directory / "ssh_config"
        client = Machine(self.directory / "other", ssh_config=ssh_config)
        client.prefix = self.client.prefix
        key = self.directory / "key"
        keygen = program("ssh-keygen", "openssh-client")
        run(keygen, "-q", "-t", "ed25519", "-N", "", "-f", key, cwd=self.directory, env=self.host.env)
        said = self.annexd(
            *("invite", "carol", "--tor-ssh", "--mode", "read-write"),
            *("--key", f"{key}.pub", "--repo", str(self.served)),
        )
        self.configure_ssh(client, ssh_config, said, key)
        [url] = re.findall(r"# Then: git clone (.*)", said)

        def cloned() -> bool:
            return (
                run_code(
                    *(*client.prefix, "git", "clone", "-q", url, "repo"),
                    cwd=client.directory,
                    env=client.env,
                    seconds=SECONDS,
                )[0]
                == 0
            )

        until(cloned, "the gateway is cloned", SECONDS)
        repo = client.directory / "repo"
        client.annex(repo, "init", "-q", "other", seconds=SECONDS)
        client.git(repo, "remote", "rename", "origin", "gw")
        client.annex(repo, "sync", "-q", "gw", seconds=SECONDS)
        (repo / "file").write_bytes(b"content" * 20_000)
        client.annex(repo, "add", "-q", "file")
        annex_key = client.key(repo, "file")
        client.annex(repo, "copy", "--to", f"gw-{CLUSTER}", "file", seconds=SECONDS)
        self.assertEqual(self.cluster.holding(annex_key), {"n1", "n2"})
        client.annex(repo, "drop", "file", seconds=SECONDS)
        client.annex(repo, "get", "--from", "gw-n2", "file", seconds=SECONDS)
        self.assert_told(r"login of carol from circuit \d+")

    def configure_ssh(self, client: Machine, ssh_config: Path, said: str, key: Path) -> None:
        """As the printed lines say."""
        said = "".join(line for line in said.splitlines(True) if not line.startswith("annexd: "))
        config, known, _ = said.split("\n\n")
        known_hosts = self.directory / "known_hosts"
        known_hosts.write_text(known)
        ssh_config.write_text(
            f"{config}\n    IdentityFile {key}\n    IdentitiesOnly yes\n"
            f"    UserKnownHostsFile {known_hosts}\n    StrictHostKeyChecking yes\n"
        )
        (client.directory / "tools" / "nc").symlink_to(program("nc.openbsd", "netcat-openbsd"))


class TwoGateways(Scene):
    """Joined by tor, each with a node of its own; what goes into one comes to both, once."""

    def test_both(self) -> None:
        self.cluster.add_node("n1")
        self.cluster.make()
        other = self.host.new("other", bare=True)
        theirs = Cluster(self.host, other)
        self.cluster.nodes["n2"] = theirs.add_node("n2")
        self.host.git(other, "fetch", "-q", str(self.served), "git-annex:refs/remotes/first/git-annex")
        self.host.annex(other, "merge")
        self.host.git(other, "config", f"annex.cluster.{CLUSTER}", self.cluster.uuid.decode())
        self.host.annex(other, "updatecluster")
        second = self.onion("annexd-other", other)
        second.serve(f'control = "{self.shared_tor("service")}"')
        self.join(second)

        torrc = self.directory / "torrc"
        torrc.write_text(self.network.common)
        # Its nodes it dials by its own tor.
        self.serve(f'launch = "tor"\ntorrc = "{torrc}"')
        self.await_published()
        # Not by git-annex, which sees nothing behind a tor-annex remote.
        run(
            *(annexd_program("annexd"), "cluster", "update", self.served, *self.daemon.socket_option),
            cwd=self.directory,
            env=self.daemon.env,
        )
        for label, line in self.addresses().items():
            self.link("gw" if label == "served" else f"gw-{label}", line)
        self.annex("sync", "gw")
        key = self.add_file("fanned", b"fanned" * 10_000)
        self.annex("copy", "--to", f"gw-{CLUSTER}", "fanned")
        self.assertEqual(self.cluster.holding(key), {"n1", "n2"}, self.daemon.said())
        self.assertEqual(second.daemon.said().count("PUT"), 1, second.daemon.said())
        both = {self.cluster.node_uuid(name) for name in ("n1", "n2")}
        until(lambda: both <= self.host.holders(other, key), "the other gateway knows of both", SECONDS)
        self.annex("drop", "fanned")
        self.annex("get", "--from", f"gw-{CLUSTER}", "fanned")
        self.annex("drop", "--from", f"gw-{CLUSTER}", "fanned")
        self.assertEqual(self.cluster.holding(key), set())

    def join(self, second: Onion) -> None:
        """By the script, which gives the first gateway an address for the cluster, too."""
        script = self.directory / "join.sh"
        script.write_text(second.invite("first", "--all-nodes", "--script"))
        until(lambda: self.joined(script), "the gateways are joined", SECONDS)
        gateway_of = "remote.G2.annex-cluster-gateway"
        self.host.git(self.served, "config", gateway_of, self.cluster.uuid.decode())
        self.host.git(
            self.served, "fetch", "-q", "G2", "+git-annex:refs/remotes/G2/git-annex", seconds=SECONDS
        )
        self.host.annex(self.served, "merge")

    def joined(self, script: Path) -> bool:
        argv = (*self.host.prefix, "sh", script, "G2")
        return run_code(*argv, cwd=self.served, env=self.host.env, seconds=SECONDS)[0] == 0


def _end(process: subprocess.Popen[bytes]) -> None:
    stop_group(process)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
