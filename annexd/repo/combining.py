"""What becomes of a file of the git-annex branch of which there are two versions."""

from __future__ import annotations

import re

from annexd.protocol import clock
from annexd.repo import presence

_WHOLE_LOGS = (b"proxy.log", b"cluster.log")
"""Lines ``CLOCK NAME value``, in which the newest of a name replaces the others."""

_STAMPED = re.compile(clock.PATTERN + rb" ([^ ]+)(?: .*)?", re.DOTALL)


def combined(path: bytes, journalled: bytes, old: bytes | None) -> bytes:
    """
    What a file on the branch becomes: what the journal has for it stands, and
    nothing that the branch has is lost.
    """
    if _is_location_log(path):
        return presence.merge(presence.complete(journalled), old or b"")
    if old is None:
        return journalled
    both = presence.union(old, journalled)
    return _without_replaced(both) if path in _WHOLE_LOGS else both


def _without_replaced(text: bytes) -> bytes:
    """What is left of two old lines by a merge looks like an edit of two at once, so it must not stay."""
    newest: dict[bytes, int] = {}
    lines = [(line, _stamped(line)) for line in text.splitlines(keepends=True)]
    for _, stamp in lines:
        if stamp is not None:
            newest[stamp[1]] = max(stamp[0], newest.get(stamp[1], stamp[0]))
    return b"".join(line for line, stamp in lines if stamp is None or newest[stamp[1]] == stamp[0])


def _stamped(line: bytes) -> tuple[int, bytes] | None:
    match = _STAMPED.fullmatch(line.rstrip(b"\r\n"))
    return None if match is None else (clock.ticks(*match.groups(b"")[:3]), match[4])


def _is_location_log(path: bytes) -> bool:
    """The logs of keys are in one or two hash directories, all other ``.log`` files at the top."""
    return path.endswith(b".log") and 1 <= path.count(b"/") <= 2


def united(path: bytes, ours: bytes, theirs: bytes) -> bytes:
    """Of two that are on branches: what either says, as git-annex merges them."""
    return presence.merge(ours, theirs) if _is_location_log(path) else presence.union(ours, theirs)
