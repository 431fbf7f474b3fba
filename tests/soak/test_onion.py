"""The Tor network itself goes away for a minute, in the middle of transfers, and comes back."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable

from tests.interop import test_onion_nodes
from tests.support.annex import litter, objects
from tests.support.gateways import CLUSTER
from tests.support.onion_scene import OnionScene
from tests.support.processes import until
from tests.support.way_out import WayOut

_DOWN_S = 60.0
_SIZE = 8_000_000
_BACK_S = 900.0


class FarNode(test_onion_nodes.FarNodeScene):
    """The node's tor is away for a while."""

    away_s = 60.0

    def test_in_and_out(self) -> None:
        for label, line in self.addresses().items():
            self.link("gw" if label == "served" else f"gw-{label}", line)
        self.annex("sync", "gw")
        self.network.kill("far")
        key = self.add_file("first", b"first")
        self.annex("copy", "--to", f"gw-{CLUSTER}", "first")
        self.assertEqual(self.cluster.holding(key), {"n1"})
        self.assertEqual(self.health(), "down")
        time.sleep(self.away_s)  # that is what is tried
        self.shared_tor("far")
        came = time.monotonic()
        until(lambda: self.health() != "down", "the node is in use again", _BACK_S)
        print(f"in use again after {time.monotonic() - came:.1f} s", file=sys.stderr)
        key = self.add_file("second", b"second")
        self.annex("copy", "--to", f"gw-{CLUSTER}", "second")
        self.assertEqual(self.cluster.holding(key), {"n1", "far"})

    def health(self) -> str:
        """Only those that do not fare well are named."""
        return str(next((one["health"] for one in self.daemon.status()["nodes"] if one["name"] == "far"), ""))


class Down(OnionScene):
    """Whatever is cut off ends, and nothing is recorded that is not so."""

    deadlines = "drain = 2\nstall = 20"

    def setUp(self) -> None:
        super().setUp()
        self.way_out = WayOut()
        self.addCleanup(self.way_out.close)
        control = self.start_tor("walled", self.way_out.torrc)
        self.serve(f'control = "{control}"')
        self.await_published()
        address = self.invite("bob")
        self.secret = address.rpartition(":")[2].encode()
        self.hostname = address.rpartition(".onion")[0].rpartition(".")[2] + ".onion"
        self.link("gw", address)
        self.key = self.add_file("small", b"small\n")
        self.annex("copy", "--to", "gw", "small")

    def test_frozen(self) -> None:
        """Nobody is told of it, as when a cable is pulled."""
        self.away(self.network.freeze, self.network.thaw)

    def test_cut(self) -> None:
        """The service's host has no network."""
        self.away(self.way_out.cut, self.way_out.mend)

    def away(self, go: Callable[[], None], come: Callable[[], None]) -> None:
        content = os.urandom(_SIZE)
        key = b"SHA256-s%d--%s" % (_SIZE, hashlib.sha256(content).hexdigest().encode())
        uploading = self.dial(
            "upload", self.hostname, b"AUTH x " + self.secret, b"VERSION 4", b"PUT f " + key
        )
        lines = uploading.makefile("rb")
        self.assertEqual(
            [next(lines).split()[0] for _ in range(3)], [b"AUTH-SUCCESS", b"VERSION", b"PUT-FROM"]
        )
        uploading.sendall(b"DATA %d\n" % _SIZE + content[:500_000])
        go()
        began = time.monotonic()
        self.assertFalse(self.reaches("gw", self.key))
        time.sleep(max(0.0, began + _DOWN_S - time.monotonic()))  # that is what is tried
        self.assertNotIn(key, objects(self.served))
        come()
        came = time.monotonic()
        uploading.close()
        took = self.await_back(came)
        self.assertNotIn(key, objects(self.served))
        self.assertEqual(self.host.holders(self.served, key), set())
        self.assertEqual(
            self.host.holders(self.served, self.key), {self.host.uuid(self.served)} | self.client_uuid()
        )
        until(lambda: not self.uploads(), "the upload that was cut off has ended", 60)
        self.assertEqual(set(litter(self.served)) - {"partial", "journal"}, set())
        print(f"reachable again after {took:.1f} s; {self.standing}", file=sys.stderr)

    def client_uuid(self) -> set[bytes]:
        return {self.client.uuid(self.work)} & self.host.holders(self.served, self.key)

    def uploads(self) -> list[object]:
        return [session for session in self.daemon.status()["sessions"] if session["verb"] == "PUT"]

    def await_back(self, came: float) -> float:
        until(lambda: self.reaches("gw", self.key), "the client reaches the service", _BACK_S)
        return time.monotonic() - came
