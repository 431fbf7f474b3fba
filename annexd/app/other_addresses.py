"""
Whom a gateway asks for what is behind another gateway that it knows by a token.

Over ssh the one that is wanted is named.  With tokens each node and cluster
has an address and a token of its own: where the git config has a remote with
that UUID at the same peer, as ``git annex p2p --link`` makes them, its address
is used.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from annexd.client.p2p_address import AddressError, parse
from annexd.remotes.url import P2PAnnex, TorAnnex, place_of
from annexd.router.configured import Remote


def as_asked(remote: Remote, uuid: bytes, remotes: Iterable[Remote]) -> Remote:
    """``remote`` with the address that is good for ``uuid``, which it then has; else as it is."""
    peer = None if uuid == remote.uuid else _peer(remote)
    if peer is not None:
        for other in remotes:
            if other.uuid == uuid and _peer(other) == peer:
                return replace(remote, url=other.url, uuid=uuid)
    return remote


def _peer(remote: Remote) -> object:
    """The same for all addresses of one listener; `None` where tokens are of no use."""
    match place_of(remote.url, b"/", b"/"):
        case TorAnnex() as place:
            return place.onion, place.port
        case P2PAnnex("annexd", address):
            try:
                found = parse(address)
            except AddressError:
                return None
            return found.host, found.port
    return None
