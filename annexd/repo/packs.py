"""
Git's packs and their indices as bytes.  Pure.

Formats: gitformat-pack(5), version 2 of both; nothing is stored as a delta.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

TREE, FILE = 2, 3

_NAMES = {TREE: b"tree", FILE: b"blob"}
_LEVEL = 1
"""Most objects are smaller than what a better compression would save of them."""

_HEADER = struct.Struct(">4sLL")
_INDEX_BEGIN = b"\xfftOc\0\0\0\2"


@dataclass(frozen=True, slots=True)
class Packed:
    """``name`` is what belongs behind ``pack-`` in the names of the files."""

    name: bytes
    pack: bytes
    index: bytes


def name_of(kind: int, content: bytes) -> bytes:
    """The name of an object, binary."""
    return hashlib.sha1(b"%b %d\0%b" % (_NAMES[kind], len(content), content), usedforsecurity=False).digest()


def packed(objects: Mapping[bytes, tuple[int, bytes]]) -> Packed:
    """Objects by their binary names, each with its kind and content; less than 2 GiB together."""
    pieces = [_HEADER.pack(b"PACK", 2, len(objects))]
    pieces += [
        _size(kind, len(content)) + zlib.compress(content, _LEVEL) for kind, content in objects.values()
    ]
    pack = b"".join(pieces)
    checksum = hashlib.sha1(pack, usedforsecurity=False).digest()
    offsets = accumulate(map(len, pieces))
    entries = sorted(
        (name, zlib.crc32(piece), offset)
        for name, piece, offset in zip(objects, pieces[1:], offsets, strict=False)
    )
    return Packed(checksum.hex().encode("ascii"), pack + checksum, _index(entries, checksum))


def _size(kind: int, size: int) -> bytes:
    """The beginning of an object: its kind and size, 4 bits and then 7 in each byte, the lowest first."""
    head = bytearray()
    byte, size = kind << 4 | size & 15, size >> 4
    while size:
        head.append(byte | 128)
        byte, size = size & 127, size >> 7
    head.append(byte)
    return bytes(head)


def _index(entries: list[tuple[bytes, int, int]], checksum: bytes) -> bytes:
    firsts = [0] * 256
    for name, _, _ in entries:
        firsts[name[0]] += 1
    count = len(entries)
    index = b"".join(
        (
            _INDEX_BEGIN,
            struct.pack(">256L", *accumulate(firsts)),
            *(name for name, _, _ in entries),
            struct.pack(f">{count}L", *(crc for _, crc, _ in entries)),
            struct.pack(f">{count}L", *(offset for _, _, offset in entries)),
            checksum,
        )
    )
    return index + hashlib.sha1(index, usedforsecurity=False).digest()
