"""`annexd cluster` and `annexd route` at gateways that git-annex's own commands have set up."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
from pathlib import Path
from typing import Any

from tests.support.annex import objects
from tests.support.gateways import CLUSTER, Cluster
from tests.support.load import content_of, key_of
from tests.support.p2p import Dialogue, shell_command
from tests.support.processes import run_code, start, state, until
from tests.support.programs import annexd_program
from tests.support.scenes import Scene


class CommandScene(Scene):
    """A gateway with three nodes on its disk, and the real `annexd` that asks its daemon."""

    def setUp(self) -> None:
        super().setUp()
        self.cluster = Cluster(self.host, self.served)
        for name in ("n1", "n2", "n3"):
            self.cluster.add_node(name)
        self.cluster.make()

    def say(self, *words: str | Path) -> str:
        code, said = self.tries(*words)
        self.assertEqual(code, 0, said)
        return said

    def tries(self, *words: str | Path) -> tuple[int, str]:
        daemon = self.annexd().daemon
        argv = (annexd_program("annexd"), *words, *daemon.socket_option)
        code, said = run_code(*argv, cwd=self.directory, env=daemon.env)
        return code, said.decode()

    def document(self, *words: str | Path) -> Any:
        return json.loads(self.say(*words, "--json"))

    def put(self, *contents: bytes, node: str = "") -> list[bytes]:
        """Into the cluster, or a node of it; their keys."""
        uuid = self.cluster.node_uuid(node) if node else self.cluster.uuid
        command = shell_command(self.served, uuid.decode())
        session = Dialogue(self.server.command(), self.server.env(), command)
        session.hello(4)
        keys = [key_of(content) for content in contents]
        for key, content in zip(keys, contents, strict=True):
            self.assertIn(b"SUCCESS", session.put(key, content))
        session.finish()
        return keys

    def log(self, name: str) -> list[list[bytes]]:
        """The lines of a file of the gateway's git-annex branch, words sorted and without clocks."""
        text = self.host.git(self.served, "show", f"git-annex:{name}")
        entries = [line.split()[1:] for line in text.splitlines()]
        return sorted([name, *sorted(values)] for name, *values in entries)


class Status(CommandScene):
    def test_a_dead_node(self) -> None:
        self.put(*(content_of(number, 1000) for number in range(3)))
        self.host.annex(self.served, "maxsize", "n1", "1gb")
        self.cluster.nodes["n2"].rename(self.directory / "away")

        (gateway,) = self.document("cluster", "status", self.served)["gateways"]
        (cluster,) = gateway["clusters"]
        self.assertEqual((cluster["name"], cluster["uuid"]), (CLUSTER, self.cluster.uuid.decode()))
        self.assertEqual([one["uuid"] for one in cluster["gateways"]], [self.uuid.decode()])
        nodes = {node["name"]: node for node in cluster["nodes"]}
        healths = {name: node["health"] for name, node in nodes.items()}
        self.assertEqual(healths, {"n1": "up", "n2": "down", "n3": "up"})
        self.assertIn("no repository is served", nodes["n2"]["reason"])
        self.assertEqual((nodes["n1"]["keys"], nodes["n1"]["bytes"]), (3, 3000))
        self.assertEqual((nodes["n1"]["maxsize"], nodes["n3"]["maxsize"]), (1_000_000_000, None))
        self.assertEqual(nodes["n3"]["disk_size"], _disk_bytes(self.directory))
        self.assertNotIn("disk_size", nodes["n2"])

        said = self.say("cluster", "status")
        self.assertIn(f"cluster {CLUSTER}", said)
        self.assertRegex(said, r"\n +n2 +down for \d+s")
        self.assertRegex(said, r"\n +n1 +up +110 +3 +3\.0 kB +1\.0 GB ")
        self.assertRegex(said, r"\n +n2: down since ")
        (ailing,) = self.annexd().daemon.status()["nodes"]
        self.assertEqual((ailing["name"], ailing["health"]), ("n2", "down"))
        self.assertRegex(self.say("status"), r"\nn2 .* down ")

        (self.directory / "away").rename(self.cluster.nodes["n2"])
        self.assertNotIn("down", self.say("cluster", "status", "--cluster", CLUSTER))
        self.assertEqual(self.annexd().daemon.status()["nodes"], [])

    def test_what_cannot_be_answered(self) -> None:
        code, said = self.tries("cluster", "status", self.cluster.nodes["n1"])
        self.assertEqual((code, "no repository is served" in said), (1, True), said)
        code, said = self.tries("cluster", "status", self.served, "--cluster", "other")
        self.assertEqual((code, "has no cluster other, but mycluster" in said), (1, True), said)
        self.server.stop()
        for words in (("cluster", "status"), ("cluster", "update", "."), ("route", "explain", ".", "x")):
            code, said = self.tries(*words)
            self.assertEqual((code, "annexd does not run at" in said), (1, True), said)


class Update(CommandScene):
    def test_as_git_annex_does(self) -> None:
        self.assertEqual(self.say("cluster", "update", self.served), "nothing to do\n")
        self.cluster.add_node("n4")
        self.cluster.add_node("single", member=False)
        self.host.git(self.served, "config", "--unset", "remote.n2.annex-cluster-node")
        before = self.host.git(self.served, "rev-parse", "git-annex").strip()
        said = self.say("cluster", "update", self.served)
        self.assertEqual(
            set(said.splitlines()),
            {
                "mycluster has the node n4",
                "mycluster has the node n2 no longer",
                "n2 is proxied under this name no longer",
                "n4 is proxied",
                "single is proxied",
            },
        )
        ours = self.log("cluster.log"), self.log("proxy.log")
        self.assertEqual(self.say("cluster", "update", self.served), "nothing to do\n")
        self.server.stop()
        self.host.annex(self.served, "updatecluster")
        self.assertEqual(
            (self.log("cluster.log"), self.log("proxy.log")), ours, "nothing is left to git-annex"
        )
        self._back_to(before)
        self.host.annex(self.served, "updatecluster")
        self.host.annex(self.served, "updateproxy")
        self.assertEqual((self.log("cluster.log"), self.log("proxy.log")), ours)

    def _back_to(self, commit: bytes) -> None:
        self.host.git(self.served, "update-ref", "refs/heads/git-annex", commit)
        (self.served / "annex" / "index").unlink()
        (self.served / "annex" / "index.lck").unlink(missing_ok=True)

    def test_a_node_that_cannot_be_used(self) -> None:
        disk = self.directory / "disk"
        disk.mkdir()
        self.host.annex(
            self.served, "initremote", "sp", "type=directory", f"directory={disk}", "encryption=none"
        )
        self.host.git(self.served, "config", "remote.sp.annex-cluster-node", f"{CLUSTER} unheard-of")
        said = self.say("cluster", "update", self.served)
        self.assertIn("warning: sp cannot be used by annexd", said)
        self.assertIn("warning: sp is to be a node of unheard-of", said)
        self.assertIn("sp is proxied\n", said)


class TwoGateways(CommandScene):
    """Each is a remote of the other, as `git annex extendcluster` leaves it."""

    def setUp(self) -> None:
        super().setUp()
        self.other = Cluster(self.host, self.host.new("other", bare=True))
        self.other.add_node("m1")
        self.other.add_node("m2")
        self.host.git(self.other.gateway, "config", f"annex.cluster.{CLUSTER}", self.cluster.uuid.decode())
        self._link(self.served, "there", self.other.gateway)
        self._link(self.other.gateway, "here", self.served)
        self.exchange()

    def _link(self, gateway: Path, name: str, neighbour: Path) -> None:
        # git-annex knows nodes behind its remotes only where these are not on its disks
        self.host.git(gateway, "remote", "add", name, f"ssh://{name}.invalid{neighbour}")
        self.host.git(gateway, "config", f"remote.{name}.annex-uuid", self.host.uuid(neighbour).decode())
        cluster = self.cluster.uuid.decode()
        self.host.git(gateway, "config", f"remote.{name}.annex-cluster-gateway", cluster)

    def exchange(self) -> None:
        """What each of them knows."""
        for gateway, name in ((self.served, "there"), (self.other.gateway, "here")):
            source = self.served if name == "here" else self.other.gateway
            self.host.git(gateway, "fetch", "-q", source, f"+git-annex:refs/remotes/{name}/git-annex")
            self.host.annex(gateway, "merge", "-q")

    def test_as_git_annex_does(self) -> None:
        """One of them is stock; what git-annex would write here is what was written here."""
        self.host.annex(self.other.gateway, "updatecluster")
        self.exchange()
        said = self.say("cluster", "update", self.served)
        self.assertEqual(set(said.splitlines()), {"there-m1 is proxied", "there-m2 is proxied"})
        ours = self.log("cluster.log"), self.log("proxy.log")
        ((_, *members),) = ours[0]
        names = {*self.cluster.nodes} | {*self.other.nodes}
        self.assertEqual(len(members), len(names))
        self._assert_drawn()
        self.server.stop()
        self.host.annex(self.served, "updatecluster")
        self.assertEqual((self.log("cluster.log"), self.log("proxy.log")), ours)

    def test_edits_at_once(self) -> None:
        """Neither of two edits undoes the other, though the newer line wins; and then all is settled."""
        self.host.annex(self.other.gateway, "updatecluster")
        self.cluster.add_node("n4")
        self.say("cluster", "update", self.served)
        self.exchange()
        self.assertEqual(len({name for name, *_ in self.log("cluster.log")}), 1)
        self.say("cluster", "update", self.served)
        ((_, *members),) = self.log("cluster.log")
        self.assertEqual(len(members), 6)
        self.assertEqual(self.say("cluster", "update", self.served), "nothing to do\n")
        self.exchange()
        self.host.annex(self.other.gateway, "updatecluster")
        self.exchange()
        self.assertEqual(self.say("cluster", "update", self.served), "nothing to do\n")
        lines = {line[0]: line[1:] for line in self.log("proxy.log")}
        self.assertEqual(len(lines[self.uuid]), 7)

    def _assert_drawn(self) -> None:
        (gateway,) = self.document("cluster", "status", self.served)["gateways"]
        (cluster,) = gateway["clusters"]
        self.assertEqual([one["remote"] for one in cluster["gateways"]], [None, "there"])
        self.assertEqual(
            {node["name"]: node["gateway"] == gateway["uuid"] for node in cluster["nodes"]},
            {"n1": True, "n2": True, "n3": True, "there-m1": False, "there-m2": False},
        )
        self.assertRegex(self.say("cluster", "status"), r"\n    gateway there +down .*\n      there-m1 ")


class Repair(CommandScene):
    def test_an_emptied_node(self) -> None:
        keys = self.put(*(content_of(number, 70_000) for number in range(40)))
        keys += self.put(content_of(99, 300_000), node="n3")
        _empty(self.cluster.nodes["n2"])
        nodes = {"n1", "n2", "n3"}

        would = self.document("cluster", "repair", self.served, "--dry-run")
        self.assertEqual(
            would["nodes"],
            [
                {"name": "n1", "copies": 1, "bytes": 300_000},
                {"name": "n2", "copies": 41, "bytes": 40 * 70_000 + 300_000},
            ],
        )
        self.assertEqual(objects(self.cluster.nodes["n2"]), set())
        said = self.say("cluster", "repair", self.served, "--jobs", "4")
        self.assertIn("41 keys looked at, 41 of them lacking somewhere", said)
        self.assertIn("n2 got 41 keys, 3.1 MB", said)
        for key in keys[::10]:
            self.assertEqual((self.cluster.holding(key), self.cluster.logged(key)), (nodes, nodes))
        for name in nodes:
            node = self.cluster.nodes[name]
            self.assertEqual(len(objects(node)), 41)
            self.assertEqual(self.host.annex(node, "fsck", "--all", "--quiet").strip(), b"")
        again = self.document("cluster", "repair", self.served)
        self.assertEqual((again["state"], again["keys"], again["lacking"]), ("done", 41, 0))
        self.assertIn("0 of them lacking", self.say("cluster", "repair", self.served, "--stop"))

    def test_it_goes_on_by_itself(self) -> None:
        """Whoever watches it goes away, then the daemon stops; and the next one does the rest."""
        keys = self.put(*(content_of(number, 3_000_000) for number in range(30)), node="n1")
        daemon = self.annexd().daemon
        argv = (annexd_program("annexd"), "cluster", "repair", self.served, "--jobs", "1")
        watching = start(*argv, *daemon.socket_option, cwd=self.directory, env=daemon.env)
        until(lambda: bool(objects(self.cluster.nodes["n3"])), "the repair has begun")
        os.kill(daemon.pid, signal.SIGSTOP)  # or it might be over before we have looked again
        try:
            until(lambda: state(watching.pid) == "S", "it has been answered, and watches")
            watching.send_signal(signal.SIGINT)
            said, _ = watching.communicate(timeout=60)
            before = len(objects(self.cluster.nodes["n2"]))
        finally:
            os.kill(daemon.pid, signal.SIGCONT)
        self.assertEqual(watching.returncode, 130, said)
        self.assertIn(b"goes on in the daemon", said)
        until(lambda: len(objects(self.cluster.nodes["n2"])) > before, "it goes on")
        self.assertEqual(daemon.stop(), 0)
        self.assertIn("stopped, ", daemon.said())
        self.assertLess(len(objects(self.cluster.nodes["n2"])), len(keys))
        daemon.start()
        self.say("cluster", "repair", self.served)
        for name in ("n2", "n3"):
            node = self.cluster.nodes[name]
            self.assertEqual(len(objects(node)), len(keys))
            self.assertEqual(self.host.annex(node, "fsck", "--all", "--fast", "--quiet").strip(), b"")
        self.assertEqual(self.cluster.logged(keys[-1]), {"n1", "n2", "n3"})

    def test_what_cannot_be_done(self) -> None:
        """A node is gone, and of one key the only copy is bad."""
        good, bad = self.put(content_of(1, 50_000), content_of(2, 50_000), node="n1")
        away = self.directory / "away"
        self.cluster.nodes["n3"].rename(away)
        _corrupt(self.cluster.nodes["n1"], bad)
        code, said = self.tries("cluster", "repair", self.served)
        self.assertEqual(code, 1, said)
        self.assertIn("n2 got 1 keys, 50.0 kB", said)
        self.assertIn("2 could not be completed", said)
        self.assertIn(" n3: ", said)
        away.rename(self.cluster.nodes["n3"])
        self.assertEqual(self.cluster.holding(good), {"n1", "n2"})
        self.assertEqual(self.cluster.logged(good), {"n1", "n2"})
        self.assertEqual(self.cluster.holding(bad), {"n1"})
        code, said = self.tries("cluster", "repair", self.served)
        self.assertEqual((code, self.cluster.holding(good)), (1, {"n1", "n2", "n3"}))
        self.assertIn("1 could not be completed", said)


class Explanation(CommandScene):
    bare = False

    def setUp(self) -> None:
        super().setUp()
        (self.served / "a file").write_bytes(b"content")
        self.host.annex(self.served, "add", "-q", "--backend", "SHA256", "a file")
        self.host.git(self.served, "commit", "-q", "-m", "add")
        self.key = self.host.key(self.served, "a file")

    def test_a_file_and_its_key(self) -> None:
        self.assertEqual(self.put(b"content", node="n2"), [self.key])
        self.host.git(self.served, "config", "remote.n1.annex-cost", "50")
        by_file = self.document("route", "explain", self.served, "a file")
        self.assertEqual((by_file["key"], by_file["file"]), (self.key.decode(), "a file"))
        chosen = {node["name"]: (node["chosen"], node["why"]) for node in by_file["put"]["nodes"]}
        self.assertEqual(chosen, {"n1": (True, "wanted"), "n2": (False, "has it"), "n3": (True, "wanted")})
        self.assertEqual([one["name"] for one in by_file["get"]], ["n2", "n1", "n3"])
        self.assertEqual(by_file["get"][0]["holds"], ["n2"])
        by_key = self.document("route", "explain", self.served, self.key.decode())
        self.assertEqual((by_key["key"], by_key["file"]), (self.key.decode(), ""))
        said = self.say("route", "explain", "--cluster", CLUSTER, self.served, "a file")
        self.assertIn("node n1, remote n1, cost 60", said)
        self.assertRegex(said, r"n2 +no +has it")
        code, said = self.tries("route", "explain", self.served, "nothing")
        self.assertEqual((code, "neither a file" in said), (1, True), said)


def _disk_bytes(path: Path) -> int:
    disk = os.statvfs(path)
    return disk.f_blocks * disk.f_frsize


def _writable(top: Path) -> None:
    for directory, _, _ in os.walk(top):
        os.chmod(directory, stat.S_IRWXU)


def _empty(node: Path) -> None:
    """As if its disk had been lost: nobody's log knows of it."""
    _writable(node / "annex" / "objects")
    shutil.rmtree(node / "annex" / "objects")


def _corrupt(node: Path, key: bytes) -> None:
    _writable(node / "annex" / "objects")
    (path,) = (node / "annex" / "objects").glob(f"*/*/{key.decode()}/{key.decode()}")
    path.chmod(0o644)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
