"""The tokens that git-annex itself made for its own peers."""

from __future__ import annotations

import os
from collections.abc import Sequence

from annexd.app.token_file import Stamp, digest_of, stamp_of
from annexd.errors import Refused, Unavailable
from annexd.router.places import Map, Served


class GitAnnexTokens:
    """
    Those of the repositories in ``served`` that are to take them, from
    ``annex/creds/p2pauth`` in each: lines with a token, or a token and the
    address that it was made for.
    """

    def __init__(self, served: Sequence[Served]) -> None:
        self._map = Map(served)
        self._paths = [one.path for one in served if one.git_annex_tokens]
        self._read: dict[bytes, tuple[Stamp | None, frozenset[str]]] = {}

    def find(self, digest: str) -> bytes | None:
        """The repository that has a token with this SHA-256.  Looks at the disk: for a thread."""
        for path in self._paths:
            if digest in self._digests(path):
                return path
        return None

    def _digests(self, path: bytes) -> frozenset[str]:
        try:
            file = os.path.join(self._map.locate(path, None).git_dir, b"annex", b"creds", b"p2pauth")
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
