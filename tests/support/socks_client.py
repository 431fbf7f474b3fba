"""A connection by a tor's SOCKS port, which is a unix socket."""

from __future__ import annotations

import socket
from pathlib import Path

_SECONDS = 60.0


def connect(path: Path, host: str, port: int, user: str) -> socket.socket:
    """Tor takes other circuits for another ``user``."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(_SECONDS)
    try:
        sock.connect(str(path))
        name, wanted = user.encode(), host.encode()
        # One by one: tor answers the last only of what comes together.
        _ask(sock, b"\x05\x01\x02", b"\x05\x02")
        _ask(sock, b"\x01" + bytes([len(name)]) + name + b"\x01x", b"\x01\x00")
        place = bytes([len(wanted)]) + wanted + port.to_bytes(2, "big")
        _ask(sock, b"\x05\x01\x00\x03" + place, b"\x05\x00")
        _, kind = _exactly(sock, 2)
        _exactly(sock, {1: 4, 4: 16}[kind] + 2)
        return sock
    except BaseException:
        sock.close()
        raise


def _ask(sock: socket.socket, question: bytes, answer: bytes) -> None:
    sock.sendall(question)
    found = _exactly(sock, len(answer))
    if found != answer:
        raise AssertionError(f"tor gave no connection: {found!r} to {question!r}")


def _exactly(sock: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = sock.recv(size - len(found))
        if not more:
            raise AssertionError(f"tor hung up after {found!r}")
        found += more
    return found
