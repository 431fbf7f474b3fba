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
        name = user.encode()
        sock.sendall(b"\x05\x01\x02\x01" + bytes([len(name)]) + name + b"\x01x")
        wanted = host.encode()
        sock.sendall(b"\x05\x01\x00\x03" + bytes([len(wanted)]) + wanted + port.to_bytes(2, "big"))
        answer = _exactly(sock, 4 + 10)
        if answer[:4] != b"\x05\x02\x01\x00" or answer[4:6] != b"\x05\x00":
            raise AssertionError(f"tor gave no connection: {answer!r}")
        return sock
    except BaseException:
        sock.close()
        raise


def _exactly(sock: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = sock.recv(size - len(found))
        if not more:
            raise AssertionError(f"tor hung up after {found!r}")
        found += more
    return found
