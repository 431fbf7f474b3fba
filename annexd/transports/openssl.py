"""
The server's side of TLS by the OpenSSL that `cryptography` brings, with pyOpenSSL.

It is mostly newer than the system's, which Python's ``ssl`` uses, and may
decrypt twice as fast on the processors of today.  What it has not got is TLS in
the kernel.  `Connection` is like an `ssl.SSLSocket` as far as annexd uses it,
and raises the exceptions of ``ssl``.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import Any, Callable, NoReturn

from cryptography.x509.oid import NameOID
from OpenSSL import SSL

_PARTIAL_WRITE = 1  # SSL_MODE_ENABLE_PARTIAL_WRITE: one record a call, instead of all there are

_SUITES_1_3 = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
"""First the one that every peer has to have, and with which both sides are fastest."""

_SESSION_ID_CONTEXT = b"annexd"

_VERIFY = {
    ssl.CERT_NONE: SSL.VERIFY_NONE,
    ssl.CERT_OPTIONAL: SSL.VERIFY_PEER,
    ssl.CERT_REQUIRED: SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
}

Read = Callable[[memoryview], int]


class Context:
    """
    Asks of peers what ``like`` asks of them, with the files that were read into
    that.  Raises `ssl.SSLError` where this OpenSSL does not like one of them.
    """

    def __init__(self, like: ssl.SSLContext, certificate: str, key: str, client_ca: str | None) -> None:
        self._context = context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(int(like.minimum_version))
        context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE)
        context.set_tls13_ciphersuites(_SUITES_1_3)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.clear_mode(_PARTIAL_WRITE)
        # Without it, nobody who shows a certificate can resume a session.
        context.set_session_id(_SESSION_ID_CONTEXT)
        context.set_verify(_VERIFY[like.verify_mode], _remember)
        try:
            if like.minimum_version < ssl.TLSVersion.TLSv1_3:
                context.set_cipher_list(":".join(cipher["name"] for cipher in like.get_ciphers()).encode())
            context.use_certificate_chain_file(certificate)
            context.use_privatekey_file(key)
            if client_ca is not None:
                context.load_verify_locations(client_ca)
        except SSL.Error as error:
            raise _translated(error) from None

    def wrap(self, sock: socket.socket) -> Connection:
        """Nothing has been said yet.  The connection has the socket's descriptor from now on."""
        return Connection(SSL.Connection(self._context, sock), socket.socket(fileno=sock.detach()))


class _Forgotten:
    def __getattr__(self, name: str) -> NoReturn:
        raise OSError(errno.EBADF, "the connection is closed")


_FORGOTTEN: Any = _Forgotten()


class Connection:
    """Does not block, as the socket does not; only one thread at a time may use it."""

    def __init__(self, connection: SSL.Connection, sock: socket.socket) -> None:
        self._connection = connection
        self._socket = sock
        self._read: Read | None = None
        connection.set_accept_state()

    def do_handshake(self) -> None:
        try:
            self._connection.do_handshake()
        except SSL.Error as error:
            self._fail(error)

    def recv(self, most: int) -> bytes:
        """Of one record; nothing when the peer has said close_notify."""
        try:
            return self._connection.recv(most)
        except SSL.ZeroReturnError:
            return b""
        except SSL.Error as error:
            self._fail(error)

    def recv_into(self, buffer: memoryview) -> int:
        """The same, of as many records as there are."""
        if self._read is None:
            self._read = reader(self._connection)
        try:
            return self._read(buffer)
        except SSL.ZeroReturnError:
            return 0
        except SSL.Error as error:
            self._fail(error)

    def send(self, data: bytes | memoryview) -> int:
        """All of it, or it raises and is to be given the same, or more, again."""
        try:
            return self._connection.send(data)
        except SSL.Error as error:
            self._fail(error)

    def unwrap(self) -> None:
        """Say close_notify."""
        try:
            self._connection.shutdown()
        except SSL.Error as error:
            self._fail(error)

    def getpeercert(self) -> dict[str, Any]:
        """Who the peer's certificate names, in the form of ``ssl``; empty when it has shown none."""
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            return {}
        try:
            names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        except ValueError:
            return {"subject": ()}  # an authority that signs what cannot be read has named nobody
        return {"subject": tuple((("commonName", name.value),) for name in names)}

    def fileno(self) -> int:
        return self._socket.fileno()

    def detach(self) -> int:
        self._forget()
        return self._socket.detach()

    def cut_off(self) -> None:
        """Whatever a thread is doing with it comes to its end."""
        self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._forget()
        self._socket.close()

    def _forget(self) -> None:
        """OpenSSL knows the descriptor, which may soon be somebody else's."""
        self._connection, self._read = _FORGOTTEN, None

    def _fail(self, error: SSL.Error) -> NoReturn:
        raise _translated(error, self._connection.get_app_data()) from None


def reader(connection: SSL.Connection) -> Read:
    """
    pyOpenSSL's own `recv_into` has OpenSSL read into other memory, copies it,
    and does so for each record; so OpenSSL itself is asked, for all that there
    is, where pyOpenSSL lets it be seen.
    """
    try:
        handle, fail = connection._ssl, connection._raise_ssl_error
        read, from_buffer = SSL._lib.SSL_read, SSL._ffi.from_buffer  # type: ignore[attr-defined]
    except AttributeError:
        return connection.recv_into
    ends: list[SSL.Error] = []  # behind the bytes that were read last

    def into(buffer: memoryview) -> int:
        if ends:
            raise ends.pop()
        start, size, done = from_buffer(buffer), len(buffer), 0
        while done < size:
            count = read(handle, start + done, size - done)
            if count <= 0:
                try:
                    fail(handle, count)
                except SSL.Error as error:
                    if not done:
                        raise
                    if not isinstance(error, SSL.WantReadError):
                        ends.append(error)
                    break
            done += count
        return done

    return into


def _remember(connection: SSL.Connection, _: object, number: int, __: int, good: int) -> bool:
    """What is wrong with the peer's certificate."""
    if not good:
        connection.set_app_data(_meaning(number))
    return bool(good)


def _meaning(number: int) -> str:
    """Of one of OpenSSL's X509_V_ERR."""
    try:
        text: bytes = SSL._ffi.string(SSL._lib.X509_verify_cert_error_string(number))  # type: ignore[attr-defined]
    except AttributeError:
        return f"error {number} of OpenSSL"
    return text.decode("utf-8", "replace")


def _translated(error: SSL.Error, distrust: str | None = None) -> OSError:
    """What ``ssl`` would raise; ``distrust`` is what is wrong with the peer's certificate."""
    if isinstance(error, SSL.WantReadError):
        return ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "there is nothing to read")
    if isinstance(error, SSL.WantWriteError):
        return ssl.SSLWantWriteError(ssl.SSL_ERROR_WANT_WRITE, "there is no room to write")
    if isinstance(error, SSL.SysCallError) and error.args[0] > 0:
        return OSError(error.args[0], os.strerror(error.args[0]))
    if isinstance(error, (SSL.SysCallError, SSL.ZeroReturnError)):
        return _because(ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the peer has ended the connection"), None)
    # As many as OpenSSL had to say about it, each with the names of library and function.
    reasons = [reason for _, _, reason in (error.args or ([],))[0]]
    reason = reasons[0] if reasons else "unknown error"
    if distrust is None:
        return _because(ssl.SSLError(ssl.SSL_ERROR_SSL, reason), reason)
    distrusted = ssl.SSLCertVerificationError(ssl.SSL_ERROR_SSL, reason)
    distrusted.verify_message = distrust
    return _because(distrusted, reason)


def _because(error: ssl.SSLError, reason: str | None) -> ssl.SSLError:
    """With the name that ``ssl`` has for it."""
    error.reason = reason and reason.upper().replace(" ", "_")  # type: ignore[assignment]
    return error
