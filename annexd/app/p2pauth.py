"""The tokens that git-annex itself made for its own peers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress

from annexd.app.token_file import Stamp, digest_of, stamp_of
from annexd.errors import Refused, Unavailable
from annexd.router.directory import Disk
from annexd.router.places import Map, Served


class GitAnnexTokens:
    """
    Those of the repositories in ``served`` that are to take them, from
    ``annex/creds/p2pauth`` in each: lines with a token, or a token and the
    address that it was made for.  ``disk_at`` knows the disk of each.
    """

    def __init__(self, served: Sequence[Served], disk_at: Callable[[bytes], Disk]) -> None:
        self._disk_at = disk_at
        self._map = Map(served)
        self._paths = [one.path for one in served if one.git_annex_tokens]
        self._read: dict[bytes, tuple[Stamp | None, frozenset[str]]] = {}

    async def find(self, digest: str) -> bytes | None:
        """The repository that has a token with this SHA-256; those whose disks do not answer are left out."""
        for path in self._paths:
            disk = self._disk_at(path)
            with suppress(Unavailable):
                if await disk.patiently(disk.disk.run(self._has, path, digest)):
                    return path
        return None

    def _has(self, path: bytes, digest: str) -> bool:
        """For a thread."""
        return digest in self._digests(path)

    def _digests(self, path: bytes) -> frozenset[str]:
        try:
            place = self._map.locate(path, None, self._disk_at(path).sight)
            file = os.path.join(place.git_dir, b"annex", b"creds", b"p2pauth")
            stamp = stamp_of(file)
            known = self._read.get(file)
            if known is None or known[0] != stamp:
                known = self._read[file] = (stamp, _tokens_in(file) if stamp else frozenset())
        except (OSError, Refused, Unavailable):
            return frozenset()  # there is no such repository now, or it cannot be looked into
        return known[1]


def _tokens_in(file: bytes) -> frozenset[str]:
    with open(file, "rb") as opened:
        return frozenset(digest_of(line.split()[0]) for line in opened if line.split())
