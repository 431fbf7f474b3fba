"""A cluster whose nodes fail, and a client by hand who measures what it sees of that."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from twisted.logger import Logger

from tests.support.far_nodes import FarNode
from tests.support.gateways import ClusterScene
from tests.support.namespaces import Namespace
from tests.support.p2p import Dialogue, shell_command
from tests.support.processes import until
from tests.support.programs import NEWEST
from tests.support.servers import Annexd, Server

_log = Logger()

BACKOFF = 1.0
"""Seconds until a node that is down is tried again; longer after the first time."""

_PIECE = 1 << 20

_SETTINGS = """\
[nodes]
connect = {connect:g}
answer = {deadline:g}
stall = {deadline:g}
"""


@dataclass(frozen=True, slots=True)
class Reply:
    """``seconds`` is what it took from the request."""

    words: tuple[bytes, ...]
    seconds: float
    content: bytes = b""

    @property
    def word(self) -> bytes:
        return self.words[0]

    @property
    def text(self) -> str:
        return b" ".join(self.words).decode()


class Client:
    """One session by hand, with the gateway's cluster or with one of its nodes."""

    def __init__(self, dialogue: Dialogue, version: int | None = 4) -> None:
        self.dialogue = dialogue
        self.dialogue.hello(version)

    def present(self, key: bytes) -> Reply:
        return self._timed("CHECKPRESENT", lambda: (self.dialogue.ask(b"CHECKPRESENT " + key), b""))

    def remove(self, key: bytes) -> Reply:
        return self._timed("REMOVE", lambda: (self.dialogue.ask(b"REMOVE " + key), b""))

    def put(self, key: bytes, content: bytes) -> Reply:
        return self._timed("PUT", lambda: (self.dialogue.put(key, content), b""))

    def get(self, key: bytes) -> Reply:
        """Its last word is VALID, INVALID or ERROR."""

        def get() -> tuple[bytes, bytes]:
            reply = self.dialogue.ask(b"GET 0  " + key)
            if not reply.startswith(b"DATA "):
                return reply, b""
            content = self.dialogue.body(int(reply.split()[1]))
            valid = self.dialogue.line()
            self.dialogue.send(b"SUCCESS\n" if valid == b"VALID" else b"FAILURE\n")
            return valid, content

        return self._timed("GET", get)

    def _timed(self, what: str, act: Callable[[], tuple[bytes, bytes]]) -> Reply:
        began = time.monotonic()
        said, content = act()
        reply = Reply(tuple(said.split(b" ")), time.monotonic() - began, content)
        _log.info("{what}: {reply} in {seconds:.3f} s", what=what, reply=reply.text, seconds=reply.seconds)
        return reply


class FailingCluster(ClusterScene):
    """
    Nodes in ``far_names`` are reached over sshds of their own, those in
    ``node_names`` by their path.  ``versions`` are those of git-annex on the
    former, where they are others than the newest.
    """

    node_names = ("n3",)
    far_names: tuple[str, ...] = ("n1", "n2")
    versions: dict[str, str] = {}
    nodes_settings = ""
    connect = deadline = 20.0
    """
    Of the nodes, in seconds, for connections and for each thing that is waited
    for after that: more than a busy machine takes.
    """

    @property
    def at_once(self) -> float:
        """Seconds in which a gateway does what needs no waiting; less than a deadline."""
        return 0.8 * self.deadline

    @property
    def first(self) -> float:
        """Seconds, where connections are made or much is sent."""
        return self.connect + self.deadline

    @property
    def once(self) -> float:
        """Seconds, where one deadline has to pass."""
        return self.deadline + self.at_once

    def setUp(self) -> None:
        self.far: dict[str, FarNode] = {}
        self._random = random.Random(4)
        super().setUp()

    def make_server(self) -> Server:
        server = super().make_server()
        assert isinstance(server, Annexd)
        config = self.directory / "annexd.toml"
        config.write_text(
            _SETTINGS.format(connect=self.connect, deadline=self.deadline) + self.nodes_settings
        )
        server.daemon.options += ("--config", str(config))
        return server

    def add_nodes(self) -> None:
        super().add_nodes()
        for name in self.far_names:
            self.add_far_node(name)

    def add_far_node(self, name: str, network: Namespace | None = None) -> FarNode:
        node = FarNode(self.directory, name, self.versions.get(name, NEWEST), network)
        self.addCleanup(node.stop)
        self.far[name] = node
        self.cluster.attach(name, node.path, node.url)
        self.host.git(self.served, "config", f"remote.{name}.annex-ssh-options", f"-F {node.config}")
        return node

    # --- clients -------------------------------------------------------

    def hand(self, node: str | None = None, *, version: int | None = 4, seconds: float = 90.0) -> Client:
        """A session with the cluster, or with a node of it; without a version it is the oldest."""
        client = self.open_hand(node, version=version, seconds=seconds)
        self.addCleanup(client.dialogue.close)
        return client

    def open_hand(self, node: str | None = None, *, version: int | None = 4, seconds: float = 90.0) -> Client:
        """The same, to be closed by whoever calls; from any thread."""
        uuid = self.cluster.uuid if node is None else self.cluster.node_uuid(node)
        command = shell_command(self.served, uuid.decode())
        return Client(Dialogue(self.server.command(), self.server.env(), command, seconds), version)

    def until_in_use(self, client: Client, *names: str) -> None:
        """Connections to these nodes are there, however long that took."""
        until(lambda: self.named(client.put(*self.content(100))) == set(names), "all nodes are in use", 60)

    def content(self, size: int = 50_000) -> tuple[bytes, bytes]:
        """A key, and its content, as there was none before."""
        pieces = [self._random.randbytes(min(_PIECE, size - at)) for at in range(0, size, _PIECE)]
        content = b"".join(pieces)
        return b"SHA256-s%d--%s" % (size, hashlib.sha256(content).hexdigest().encode()), content

    # --- what is so ----------------------------------------------------

    def named(self, reply: Reply) -> set[str]:
        """The nodes that a reply names."""
        return self.named_in(b" ".join(reply.words))

    def named_in(self, line: bytes) -> set[str]:
        names = {uuid: name for name, uuid in self.uuids.items()}
        return {names.get(word, repr(word)) for word in line.split()[1:]}

    @property
    def uuids(self) -> dict[str, bytes]:
        return {name: self.cluster.node_uuid(name) for name in self.cluster.nodes}

    def assert_is(self, reply: Reply, word: bytes, *names: str, within: float = 0.0) -> None:
        """The reply, the nodes that it names, and how long it took at most: without waiting, by default."""
        self.assertEqual(reply.word, word, reply.text)
        if word.endswith(b"-PLUS"):
            self.assertEqual(self.named(reply), set(names))
        self.assertLess(reply.seconds, within or self.at_once, reply.text)

    def assert_at(self, key: bytes, *names: str) -> None:
        """The content is at these nodes, and the gateway's log says so."""
        self.assertEqual(self.cluster.holding(key), set(names))
        self.assertEqual(self.cluster.logged(key), set(names))

    def logged_at(self, name: str) -> set[bytes]:
        """All keys that a node has by the gateway's log."""
        uuid = self.cluster.node_uuid(name).decode()
        _, said = self.host.tries(self.served, "whereis", "--all", "--json", seconds=600)
        entries = [json.loads(line) for line in said.splitlines() if line.startswith(b"{")]
        return {
            entry["key"].encode()
            for entry in entries
            if any(place["uuid"] == uuid for place in entry["whereis"])
        }

    def partial(self, name: str, key: bytes) -> int:
        """How much of an interrupted upload a node has kept."""
        path = Path(self.cluster.nodes[name]) / "annex" / "tmp" / key.decode()
        return path.stat().st_size if path.exists() else 0
