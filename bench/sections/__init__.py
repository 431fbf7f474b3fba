"""What is measured, by name; each section gives its rows."""

from __future__ import annotations

from typing import Callable, Iterator, Mapping

from bench.report import Row
from bench.scene import Scene
from bench.sections import check, cluster, large, latency, memory, mesh, ssh, start, tiny, tls, tor

Section = Callable[[Scene], Iterator[Row]]

SECTIONS: Mapping[str, Section] = {
    "start": start.rows,
    "check": check.rows,
    "tiny": tiny.rows,
    "large": large.rows,
    "latency": latency.rows,
    "memory": memory.rows,
    "ssh": ssh.rows,
    "tls": tls.rows,
    "cluster": cluster.rows,
    "mesh": mesh.rows,
    "tor": tor.rows,
}
