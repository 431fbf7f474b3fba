"""Nodes and clusters behind a gateway, each with an address and a token of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.annex import Machine
from tests.support.gateways import CLUSTER, Cluster
from tests.support.processes import run, run_code, until

SECONDS = 90.0


class BehindTokens(SynchronousTestCase):
    """
    ``cluster`` is behind ``served``; the stock ``client`` has ``work``.
    ``annexd`` is what is typed at the gateway, ``way`` how its peers come.
    """

    host: Machine
    served: Path
    client: Machine
    work: Path
    cluster: Cluster
    annexd: Callable[..., str]
    daemon: Any
    way: tuple[str, ...] = ()

    # --- who is let in -------------------------------------------------

    def invited(self, *options: str, name: str = "bob", mode: str = "read-write") -> str:
        return self.annexd("invite", name, *self.way, "--mode", mode, "--repo", str(self.served), *options)

    def addresses(self, name: str = "bob", mode: str = "read-write") -> dict[str, str]:
        """Those of the repository, and of all that is behind it, by the beginnings of their labels."""
        said = self.invited("--all-nodes", name=name, mode=mode)
        lines = [line for line in said.splitlines() if "-annex::" in line]
        return {re.split(r"label=|::", line)[-1].split("-")[0]: line for line in lines}

    def link(self, remote: str, address: str, ok: bool = True) -> bytes:
        return run(
            *(*self.client.prefix, "git-annex", "p2p", "--link", "--name", remote),
            cwd=self.work,
            env=self.client.env,
            stdin=address.encode() + b"\n",
            seconds=SECONDS,
            ok=ok,
        )

    def run_script(self, script: str, *argv: str) -> bytes:
        path = self.work.parent / "link.sh"
        path.write_text(script)
        code, said = run_code(
            *self.client.prefix, "sh", path, *argv, cwd=self.work, env=self.client.env, seconds=SECONDS
        )
        self.assertEqual(code, 0, said)
        return said

    # --- the client ----------------------------------------------------

    def annex(self, *argv: str | bytes, ok: bool = True) -> bytes:
        return self.client.annex(self.work, *argv, seconds=SECONDS, ok=ok)

    def add_file(self, name: str, content: bytes) -> bytes:
        """Its key."""
        (self.work / name).write_bytes(content)
        self.client.annex(self.work, "add", "-q", name)
        self.client.git(self.work, "commit", "-q", "-m", name)
        return self.client.key(self.work, name)

    def setting(self, remote: str, name: str) -> str:
        said = self.client.git(self.work, "config", "--default", "", "--get", f"remote.{remote}.{name}")
        return said.decode().strip()

    def whereis(self, name: str) -> set[bytes]:
        """By the client's own location log, it itself left out."""
        _, said = self.client.tries(self.work, "whereis", "--json", name)
        holders = {place["uuid"].encode() for place in json.loads(said)["whereis"]}
        return holders - {self.client.uuid(self.work)}

    def uuids(self, *names: str) -> set[bytes]:
        return {self.cluster.node_uuid(name) for name in names}

    # --- what is tried -------------------------------------------------

    def try_cluster(self, remote: str, *nodes: str) -> None:
        """A remote ``gw``, its cluster ``remote`` with ``nodes``, each a remote ``gw-NODE``."""
        content = remote.encode() * 20_000
        self.annex("sync", "gw")  # what is a cluster, and of what, is in the git-annex branch
        key = self.add_file("fanned", content)
        self.annex("copy", "--to", remote, "fanned")
        self.assertEqual(self.cluster.holding(key), set(nodes))
        # The cluster has it as long as one of its nodes does.
        self.assertEqual(self.whereis("fanned") - {self.cluster.uuid}, self.uuids(*nodes))
        until(lambda: self.cluster.logged(key) == set(nodes), "the gateway has it in its log")
        for one in (remote, *(f"gw-{name}" for name in nodes)):
            self.annex("drop", "fanned")
            self.annex("get", "--from", one, "fanned")
            self.assertEqual((self.work / "fanned").read_bytes(), content)
        self.annex("drop", "--from", remote, "fanned")
        self.assertEqual(self.cluster.holding(key), set())
        self.assertEqual(self.whereis("fanned"), set())
        until(lambda: self.cluster.logged(key) == set(), "the gateway's log knows of that")

    def try_git(self, remote: str) -> None:
        """The gateway's, by the address of what is behind it."""
        self.client.git(self.work, "push", "-q", remote, "main:pushed", seconds=SECONDS)
        ours = self.client.git(self.work, "rev-parse", "main")
        self.assertEqual(self.host.git(self.served, "rev-parse", "pushed"), ours)
        self.client.git(self.work, "fetch", "-q", remote, seconds=SECONDS)
        self.assertEqual(self.client.git(self.work, "rev-parse", f"{remote}/pushed"), ours)

    def try_script(self) -> None:
        """Once, and again when there is another node."""
        script = self.invited("--all-nodes", "--script", name="carol")
        self.run_script(script)
        cluster = f"gw-{CLUSTER}"
        remotes = set(self.client.git(self.work, "remote").decode().split())
        names = {f"gw-{name}" for name in self.cluster.nodes}
        self.assertLessEqual({"gw", cluster, *names}, remotes)
        self.assertEqual(self.setting(cluster, "annex-uuid"), self.cluster.uuid.decode())
        for remote, cost, sync in ((cluster, "200.0", ""), ("gw-n1", "200.1", "false")):
            settings = self.setting(remote, "annex-cost"), self.setting(remote, "annex-sync")
            self.assertEqual(settings, (cost, sync))
        before = self.client.git(self.work, "config", "--list")
        self.assertIn(b"gw-n1 is there already", self.run_script(script))
        self.assertEqual(self.client.git(self.work, "config", "--list"), before)
        self.cluster.add_node("late")
        self.cluster.update()
        more = self.invited("--all-nodes", "--script", name="carol")
        self.run_script(more)
        self.assertEqual(self.setting("gw-late", "annex-uuid"), self.cluster.node_uuid("late").decode())
        self.assertNotIn('gateway"-n1', more)
