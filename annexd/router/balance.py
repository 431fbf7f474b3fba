"""
``balanced`` and its kin: which repositories of a group are to have a key.

All that looks at a key comes to the same choice, as long as it knows the same
group and the same sizes: a number is made of the key and the whole group, and
the repositories are counted off from there.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from annexd.protocol.keys import Key


@dataclass(frozen=True, slots=True)
class Room:
    """
    How full repositories are: what is stored there, and how much may be, in
    bytes.  ``ample`` is one that is taken to have room whatever these say.
    """

    sizes: Mapping[bytes, int]
    limits: Mapping[bytes, int]
    ample: bytes | None = None

    def has_space(self, uuid: bytes, key: Key, present: bool) -> bool | None:
        """`None` where nobody set a limit."""
        limit = self.limits.get(uuid)
        if limit is None:
            return None
        if uuid == self.ample:
            return True
        return self.sizes.get(uuid, 0) + (0 if present else key.size or 0) <= limit

    def share_free(self, uuid: bytes, key: Key, present: bool) -> float:
        """Of a repository with a limit above zero, and as if it did not have the key."""
        limit = self.limits[uuid]
        return (limit - self.sizes.get(uuid, 0) + (key.size or 0 if present else 0)) / limit


def chosen(group: Collection[bytes], candidates: Collection[bytes], key: Key, count: int) -> frozenset[bytes]:
    """``count`` of ``candidates``, which are in ``group``; all when there are not as many."""
    ordered = sorted(candidates)
    if not ordered or count <= 0:
        return frozenset()
    digest = hmac.digest(b"".join(sorted(group)), key.raw, hashlib.sha256)
    first = int.from_bytes(digest, "big")
    return frozenset(ordered[(first + n) % len(ordered)] for n in range(min(count, len(ordered))))


def with_space(group: Collection[bytes], key: Key, holders: Collection[bytes], room: Room) -> list[bytes]:
    """Those of a group in which the key fits; where there is no limit it does."""
    return [uuid for uuid in group if room.has_space(uuid, key, uuid in holders) is not False]


def emptiest(
    group: Collection[bytes], key: Key, count: int, holders: Collection[bytes], room: Room
) -> list[bytes]:
    """The ``count`` that are least full, relative to their limits; those without one do not take part."""
    shares = [
        (room.share_free(uuid, key, uuid in holders), uuid)
        for uuid in group
        if room.limits.get(uuid, 0) > 0 and room.has_space(uuid, key, uuid in holders)
    ]
    return [uuid for _, uuid in sorted(shares, reverse=True)[: max(count, 0)]]
