"""`nc -X 5 -x ADDRESS:PORT HOST PORT`, as netcat-openbsd has it, for machines without that."""

from __future__ import annotations

import os
import socket
import sys
import threading

_PIECE = 64 * 1024


def main(x: str, five: str, at: str, proxy: str, host: str, port: str) -> None:
    assert (x, five, at) == ("-X", "5", "-x"), sys.argv
    address, _, number = proxy.rpartition(":")
    with socket.create_connection((address, int(number))) as sock:
        name = host.encode()
        sock.sendall(b"\x05\x01\x00")
        assert _exactly(sock, 2) == b"\x05\x00"
        sock.sendall(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + int(port).to_bytes(2, "big"))
        _, code, _, kind = _exactly(sock, 4)
        if code:
            sys.exit(f"nc: SOCKS error {code}")
        _exactly(sock, {1: 4, 4: 16}[kind] + 2)
        threading.Thread(target=_send, args=(sock,), daemon=True).start()
        while data := sock.recv(_PIECE):
            os.write(1, data)


def _send(sock: socket.socket) -> None:
    while data := os.read(0, _PIECE):
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def _exactly(sock: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = sock.recv(size - len(found))
        if not more:
            sys.exit("nc: the SOCKS port hung up")
        found += more
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
