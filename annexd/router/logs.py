"""
The formats of the logs at the top of the git-annex branch.

There are three: lines ``UUID value timestamp=CLOCK`` (one value for each
repository), ``CLOCK NAME value`` (one value for each name) and ``CLOCK value``
(one value in all).  Of several lines for one thing the newest counts; of
equally new ones the last in the first two, the greatest in the third.  What
cannot be read is passed over: it belongs to somebody else's future.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from annexd.protocol import clock

_OF_REPOSITORY = re.compile(rb"([^ ]+) (?:(.*) )?timestamp=" + clock.PATTERN, re.DOTALL)
_OLD = re.compile(rb"([^ ]+) (.*)", re.DOTALL)
_STAMPED = re.compile(clock.PATTERN + rb" ([^ ]+)(?: (.*))?", re.DOTALL)

_EPOCH = 0
# Lines from before there were timestamps are older than any that has one.


@dataclass(frozen=True, slots=True)
class Entry:
    """``clock`` counts ticks."""

    clock: int
    name: bytes
    value: bytes


def of_repositories(text: bytes) -> dict[bytes, bytes]:
    """UUID -> value, of ``UUID value timestamp=CLOCK``."""
    return {entry.name: entry.value for entry in _newest(map(_of_repository, _lines(text))).values()}


def of_names(text: bytes) -> dict[bytes, bytes]:
    """Name -> value, of ``CLOCK NAME value``; in the order in which the names come first."""
    return {entry.name: entry.value for entry in _newest(map(_stamped, _lines(text))).values()}


def every(text: bytes, name: bytes) -> list[bytes]:
    """All values of a name in a log of ``CLOCK NAME value``: after a merge, those of edits at once, too."""
    entries = map(_stamped, _lines(text))
    return [entry.value for entry in entries if entry is not None and entry.name == name]


def number(text: bytes) -> int | None:
    """Of ``CLOCK N``; `None` where there is none."""
    stamped = (_stamped(raw) for raw in _lines(text))
    found = [(e.clock, int(e.name)) for e in stamped if e and not e.value and _is_number(e.name)]
    return max(found)[1] if found else None


def with_entry(text: bytes, name: bytes, value: bytes, now: float) -> bytes:
    """
    A log of ``CLOCK NAME value`` in which ``name`` has this value from ``now``
    (seconds since the epoch) on; lines that no longer count are gone.  The
    same text where the value is so already.
    """
    entries = _newest(map(_stamped, _lines(text)))
    known = entries.get(name)
    if known is not None and known.value == value:
        return text
    when = clock.printed(clock.after(None if known is None else known.clock, now))
    others = [raw for raw in _counting(text, entries) if not _is_of(name, raw)]
    return b"".join(raw + b"\n" for raw in [*others, b" ".join((when, name, value)).rstrip(b" ")])


def _counting(text: bytes, entries: Mapping[bytes, Entry]) -> Iterator[bytes]:
    """The lines that count, and those that cannot be read."""
    seen = set()
    for raw in _lines(text):
        entry = _stamped(raw)
        if entry is None or (entries[entry.name] == entry and raw not in seen):
            seen.add(raw)
            yield raw


def _is_of(name: bytes, raw: bytes) -> bool:
    entry = _stamped(raw)
    return entry is not None and entry.name == name


def _newest(entries: Iterable[Entry | None]) -> dict[bytes, Entry]:
    found: dict[bytes, Entry] = {}
    for entry in entries:
        if entry is not None:
            known = found.get(entry.name)
            if known is None or known.clock <= entry.clock:
                found[entry.name] = entry
    return found


def _of_repository(raw: bytes) -> Entry | None:
    match = _OF_REPOSITORY.fullmatch(raw)
    if match is not None:
        uuid, value, *when = match.groups(b"")
        return Entry(clock.ticks(*when), uuid, value)
    old = _OLD.fullmatch(raw)
    if old is None or b" timestamp=" in raw:
        return None
    return Entry(_EPOCH, old[1], old[2])


def _stamped(raw: bytes) -> Entry | None:
    match = _STAMPED.fullmatch(raw)
    if match is None:
        return None
    *when, name, value = match.groups(b"")
    return Entry(clock.ticks(*when), name, value)


def _is_number(text: bytes) -> bool:
    return text.isdigit() and len(text) < 19


def _lines(text: bytes) -> Iterator[bytes]:
    yield from (raw.removesuffix(b"\r") for raw in text.split(b"\n") if raw)
