"""What tells the UUID of a cluster from that of a repository."""

from __future__ import annotations


def is_cluster(uuid: bytes) -> bool:
    """By its version, which is one that no repository has.  Source: git-annex."""
    return len(uuid) == 36 and uuid.startswith(b"ac") and uuid[14:15] == b"8"
