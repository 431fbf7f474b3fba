"""The tokens that git-annex keeps for peers, which ``git annex p2p --link`` puts there."""

from __future__ import annotations

import os

from annexd.client.p2p_address import token_file_name
from annexd.remotes.url import P2PAnnex


def stored_token(git_dir: bytes, place: P2PAnnex) -> bytes | None:
    """
    What the repository with this git directory has for ``place``; `None`
    where there is none.  Reads a small file.
    """
    path = os.path.join(git_dir, b"annex", b"creds", os.fsencode(token_file_name(str(place))))
    try:
        with open(path, "rb") as file:
            return file.readline().strip().lower() or None
    except OSError:
        return None
