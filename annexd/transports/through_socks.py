"""A connection through a SOCKS port that others go on with (RFC 1928, RFC 1929)."""

from __future__ import annotations

import os
import socket
from typing import Any

from annexd.errors import Unavailable
from annexd.transports.outgoing import connected
from annexd.transports.readiness import readable, writable
from annexd.transports.socks import reason

_BY_PASSWORD = b"\x05\x01\x02"
_CONNECT_TO_NAME = b"\x05\x01\x00\x03"
_NAME, _IPV4, _IPV6 = 3, 1, 4
_ADDRESS_SIZES = {_IPV4: 4, _IPV6: 16}


async def connected_through(
    reactor: Any, socks: str, host: str, port: int, isolation: tuple[str, str]
) -> socket.socket:
    """
    A non-blocking socket.  ``socks`` is the path of a unix socket, or
    ADDRESS:PORT; ``host`` is a name that is looked up there.  ``isolation``
    are a user and a password: tor takes any, and gives those with others
    other circuits.  There is no deadline, but it may be cancelled.  Raises
    `Unavailable`.
    """
    sock = await _connected(reactor, socks)
    try:
        user, password = (word.encode("utf-8", "surrogateescape")[:255] for word in isolation)
        await _say(reactor, sock, _BY_PASSWORD)
        if (await _heard(reactor, sock, 2))[1] != 2:
            raise Unavailable(f"the SOCKS port {socks} is not tor's: it takes no user names")
        await _say(reactor, sock, b"\x01" + _counted(user) + _counted(password))
        if (await _heard(reactor, sock, 2))[1] != 0:
            raise Unavailable(f"the SOCKS port {socks} is not for us")
        await _say(reactor, sock, _CONNECT_TO_NAME + _counted(host.encode("ascii")) + port.to_bytes(2, "big"))
        await _answered(reactor, sock)
        return sock
    except BaseException:
        sock.close()
        raise


async def _answered(reactor: Any, sock: socket.socket) -> None:
    """The whole answer is taken, and nothing of what comes behind it."""
    _, code, _, kind = await _heard(reactor, sock, 4)
    if code:
        raise Unavailable(reason(code))
    size = _ADDRESS_SIZES.get(kind)
    if size is None:
        if kind != _NAME:
            raise Unavailable("the SOCKS port makes no sense")
        [size] = await _heard(reactor, sock, 1)
    await _heard(reactor, sock, size + 2)


async def _connected(reactor: Any, socks: str) -> socket.socket:
    if not socks.startswith("/"):
        host, _, port = socks.rpartition(":")
        return await connected(reactor, host.strip("[]"), int(port))
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setblocking(False)
        sock.connect(socks)
    except OSError as error:
        sock.close()
        raise Unavailable(
            f"tor is not at {socks}: {error.strerror or os.strerror(error.errno or 0)}"
        ) from None
    return sock


async def _say(reactor: Any, sock: socket.socket, data: bytes) -> None:
    while data:
        try:
            data = data[sock.send(data) :]
        except BlockingIOError:
            await writable(reactor, sock)
        except OSError as error:
            raise Unavailable(f"the SOCKS port hung up: {error.strerror}") from None


async def _heard(reactor: Any, sock: socket.socket, count: int) -> bytes:
    heard = b""
    while len(heard) < count:
        try:
            data = sock.recv(count - len(heard))
        except BlockingIOError:
            await readable(reactor, sock)
            continue
        except OSError:
            data = b""
        if not data:
            raise Unavailable("the SOCKS port hung up")
        heard += data
    return heard


def _counted(word: bytes) -> bytes:
    return bytes([len(word)]) + word
