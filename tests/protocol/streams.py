"""A stream of bytes cut in all the ways that matter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from annexd.protocol.framing import Framing

TRAILING = b"DATA 5\n\0\xff"
"""What the next message may bring along."""


def lines_of(chunks: Iterable[bytes]) -> list[bytes]:
    """All lines, each asked for as soon as it may be there."""
    framing = Framing()
    lines = []
    for chunk in chunks:
        framing.feed(chunk)
        while (line := framing.line()) is not None:
            lines.append(line)
    return lines


def every_way(stream: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """The lines of ``stream``, fed whole, byte by byte, and with trailing bytes."""
    yield "whole", lines_of([stream])
    yield "byte by byte", lines_of(stream[i : i + 1] for i in range(len(stream)))
    lines = lines_of([stream + TRAILING])
    assert lines.pop() == b"DATA 5"
    yield "with trailing bytes", lines
