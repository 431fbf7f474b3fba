"""From a socket to a TLS connection."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from typing import Any, Callable, Protocol, cast

from annexd.errors import Refused, Unavailable
from annexd.transports.readiness import readable, writable

_REASONS: Mapping[str, str] = {
    "HTTP_REQUEST": "it sent a plain HTTP request",
    "HTTPS_PROXY_REQUEST": "it sent a request for an HTTP proxy",
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    "PACKET_LENGTH_TOO_LONG": "it does not speak TLS",
    "UNKNOWN_PROTOCOL": "it does not speak TLS",
    "UNSUPPORTED_PROTOCOL": "it speaks no version of TLS that is allowed here",
    "VERSION_TOO_LOW": "it speaks no version of TLS that is allowed here",
    "NO_SHARED_CIPHER": "it knows no cipher that is allowed here",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it showed no client certificate",
    "UNEXPECTED_EOF_WHILE_READING": "it hung up during the handshake",
}


class TlsConnection(Protocol):
    """What annexd uses of an `ssl.SSLSocket` that does not block; raises the exceptions of ``ssl``."""

    def fileno(self) -> int: ...
    def detach(self) -> int: ...
    def do_handshake(self) -> None: ...
    def recv(self, most: int, /) -> bytes: ...
    def recv_into(self, buffer: memoryview, /) -> int: ...
    def send(self, data: bytes | memoryview, /) -> int:
        """All, or none yet."""

    def unwrap(self) -> object: ...
    def getpeercert(self) -> dict[str, Any] | None: ...
    def cut_off(self) -> None:
        """Whatever a thread is doing with it comes to its end."""

    def close(self) -> None: ...


class SystemConnection(ssl.SSLSocket):
    """By the OpenSSL of the system."""

    def cut_off(self) -> None:
        # Not as SSLSocket does it, which forgets what OpenSSL knows: a thread may be using that.
        socket.socket.shutdown(self, socket.SHUT_RDWR)


Wrap = Callable[[socket.socket], TlsConnection]
"""Makes the server's side of a connection of a socket, which it takes over; nothing has been said yet."""


def by_system(context: ssl.SSLContext) -> Wrap:
    return lambda sock: _wrapped(context, sock, server_side=True)


def _wrapped(context: ssl.SSLContext, sock: socket.socket, **side: Any) -> SystemConnection:
    context.sslsocket_class = SystemConnection
    connection = context.wrap_socket(sock, do_handshake_on_connect=False, suppress_ragged_eofs=False, **side)
    return cast(SystemConnection, connection)


async def secured(reactor: Any, sock: socket.socket, wrap: Wrap) -> TlsConnection:
    """
    The server's half of the handshake.  ``sock`` is non-blocking and belongs
    to this function; it is closed when there is no connection.  Raises
    `Refused` with what is wrong with the peer, as in "it ...".

    Nothing is made for a peer that says nothing: what OpenSSL wants for a
    connection is a hundred times what a socket takes.
    """
    connection: socket.socket | TlsConnection = sock
    try:
        await readable(reactor, sock)
        connection = secure = wrap(sock)
        await _shaken(reactor, secure)
        return secure
    except OSError as error:
        connection.close()
        raise Refused(_reason(error)) from None
    except BaseException:
        connection.close()
        raise


async def secured_towards(
    reactor: Any, sock: socket.socket, context: ssl.SSLContext, name: str | None
) -> SystemConnection:
    """
    The client's half, with the server called ``name``, if it is to be called
    anything.  Like `secured`, but raises `Unavailable` with a whole sentence.
    """
    connection: socket.socket = sock
    try:
        connection = secure = _wrapped(context, sock, server_hostname=name)
        await _shaken(reactor, secure)
        return secure
    except (OSError, ValueError) as error:
        connection.close()
        raise Unavailable(_distrust(error)) from None
    except BaseException:
        connection.close()
        raise


async def _shaken(reactor: Any, connection: TlsConnection) -> None:
    while True:
        try:
            connection.do_handshake()
        except ssl.SSLWantReadError:
            await readable(reactor, connection)
        except ssl.SSLWantWriteError:
            await writable(reactor, connection)
        else:
            return


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its client certificate is not accepted: {error.verify_message}"
    if not isinstance(error, ssl.SSLError):
        return "it hung up during the handshake"
    name = str(error.reason or "UNEXPECTED_EOF_WHILE_READING")
    if "ALERT" in name:
        alert = name.split("ALERT_")[-1].replace("_", " ").lower()
        return f"it does not want to go on: {alert}"
    return _REASONS.get(name) or f"the handshake failed: {name.replace('_', ' ').lower()}"


def _distrust(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not trusted: {error.verify_message}"
    if not isinstance(error, ssl.SSLError):
        return "the server hung up during the handshake"
    name = str(error.reason or "UNEXPECTED_EOF_WHILE_READING")
    if name == "UNEXPECTED_EOF_WHILE_READING":
        return "the server hung up during the handshake"
    if "ALERT" in name:
        return f"the server does not want to go on: {name.split('ALERT_')[-1].replace('_', ' ').lower()}"
    return f"the server and we do not agree on TLS: {name.replace('_', ' ').lower()}"


def common_name(connection: TlsConnection) -> str | None:
    """Of the client's certificate, which has been verified; `None` when it showed none."""
    certificate = connection.getpeercert()
    if not certificate:
        return None
    # Each part of a name is a tuple of pairs, of which there is nearly always one.
    parts: Any = certificate.get("subject", ())
    names = [value for pairs in parts for name, value in pairs if name == "commonName"]
    return names[-1] if names else ""
