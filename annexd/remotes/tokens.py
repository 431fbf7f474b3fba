"""The tokens that git-annex keeps for peers, which ``git annex p2p --link`` puts there."""

from __future__ import annotations

import os
from typing import Union

from annexd.client.p2p_address import token_file_name
from annexd.remotes.url import P2PAnnex, TorAnnex


def stored_token(git_dir: bytes, place: Union[P2PAnnex, TorAnnex]) -> bytes | None:
    """
    What the repository with this git directory has for ``place``; `None`
    where there is none.  Reads a small file.
    """
    # All ports of an onion have one token.
    address = place.host if isinstance(place, TorAnnex) else str(place)
    path = os.path.join(git_dir, b"annex", b"creds", os.fsencode(token_file_name(address)))
    try:
        with open(path, "rb") as file:
            return file.readline().strip().lower() or None
    except OSError:
        return None
