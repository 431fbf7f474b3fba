"""Clusters as they are drawn."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from annexd.app import cluster_tables
from annexd.app.tables import moment

NOW = 1_800_000_000.0


def node(name: str, gateway: str, **more: Any) -> dict[str, Any]:
    known = {"keys": 3, "bytes": 3000, "maxsize": None, "cost": 110.0, "way": True}
    return {"name": name, "uuid": name.upper(), "gateway": gateway, **known, **more}


def health(state: str = "up", reason: str = "", latency: float | None = None) -> dict[str, Any]:
    return {"health": state, "since": NOW - 190, "reason": reason, "latency": latency}


def gateway(*clusters: dict[str, Any], **more: Any) -> dict[str, Any]:
    known = {"path": "/srv/g", "uuid": "G1", "description": "me@host", "counted": True, "proxied": []}
    return {**known, "clusters": list(clusters), **more}


def cluster(*nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
    itself = {"name": "me@host", "uuid": "G1", "before": None, "cost": 0.0}
    known = {"name": "c", "uuid": "AC", "listed": True, "unreached": []}
    return {**known, "gateways": [itself], "nodes": list(nodes), **more}


class Status(SynchronousTestCase):
    maxDiff = None

    def test_two_gateways(self) -> None:
        found = cluster(
            node("n1", "G1", **health(latency=0.0123), disk_free=5e9, disk_size=1e10, maxsize=10**9),
            node("n2", "G1", **health("down", "it is gone")),
            node("g2-m1", "G2", cost=420.0, behind={"name": "g2", **health()}),
            unreached=[{"name": "lost", "uuid": "L"}],
        )
        there = {"name": "g2", "uuid": "G2", "before": "G1", "cost": 210.0, "way": True, **health()}
        found["gateways"].append(there)
        self.assertEqual(
            cluster_tables.status({"gateways": [gateway(found)]}, NOW),
            "/srv/g  me@host\n"
            "\n"
            "cluster c  AC  4 nodes, 1 not well\n"
            "                   STATE           COST  KEYS  SIZE    MAXSIZE  FREE ON DISK\n"
            "  gateway me@host  here            -     -     -       -        -\n"
            "    n1             up, 12.3 ms     110   3     3.0 kB  1.0 GB   5.0 GB of 10.0 GB\n"
            "    n2             down for 3m10s  110   3     3.0 kB  -        -\n"
            "    gateway g2     up              210   -     -       -        -\n"
            "      g2-m1        behind g2, up   420   3     3.0 kB  -        -\n"
            f"  n2: down since {moment(NOW - 190)}: it is gone\n"
            "  lost: no way to it is known\n",
        )

    def test_what_else_there_may_be(self) -> None:
        found = cluster(node("g2-m1", "G2", keys=None, bytes=None, way=False), listed=False)
        found["gateways"].append(
            {"name": "g2", "uuid": "G2", "before": "G1", "cost": 210.0, "way": False, **health("down", "cut")}
        )
        said = cluster_tables.status(
            {"gateways": [gateway(found, counted=False, proxied=[node("s", "G1", **health())])]}, NOW
        )
        self.assertIn("cluster c  AC  1 node\n", said)
        self.assertIn("not in proxy.log", said)
        self.assertRegex(said, r"\n      g2-m1 +no way +110 +- +- ")
        self.assertRegex(said, r"\nproxied by themselves\n.*\n  s +up ")
        self.assertIn("--count takes the time", said)
        self.assertEqual(cluster_tables.status({"gateways": []}, NOW), "no gateway is served\n")


class Explained(SynchronousTestCase):
    def test_where_a_key_goes(self) -> None:
        document = {
            "key": "K",
            "file": "dir/a",
            "cluster": "c",
            "tree": ["from this gateway:", "  node n1, remote n1, cost 110"],
            "put": {
                "reason": "the nodes that lack it",
                "nodes": [{"name": "n1", "chosen": True, "why": "wanted"}],
            },
            "get": [
                {"name": "n1", "holds": [], "why": "cost 110"},
                {"name": "g2", "holds": ["m"], "why": "slow"},
            ],
        }
        self.assertEqual(
            cluster_tables.explained(document),
            "K, dir/a in cluster c\n\n"
            "from this gateway:\n  node n1, remote n1, cost 110\n\n"
            "to be kept, it goes to: the nodes that lack it\n"
            "  NODE  GETS IT  WHY\n"
            "  n1    yes      wanted\n\n"
            "wanted, it is asked for in this order:\n"
            "  REMOTE  HAS IT BY THE LOG  WHY HERE\n"
            "  n1      nothing known      cost 110\n"
            "  g2      m                  slow\n",
        )
