"""How much of everything is measured: in earnest, and as a smoke run."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Plan:
    large_bytes: int
    large_rounds: int
    tls_rounds: int
    """Of the same: both sides keep all processors busy, and which of them the kernel runs differs."""
    tiny_keys: int
    tiny_bytes: int
    tiny_rounds: int
    files: int
    """Of 1000 bytes each."""
    check_seconds: float
    check_rounds: int
    start_rounds: int
    idle_sessions: tuple[int, ...]
    ssh_start_rounds: int
    cluster_bytes: int
    cluster_rounds: int
    cluster_sessions: int
    mesh_gateways: int
    mesh_rounds: int
    tor_bytes: int
    tor_rounds: int
    """0: a Tor network takes half a minute to come up."""
    section_seconds: float
    """After this a section is given up, so that nothing can hang."""

    @property
    def disk_bytes(self) -> int:
        """
        The source, one object on each of three repositories, the limit's file,
        one object on each node of two clusters, all that goes through tor, what
        memory is made ready with (see `Place.settle`), and slack.
        """
        ready = 2 * max(2 * self.large_bytes, 4 * self.cluster_bytes)
        through_tor = 4 * self.tor_rounds * self.tor_bytes
        return 5 * self.large_bytes + 7 * self.cluster_bytes + through_tor + ready + 300 * MIB


FULL = Plan(
    large_bytes=1024 * MIB,
    large_rounds=5,
    tls_rounds=9,
    tiny_keys=500,
    tiny_bytes=100,
    tiny_rounds=7,
    files=1000,
    check_seconds=0.5,
    check_rounds=9,
    start_rounds=25,
    idle_sessions=(1, 50, 1000),
    ssh_start_rounds=9,
    cluster_bytes=512 * MIB,
    cluster_rounds=5,
    cluster_sessions=50,
    mesh_gateways=4,
    mesh_rounds=3,
    tor_bytes=20_000_000,
    tor_rounds=5,
    section_seconds=420.0,
)

QUICK = Plan(
    large_bytes=16 * MIB,
    large_rounds=2,
    tls_rounds=2,
    tiny_keys=20,
    tiny_bytes=100,
    tiny_rounds=2,
    files=20,
    check_seconds=0.05,
    check_rounds=2,
    start_rounds=2,
    idle_sessions=(1, 5),
    ssh_start_rounds=2,
    cluster_bytes=16 * MIB,
    cluster_rounds=2,
    cluster_sessions=3,
    mesh_gateways=2,
    mesh_rounds=1,
    tor_bytes=200_000,
    tor_rounds=0,
    section_seconds=30.0,
)
