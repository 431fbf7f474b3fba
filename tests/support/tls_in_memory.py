"""The other end of a TLS connection, in memory: what it says can be cut as one likes."""

from __future__ import annotations

import os
import socket
import ssl
import tempfile
from functools import cache

from annexd.app.self_signed import ensure
from annexd.transports.openssl import Context
from annexd.transports.secured import Wrap, by_system

SYSTEM, OWN = "system", "own"
"""Whose OpenSSL serves."""


@cache
def server(openssl: str = SYSTEM, oldest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> Wrap:
    """With a certificate of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = oldest
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    with tempfile.TemporaryDirectory() as directory:
        pem = os.path.join(directory, "tls.pem")
        ensure(pem)
        context.load_cert_chain(pem)
        return by_system(context) if openssl == SYSTEM else Context(context, pem, pem, None).wrap


def client_context() -> ssl.SSLContext:
    """Trusts everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Peer:
    """A client at one end of a pair of sockets; nothing it does waits."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext | None = None) -> None:
        self.socket = sock
        sock.setblocking(False)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = (context or client_context()).wrap_bio(self._incoming, self._outgoing)
        self.ended = False
        """The other end has said close_notify."""

    def shake(self) -> bool:
        """Go on with the handshake; whether it is complete."""
        self._hear()
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self.flush()
        return True

    def said(self, data: bytes) -> bytes:
        """What goes over the wire when this is said; the caller has to send it."""
        self.tls.write(data)
        return self._outgoing.read()

    def say(self, data: bytes) -> None:
        self.tls.write(data)
        self.flush()

    def bid_farewell(self) -> None:
        """close_notify."""
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass
        self.flush()

    def flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self.socket.sendall(data)

    def take(self) -> bytes:
        """All that has been said to it."""
        self._hear()
        got = b""
        while True:
            try:
                piece = self.tls.read(1 << 16)
            except ssl.SSLWantReadError:
                return got
            except ssl.SSLZeroReturnError:
                piece = b""
            if not piece:
                self.ended = True
                return got
            got += piece

    def _hear(self) -> None:
        while True:
            try:
                data = self.socket.recv(1 << 16)
            except BlockingIOError:
                return
            if not data:
                return
            self._incoming.write(data)
