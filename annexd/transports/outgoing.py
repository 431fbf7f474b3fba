"""TCP connections to hosts, without waiting for any of it in the reactor."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.threads import deferToThreadPool

from annexd.errors import Unavailable
from annexd.transports.readiness import writable

_EACH_S = 5.0
"""For an address that says nothing, while there are others."""

_KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 30), ("TCP_KEEPCNT", 4))
"""A peer that vanished is noticed within three minutes, also while nothing is to be sent."""

_Address = tuple[int, tuple[Any, ...]]


async def connected(reactor: Any, host: str, port: int) -> socket.socket:
    """
    A non-blocking socket; the addresses of ``host`` are tried in turn.  Raises
    `Unavailable` with what went wrong at each.  There is no deadline for the
    last of them, but it may be cancelled.
    """
    failures: list[str] = []
    addresses = await _look_up(reactor, host, port)
    for number, address in enumerate(addresses):
        attempt = Deferred.fromCoroutine(_attempt(reactor, address))
        if number + 1 < len(addresses):
            attempt.addTimeout(_EACH_S, reactor)
        try:
            return await attempt
        except TimeoutError:
            failures.append(f"no answer from {address[1][0]} within {_EACH_S:g} seconds")
        except OSError as error:
            failures.append(_reason(error, port))
    raise Unavailable(f"cannot connect to {host}: {', '.join(dict.fromkeys(failures))}")


async def _look_up(reactor: Any, host: str, port: int) -> list[_Address]:
    try:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except socket.gaierror:
            pool = reactor.getThreadPool()
            found = await deferToThreadPool(
                reactor, pool, socket.getaddrinfo, host, port, type=socket.SOCK_STREAM
            )
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "that is no name"
        raise Unavailable(f"the name {host} cannot be looked up: {why}") from None
    return [(family, target) for family, _, _, _, target in found]


async def _attempt(reactor: Any, address: _Address) -> socket.socket:
    family, target = address
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setblocking(False)
        code = sock.connect_ex(target)
        if code == errno.EINPROGRESS:
            await writable(reactor, sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        _settle(sock)
        return sock
    except BaseException:
        sock.close()
        raise


def _settle(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _reason(error: OSError, port: int) -> str:
    if error.errno == errno.ECONNREFUSED:
        return f"nothing listens on port {port}"
    return f"{(error.strerror or str(error)).lower()} (port {port})"
