"""The benchmark runs and measures all that it promises; how fast is not a matter for tests."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import TestCase

from bench.plan import QUICK

ROOT = Path(__file__).parent.parent.parent
SECONDS = 480

ROWS = (
    """
start start.wrapper start.cpu
check check.absent check.ten check.ten.cpu
tiny.put tiny.put.fsync tiny.get tiny.remove tiny.remove.fsync tiny.end tiny.cpu
large.put large.put.limit large.put.pipe large.put.fsync large.put.cpu
large.get large.get.copied large.get.cpu
latency.loop.idle.p50 latency.loop.idle.p99 latency.loop.busy.p50 latency.loop.busy.p99
latency.loop.added.p99 latency.loop.put
latency.paced.idle.p50 latency.paced.idle.p99 latency.paced.busy.p50 latency.paced.busy.p99
latency.paced.added.p99 latency.paced.put
memory.processes memory.base
cluster.put cluster.get cluster.check cluster.tiny.put cluster.tiny.get cluster.tiny.remove
cluster.check.limit cluster.first.put cluster.memory cluster.processes
mesh.setup mesh.start mesh.first mesh.warm
ssh.start ssh.start.master ssh.check ssh.get ssh.get.cpu ssh.put ssh.put.cpu
tls.get tls.get.ssh tls.get.cpu tls.put tls.put.written tls.put.ssh tls.put.ssh.kept tls.put.cpu
tls.tiny.put tls.tiny.get tls.start
""".split()
    + [f"memory.{what}.{count}" for what in ("daemon", "waits") for count in QUICK.idle_sessions]
    + [f"tls.memory.{count}" for count in QUICK.idle_sessions]
)


class QuickTests(TestCase):
    timeout = SECONDS + 30

    def test_all_rows(self) -> None:
        """Both sides are measured in every row, nothing fails, nothing is left behind."""
        work = Path(tempfile.mkdtemp(prefix="annexd-test-"))
        self.addCleanup(subprocess.run, ["rm", "-rf", str(work)], check=True)
        results = work / "out.json"
        argv = [sys.executable, "-m", "bench", "--quick", "--json", str(results), "--directory", str(work)]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, timeout=SECONDS, check=False)
        self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace"))
        document = json.loads(results.read_text())
        self.assertEqual(document["failed"], {})
        self.assertEqual(sorted(row["id"] for row in document["rows"]), sorted(ROWS))
        for row in document["rows"]:
            self.assertTrue(row["ours"], row["id"])
            self.assertIn(row["title"].encode(), done.stdout)
        self.assertEqual([path.name for path in work.iterdir()], ["out.json"])
