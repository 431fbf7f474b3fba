"""Clusters with several gateways, annexd's and git-annex's own, each behind an ssh host of its name."""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path

from twisted.trial import unittest

from tests.support.annex import Machine
from tests.support.cable import Cable
from tests.support.daemon import Daemon
from tests.support.gateways import CLUSTER, Cluster
from tests.support.p2p import Dialogue, shell_command
from tests.support.processes import Failed
from tests.support.programs import NEWEST, git_annex_bin
from tests.support.servers import Annexd, GitAnnexShell, Server, forced_command
from tests.support.sshd import Sshd
from tests.support.tap import Tap

ANNEXD, STOCK = "annexd", "stock"

Links = tuple[tuple[int, int], ...]

ONE_WAY: Links = ((1, 2),)
TWO_WAY: Links = ((1, 2), (2, 1))
RING: Links = ((1, 2), (2, 3), (3, 1))
CHAIN: Links = ((1, 2), (2, 3))


def mesh(size: int) -> Links:
    """Everybody is linked to everybody."""
    return tuple(itertools.permutations(range(1, size + 1), 2))


class _Stock(GitAnnexShell):
    """With the ssh that knows the gateways and nodes."""

    def __init__(self, host: Machine) -> None:
        super().__init__(Path(host.env["HOME"]))
        self._path = host.env["PATH"]

    def env(self) -> dict[str, str]:
        return {**super().env(), "PATH": self._path}


class Gateway:
    """One of them, with a node that is called after it, as in ``g1n`` of ``G1``, and counts what it gets."""

    def __init__(self, scene: GatewaysScene, name: str) -> None:
        self.name = name
        host = scene.host
        self.host = host
        self.path = host.new(name, bare=True)
        self.uuid = host.uuid(self.path)
        self.cluster = Cluster(host, self.path)
        node = f"{name.lower()}n"
        environment = {"HOME": host.env["HOME"], "PATH": host.env["PATH"]}
        self.tap = Tap(
            scene.directory / f"tap-{node}", git_annex_bin(NEWEST) / "git-annex-shell", environment
        )
        scene.admit(node, self.tap.command)
        self.node = self.cluster.add_node(node, f"ssh://{node}{{path}}")
        self.node_uuid = host.uuid(self.node)
        self.entrance = scene.directory / f"entrance-{name}"
        """The program behind sshd; what it does may change."""

        scene.admit(name, f"sh {self.entrance}")
        self.stock = _Stock(host)
        self.annexd = scene.annexd_for(self)
        self.server: Server = self.stock

    def become(self, kind: str) -> None:
        """From now on it is served by this."""
        self.annexd.stop()
        self.server = self.stock
        if kind == ANNEXD:
            self.annexd.start()
            self.server = self.annexd
        self.entrance.write_text(f"{forced_command(self.server)}\n")

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
    links: Links = ONE_WAY
    rounds = 2
    """Of updatecluster; in meshes git-annex's lists grow with each."""

    nodes = "connect = 40\nanswer = 40\nstall = 40\n"
    """[nodes] of the daemons."""

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
        self.gateways = [Gateway(self, f"G{number}") for number, _ in enumerate(self.kinds, 1)]
        self.cables: dict[tuple[int, int], Cable] = {}
        self.connect()
        self.become(self.kinds)

    def admit(self, name: str, command: str) -> None:
        """Let ssh run a command at the host ``name``."""
        config = self.sshd.admit(name, command).read_text()
        with open(self.ssh_config, "a") as file:
            file.write(config.replace("Host gateway", f"Host {name}"))

    def annexd_for(self, gateway: Gateway) -> Annexd:
        """Not started yet."""
        home, directory = Path(self.host.env["HOME"]), self.directory / f"daemon-{gateway.name}"
        config = self.directory / f"{gateway.name}.toml"
        config.write_text(
            f'[daemon]\nfsync = false\n[nodes]\n{self.nodes}[[repository]]\npath = "{gateway.path}"\n'
        )
        annexd = Annexd(home, directory)
        annexd.daemon = Daemon(directory, home, options=("--config", str(config)))
        annexd.daemon.env["PATH"] = self.host.env["PATH"]
        self.addCleanup(annexd.stop)
        return annexd

    def become(self, kinds: tuple[str, ...]) -> None:
        """Everything that was under way ends."""
        for gateway, kind in zip(self.gateways, kinds, strict=True):
            gateway.become(kind)

    # --- set up ----------------------------------------------------------------

    def connect(self) -> None:
        """As git-annex's documentation says: one begins, the others extend its cluster."""
        first = self.gateways[0]
        first.cluster.make()
        for former, other in itertools.pairwise(self.gateways):
            self.fetch(other, former)
            self.host.annex(other.path, "merge")
            self.host.git(other.path, "config", f"annex.cluster.{CLUSTER}", first.cluster.uuid.decode())
            self.host.annex(other.path, "updatecluster")
        for one, other in self.links:
            self.link(one, other)
        self.settle()

    def link(self, one: int, other: int) -> None:
        """Over a cable of its own."""
        name, here, there = f"G{one}-G{other}", self.gateways[one - 1], self.gateways[other - 1]
        cable = self.cables[one, other] = Cable(self.sshd.port)
        self.addCleanup(cable.stop)
        config = self.sshd.client_config(there.name).read_text()
        config = config.replace("Host gateway", f"Host {name}").replace(str(self.sshd.port), str(cable.port))
        with open(self.ssh_config, "a") as file:
            file.write(config)
        self.remote(here, there.name, there, f"ssh://{name}{there.path}")

    def remote(self, here: Gateway, name: str, there: Gateway, url: str) -> None:
        """A gateway gets another one as a remote."""
        git = self.host.git
        git(here.path, "remote", "add", name, url)
        git(here.path, "config", f"remote.{name}.annex-uuid", there.uuid.decode())
        git(here.path, "config", f"remote.{name}.annex-cluster-gateway", self.cluster_uuid.decode())

    def settle(self) -> None:
        """
        One after the other, each learns what its neighbours have, and updates
        what it proxies.  Not all at once: the last line in cluster.log wins,
        and it has no nodes in it that its writer has not heard of.
        """
        for _ in range(self.rounds):
            for number, gateway in enumerate(self.gateways, 1):
                for one, other in self.links:
                    if one == number:
                        self.fetch(gateway, self.gateways[other - 1])
                self.host.annex(gateway.path, "merge")
                self.host.annex(gateway.path, "updatecluster")
        for gateway in self.gateways[:-1]:
            self.fetch(gateway, self.gateways[-1])
            self.host.annex(gateway.path, "merge")

    def fetch(self, one: Gateway, other: Gateway) -> None:
        """By the path, as it is only for setting up."""
        refs = f"+refs/heads/git-annex:refs/remotes/{other.name}/git-annex"
        self.host.git(one.path, "fetch", "-q", str(other.path), refs)

    # --- use -------------------------------------------------------------------

    @property
    def cluster_uuid(self) -> bytes:
        return self.gateways[0].cluster.uuid

    def said(self) -> str:
        """What the daemons have logged."""
        return "".join(one.annexd.daemon.said() for one in self.gateways if one.annexd.daemon.log.exists())

    def session(self, gateway: Gateway, uuid: bytes | None = None, seconds: float = 90.0) -> Dialogue:
        """A session with the cluster, or another UUID, by hand; closed when the test is over."""
        command = shell_command(gateway.path, (uuid or self.cluster_uuid).decode())
        dialogue = Dialogue(gateway.server.command(), gateway.server.env(), command, seconds)
        self.addCleanup(dialogue.close)
        dialogue.hello(4)
        return dialogue

    def nodes_in(self, reply: bytes) -> set[str]:
        """The gateways whose nodes are named; git-annex's own gateways name the cluster among them."""
        if not reply.startswith((b"SUCCESS", b"FAILURE", b"ALREADY-HAVE")):
            raise Failed(f"{reply!r}; the daemons said:\n{self.said()}")
        named = set(reply.split()[1:]) - {self.cluster_uuid}
        known = {gateway.node_uuid: gateway.name for gateway in self.gateways}
        return {known[uuid] for uuid in named}

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
