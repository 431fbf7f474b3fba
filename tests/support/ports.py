"""TCP ports of the loopback interface for programs under test."""

from __future__ import annotations

import socket

_HOST = "127.0.0.1"
_claims: list[socket.socket] = []
"""Bound and not listening, so that whoever connects is refused until somebody listens."""


def free_port() -> int:
    """
    One that nobody else is given while this process lives: neither another
    test that asks, nor a connection that needs some port.  Whoever sets
    SO_REUSEADDR, as servers do, can listen there, any number of times.
    """
    claim = socket.socket()
    # Not sooner, or it could be somebody else's claim.
    claim.bind((_HOST, 0))
    claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _claims.append(claim)
    port: int = claim.getsockname()[1]
    return port
