"""Gateways, nodes and clusters, set up with git-annex's own commands as its documentation says."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.annex import Machine, objects
from tests.support.scenes import SshScene

CLUSTER = "mycluster"


class Cluster:
    """
    A bare gateway and its nodes on one machine.  ``nodes`` are their
    repositories by name, which is that of the gateway's remote.
    """

    def __init__(self, host: Machine, gateway: Path) -> None:
        self.host = host
        self.gateway = gateway
        self.nodes: dict[str, Path] = {}
        host.annex(gateway, "wanted", ".", "nothing")

    def add_node(self, name: str, url: str | None = None, *, member: bool = True) -> Path:
        """A node on this machine's disk, reached by ``url`` (``{path}`` is its path); else by its path."""
        node = self.host.new(str(self.gateway.parent / name), bare=True)
        self.attach(name, node, (url or "{path}").format(path=node), member=member)
        return node

    def attach(self, name: str, node: Path, url: str, *, member: bool = True) -> None:
        """A repository that exists already."""
        self.nodes[name] = node
        self.host.git(self.gateway, "remote", "add", name, url)
        self.host.git(self.gateway, "config", f"remote.{name}.annex-uuid", self.host.uuid(node).decode())
        setting = ("annex-cluster-node", CLUSTER) if member else ("annex-proxy", "true")
        self.host.git(self.gateway, "config", f"remote.{name}.{setting[0]}", setting[1])

    def make(self) -> None:
        self.host.annex(self.gateway, "initcluster", CLUSTER)
        self.update()

    def update(self) -> None:
        """Again, after nodes were added."""
        self.host.annex(self.gateway, "updatecluster")

    @property
    def uuid(self) -> bytes:
        return self.host.git(self.gateway, "config", f"annex.cluster.{CLUSTER}").strip()

    def node_uuid(self, name: str) -> bytes:
        return self.host.uuid(self.nodes[name])

    def holding(self, key: bytes) -> set[str]:
        """The nodes that have the content of a key, by their disks."""
        file = key.replace(b"&", b"&a").replace(b"%", b"&s").replace(b":", b"&c").replace(b"/", b"%")
        return {name for name, node in self.nodes.items() if file in objects(node)}

    def logged(self, key: bytes) -> set[str]:
        """The nodes that have it by the gateway's location log."""
        uuids = self.host.holders(self.gateway, key)
        return {name for name in self.nodes if self.node_uuid(name) in uuids}


class ClusterScene(SshScene):
    """A gateway behind a real sshd, and stock clients; ``node_names`` are in its cluster."""

    node_names: tuple[str, ...] = ("n1", "n2", "n3")
    proxied_names: tuple[str, ...] = ()

    def setUp(self) -> None:
        super().setUp()
        self.cluster = Cluster(self.host, self.served)
        self.add_nodes()
        self.cluster.make()

    def add_nodes(self) -> None:
        for name in self.node_names:
            self.cluster.add_node(name)
        for name in self.proxied_names:
            self.cluster.add_node(name, member=False)

    def clone(self, name: str = "client", **options: str) -> tuple[Machine, Path]:
        """A stock client with a clone; the gateway is its remote ``gw``."""
        client = self.client(name, **options)
        repo = client.clone(self.url, "repo")
        client.git(repo, "remote", "rename", "origin", "gw")
        client.annex(repo, "sync", "-q", "gw")
        return client, repo

    def add(self, client: Machine, repo: Path, name: str, content: bytes) -> bytes:
        """A file with content, committed; its key."""
        (repo / name).write_bytes(content)
        client.annex(repo, "add", "-q", name)
        client.git(repo, "commit", "-q", "-m", f"add {name}")
        return client.key(repo, name)

    def whereis(self, client: Machine, repo: Path, name: str) -> set[bytes]:
        said = client.annex(repo, "whereis", "--json", name)
        return {place["uuid"].encode() for place in json.loads(said)["whereis"]}
