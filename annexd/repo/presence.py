"""
Presence logs: which repositories have a key.

A log is lines ``<clock> <status> <uuid>``.  The clock is seconds, with an
optional fraction of up to twelve digits and an optional ``s``; the status is
``1`` (present), ``0`` (absent) or ``X`` (dead).  A repository may have several
lines; the newest counts, and of two that are equally new the one that comes
first.  Lines that cannot be read belong to somebody else's future: they are
kept, byte for byte, as are the lines that count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Iterable, Iterator

from annexd.protocol import clock

PRESENT, ABSENT, DEAD = b"1", b"0", b"X"

_LINE = re.compile(clock.PATTERN + rb" ([01X]) (.*?)\r?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Line:
    """``raw`` is the line as it was found, without its LF; ``clock`` counts picoseconds."""

    clock: int
    status: bytes
    uuid: bytes
    raw: bytes


def read_line(raw: bytes) -> Line | None:
    """`None` when it cannot be read."""
    match = _LINE.fullmatch(raw)
    if match is None:
        return None
    sign, seconds, fraction, status, uuid = match.groups(b"")
    return Line(clock.ticks(sign, seconds, fraction), status, uuid, raw)


def complete(text: bytes) -> bytes:
    """
    Without a last line that has no LF: journal files may be appended to, and
    such a line is what a crash in the middle of that leaves.
    """
    return text[: text.rfind(b"\n") + 1]


def newest(*texts: bytes) -> dict[bytes, Line]:
    """The line that counts for each repository; of equally new ones, the first."""
    found: dict[bytes, Line] = {}
    for line in map(read_line, _lines(texts)):
        if line is not None:
            known = found.get(line.uuid)
            if known is None or known.clock < line.clock:
                found[line.uuid] = line
    return found


def holders(*texts: bytes) -> frozenset[bytes]:
    """The repositories that have the content."""
    return frozenset(uuid for uuid, line in newest(*texts).items() if line.status == PRESENT)


def merge(*texts: bytes) -> bytes:
    """One log that says what all of them say: the lines that count, and the unreadable ones."""
    counting = newest(*texts)
    merged: dict[bytes, None] = {}
    for raw in _lines(texts):
        line = read_line(raw)
        if line is None or counting[line.uuid] == line:
            merged[raw] = None
    return b"".join(raw + b"\n" for raw in merged)


def union(*texts: bytes) -> bytes:
    """All lines that any of them has, once each: how git-annex merges whatever kind of log it is."""
    return b"".join(raw + b"\n" for raw in dict.fromkeys(_lines(texts)))


def change(text: bytes, uuid: bytes, present: bool, now: float) -> Line | None:
    """
    The line that makes a repository's status in ``text`` the wanted one, or
    `None` when it is so already.
    """
    status = PRESENT if present else ABSENT
    known = newest(text).get(uuid)
    if known is not None and known.status == status:
        return None
    when = clock.after(None if known is None else known.clock, now)
    return Line(when, status, uuid, b" ".join((clock.printed(when), status, uuid)))


def apply(line: Line, text: bytes) -> bytes:
    """``text`` with ``line`` in it, and without the lines that no longer count."""
    others = [raw for raw in _lines([text]) if not _is_of(line.uuid, raw)]
    return merge(b"".join(raw + b"\n" for raw in [*others, line.raw]))


def _lines(texts: Iterable[bytes]) -> Iterator[bytes]:
    for text in texts:
        yield from (raw for raw in text.split(b"\n") if raw)


def _is_of(uuid: bytes, raw: bytes) -> bool:
    line = read_line(raw)
    return line is not None and line.uuid == uuid
