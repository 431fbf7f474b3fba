"""
The last moments of a socket that is closed by us: closing it with bytes unread
would reset the connection, and what was sent last could be lost with it.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred

from annexd.flow.signal import first_of
from annexd.transports.readiness import readable

_SECONDS = 1.0
_MOST = 256 * 1024
_CHUNK = 64 * 1024


def part(reactor: Any, sock: socket.socket) -> None:
    """
    Tell the peer that no more comes, throw away what it still sends until it
    has heard that, and close ``sock``; nobody waits for this.
    """
    sock.setblocking(False)
    Deferred.fromCoroutine(_part(reactor, sock))


async def _part(reactor: Any, sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_WR)
        await first_of(_drained(reactor, sock), _pause(reactor))
    except OSError:
        pass  # it is gone already
    finally:
        sock.close()


async def _drained(reactor: Any, sock: socket.socket) -> None:
    count = 0
    while count < _MOST:
        try:
            data = sock.recv(_CHUNK)
        except BlockingIOError:
            await readable(reactor, sock)
            continue
        if not data:
            return
        count += len(data)


async def _pause(reactor: Any) -> None:
    over: Deferred[None] = Deferred(lambda _: call.cancel())
    call = reactor.callLater(_SECONDS, over.callback, None)
    await over
