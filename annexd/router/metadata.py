"""
What users have written down about a key: the metadata log of the git-annex
branch, lines ``CLOCK FIELD +VALUE -VALUE FIELD +VALUE``, each of which says
what was set and unset then.  Values with white space are in base64 after a
``!``.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Mapping

from annexd.protocol import clock


def current(text: bytes) -> Mapping[bytes, frozenset[bytes]]:
    """The values that are set now, by field; of what was said about one the newest counts."""
    said: dict[tuple[bytes, bytes], tuple[int, bool]] = {}
    for line in text.split(b"\n"):
        stamp, _, rest = line.partition(b" ")
        when = clock.parse(stamp)
        if when is None:
            continue
        for field, value, is_set in _changes(rest):
            known = said.get((field, value))
            if known is None or known[0] <= when:
                said[field, value] = when, is_set
    found: dict[bytes, set[bytes]] = {}
    for (field, value), (_, is_set) in said.items():
        if is_set:
            found.setdefault(field, set()).add(value)
    return {field: frozenset(values) for field, values in found.items()}


def _changes(text: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Field, value, and whether it is set."""
    field = b""
    for word in text.split():
        if word[:1] in (b"+", b"-") and field:
            value = _value(word[1:])
            if value is not None:
                yield field, value, word[:1] == b"+"
        else:
            field = word


def _value(word: bytes) -> bytes | None:
    """`None` for what cannot be read."""
    if not word.startswith(b"!"):
        return word
    try:
        return binascii.a2b_base64(word[1:], strict_mode=True)
    except binascii.Error:
        return None
