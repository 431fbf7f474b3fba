"""What becomes of a file of the git-annex branch of which there are two versions."""

from __future__ import annotations

from annexd.repo import presence


def combined(path: bytes, journalled: bytes, old: bytes | None) -> bytes:
    """
    What a file on the branch becomes: what the journal has for it stands, and
    nothing that the branch has is lost.
    """
    if _is_location_log(path):
        return presence.merge(presence.complete(journalled), old or b"")
    return journalled if old is None else presence.union(old, journalled)


def _is_location_log(path: bytes) -> bool:
    """The logs of keys are in one or two hash directories, all other ``.log`` files at the top."""
    return path.endswith(b".log") and 1 <= path.count(b"/") <= 2


def united(path: bytes, ours: bytes, theirs: bytes) -> bytes:
    """Of two that are on branches: what either says, as git-annex merges them."""
    return presence.merge(ours, theirs) if _is_location_log(path) else presence.union(ours, theirs)
