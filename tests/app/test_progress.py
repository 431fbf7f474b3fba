"""How far a repair has come, and how that is told."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from annexd.app import cluster_tables
from annexd.app.progress import Progress
from annexd.protocol.keys import Key


def key(number: int) -> Key:
    return Key.parse(b"WORM-s10--%d" % number)


class Told(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.progress = Progress(self.clock, dry_run=False)

    def test_as_it_goes_on(self) -> None:
        self.progress.keys, self.progress.lacking = 7, 2
        self.progress.moved(3000)
        self.progress.copied(["n2", "n1"], 1500)
        self.clock.advance(65)
        found = self.progress.document()
        self.assertEqual(found["state"], "running")
        self.assertEqual(
            found["nodes"],
            [{"name": "n1", "copies": 1, "bytes": 1500}, {"name": "n2", "copies": 1, "bytes": 1500}],
        )
        self.assertEqual(cluster_tables.progress(found), "7 keys looked at, 2 copies made, 3.0 kB, 1m05s")

    def test_its_end(self) -> None:
        self.progress.keys, self.progress.lacking = 7, 2
        self.progress.copied(["n1"], 1500)
        self.progress.failed(key(1), "n2: it is full")
        self.clock.advance(3)
        self.progress.end("stopped")
        self.clock.advance(60)
        self.assertEqual(
            cluster_tables.repaired(self.progress.document()),
            "stopped: 7 keys looked at, 2 of them lacking somewhere, in 3s\n"
            "  n1 got 1 keys, 1.5 kB\n"
            "1 could not be completed:\n"
            "  1 times: n2: it is full\n"
            "  for example WORM-s10--1\n",
        )
        self.assertEqual(self.progress.summary(), "stopped, 7 keys looked at, 1 copies made, 1 failures")

    def test_why_it_failed_and_a_dry_run(self) -> None:
        progress = Progress(self.clock, dry_run=True)
        progress.copied(["n1"], 10)
        progress.end("failed", "the disk is broken")
        said = cluster_tables.repaired(progress.document())
        self.assertTrue(said.startswith("failed: "))
        self.assertIn("n1 would get 1 keys", said)
        self.assertIn("\nthe disk is broken\n", said)

    def test_no_more_than_so_much_is_kept(self) -> None:
        for number in range(1000):
            self.progress.failed(key(number), f"reason {number}")
        found = self.progress.document()
        self.assertEqual(found["failures"], 1000)
        self.assertEqual(len(found["reasons"]), 21)
        self.assertEqual(sum(one["count"] for one in found["reasons"]), 1000)
        self.assertEqual(len(found["examples"]), 20)
