"""Clusters with several gateways, annexd's and git-annex's own, each behind an ssh host of its name."""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path

from twisted.trial import unittest

from tests.support.annex import Machine
from tests.support.gateways import CLUSTER, Cluster
from tests.support.p2p import Dialogue, shell_command
from tests.support.servers import Annexd, GitAnnexShell, Server, forced_command
from tests.support.sshd import Sshd

ANNEXD, STOCK = "annexd", "stock"


class _Stock(GitAnnexShell):
    """With the ssh that knows the gateways."""

    def __init__(self, host: Machine) -> None:
        super().__init__(Path(host.env["HOME"]))
        self._path = host.env["PATH"]

    def env(self) -> dict[str, str]:
        return {**super().env(), "PATH": self._path}


class Gateway:
    """One of them, with a node on its own disk that is called after it, as in ``G1-n``... of ``G1``."""

    def __init__(self, name: str, host: Machine) -> None:
        self.name = name
        self.host = host
        self.path = host.new(name, bare=True)
        self.cluster = Cluster(host, self.path)
        self.node = self.cluster.add_node(f"{name.lower()}n")
        self.uuid = host.uuid(self.path)
        self.node_uuid = host.uuid(self.node)
        self.server: Server = _Stock(host)

    @property
    def url(self) -> str:
        return f"ssh://{self.name}{self.path}"

    def holds(self, key: bytes) -> bool:
        return bool(self.cluster.holding(key))


class GatewaysScene(unittest.SynchronousTestCase):
    """
    Gateways G1, G2, ...; ``kinds`` says what serves each, ``links`` which have
    which others as remotes, by their numbers from 1 on.
    """

    kinds: tuple[str, ...] = (ANNEXD, ANNEXD)
    links: tuple[tuple[int, int], ...] = ((1, 2),)

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory(prefix="annexd-gateways-", ignore_cleanup_errors=True)
        self.addCleanup(scratch.cleanup)
        self.directory = Path(scratch.name)
        self.sshd = Sshd(self.directory / "sshd")
        self.sshd.start()
        self.addCleanup(self.sshd.stop)
        self.ssh_config = self.directory / "ssh_config"
        self.ssh_config.touch()
        self.host = Machine(self.directory / "host", ssh_config=self.ssh_config)
        self.gateways = [self.make(f"G{number}", kind) for number, kind in enumerate(self.kinds, 1)]
        self.connect()

    def make(self, name: str, kind: str) -> Gateway:
        gateway = Gateway(name, self.host)
        if kind == ANNEXD:
            annexd = Annexd(Path(self.host.env["HOME"]), self.directory / f"daemon-{name}", gateway.path)
            annexd.daemon.env["PATH"] = self.host.env["PATH"]
            annexd.start()
            self.addCleanup(annexd.stop)
            gateway.server = annexd
        config = self.sshd.admit(name, forced_command(gateway.server)).read_text()
        with open(self.ssh_config, "a") as file:
            file.write(config.replace("Host gateway", f"Host {name}"))
        return gateway

    def connect(self) -> None:
        """As git-annex's documentation says: one begins, the others extend its cluster."""
        first = self.gateways[0]
        first.cluster.make()
        for former, other in itertools.pairwise(self.gateways):
            refs = f"git-annex:refs/remotes/{former.name}/git-annex"
            self.host.git(former.path, "push", "-q", str(other.path), refs)
            self.host.annex(other.path, "merge")
            self.host.git(other.path, "config", f"annex.cluster.{CLUSTER}", first.cluster.uuid.decode())
            self.host.annex(other.path, "updatecluster")
        for one, other in self.links:
            self.link(self.gateways[one - 1], self.gateways[other - 1])
        self.settle()

    def link(self, one: Gateway, other: Gateway) -> None:
        git = self.host.git
        git(one.path, "remote", "add", other.name, other.url)
        git(one.path, "config", f"remote.{other.name}.annex-uuid", other.uuid.decode())
        gateway_of = f"remote.{other.name}.annex-cluster-gateway"
        git(one.path, "config", gateway_of, self.gateways[0].cluster.uuid.decode())

    def settle(self, rounds: int = 2) -> None:
        """Each learns what the others have, and updates what it proxies."""
        for _ in range(rounds):
            for one, other in self.links:
                self.fetch(self.gateways[one - 1], self.gateways[other - 1])
            for gateway in self.gateways:
                self.host.annex(gateway.path, "merge")
                self.host.annex(gateway.path, "updatecluster")

    def fetch(self, one: Gateway, other: Gateway) -> None:
        refs = f"+refs/heads/git-annex:refs/remotes/{other.name}/git-annex"
        self.host.git(one.path, "fetch", "-q", other.name, refs)

    # --- use -------------------------------------------------------------------

    @property
    def cluster_uuid(self) -> bytes:
        return self.gateways[0].cluster.uuid

    def said(self) -> str:
        """What the daemons have logged."""
        return "".join(one.server.daemon.said() for one in self.gateways if isinstance(one.server, Annexd))

    def session(self, gateway: Gateway, uuid: bytes | None = None) -> Dialogue:
        """A session with the cluster, or another UUID, by hand; closed when the test is over."""
        command = shell_command(gateway.path, (uuid or self.cluster_uuid).decode())
        dialogue = Dialogue(gateway.server.command(), gateway.server.env(), command)
        self.addCleanup(dialogue.close)
        dialogue.hello(4)
        return dialogue

    def holding(self, key: bytes) -> set[str]:
        return {gateway.name for gateway in self.gateways if gateway.holds(key)}

    def logged(self, gateway: Gateway, key: bytes) -> set[str]:
        """Whose nodes have it, by one gateway's location log."""
        uuids = self.host.holders(gateway.path, key)
        return {other.name for other in self.gateways if other.node_uuid in uuids}

    def client(self, gateway: Gateway, name: str = "client") -> tuple[Machine, Path]:
        client = Machine(self.directory / name, ssh_config=self.ssh_config)
        repo = client.clone(gateway.url, "repo")
        client.git(repo, "remote", "rename", "origin", "gw")
        client.annex(repo, "sync", "-q", "gw")
        return client, repo

    def whereis(self, client: Machine, repo: Path, name: str) -> set[bytes]:
        said = client.annex(repo, "whereis", "--json", name)
        return {place["uuid"].encode() for place in json.loads(said)["whereis"]}
