"""
TLS by way of ``_ssl``, which is under the module ssl and takes a quarter of the time to import.

What is used of it is the same from Python 3.11 on.
"""

from __future__ import annotations

import _socket
import _ssl
import posix

from annexd.client.p2p_address import Address, fingerprint, is_literal
from annexd.client.program import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from annexd.client.git_settings import Settings

    class Stream(Protocol):
        """
        A TLS connection, ``_ssl._SSLSocket``.

        Where its socket is not to wait, SSLWantReadError and SSLWantWriteError say for what it would have.
        """

        def read(self, length: int, buffer: memoryview, /) -> int: ...
        def write(self, data: memoryview, /) -> int: ...
        def do_handshake(self) -> None: ...
        def getpeercert(self, der: bool, /) -> bytes | None: ...
        def version(self) -> str | None: ...
        def shutdown(self) -> object: ...


_CLIENT, _SERVER = 16, 17  # ssl.PROTOCOL_TLS_CLIENT and _SERVER
_TLS_1_2 = 0x0303
_IGNORE_EOF = 1 << 7  # ssl.OP_IGNORE_UNEXPECTED_EOF, which some have set
_NOT_YET, _EXPIRED, _OTHER_NAME, _OTHER_ADDRESS = 9, 10, 62, 64  # X509_V_ERR_...

CLIENT_CERTIFICATE = b"ANNEXD_CLIENT_CERTIFICATE"

# Where systems have them, for a Python whose OpenSSL looks elsewhere.
_SYSTEM_CAS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def client_context(address: Address, settings: Settings) -> _ssl._SSLContext:
    """What is trusted is what the address says; a client certificate is shown where one is set."""
    context = _context(_CLIENT)
    if address.sha256:
        context.check_hostname = False
        context.verify_mode = _ssl.CERT_NONE
    else:
        _trust_authorities(context, settings.get("caFile"))
    own = posix.environ.get(CLIENT_CERTIFICATE, b"").decode() or settings.get("clientCertificate")
    if own:
        load_own(context, own)
    return context


def _context(side: int) -> _ssl._SSLContext:
    context = _ssl._SSLContext(side)
    context.minimum_version = _TLS_1_2
    context.options &= ~_IGNORE_EOF
    return context


def server_context(own: str) -> _ssl._SSLContext:
    context = _context(_SERVER)
    load_own(context, own)
    return context


def load_own(context: _ssl._SSLContext, path: str) -> None:
    """One file in PEM with the private key and the certificate."""
    path = _expanded(path)
    try:  # without a password it would ask the terminal for one
        context.load_cert_chain(path, password=lambda: b"")
    except (OSError, ValueError) as error:
        raise Problem(f"the certificate and key in {path} cannot be used: {_strerror(error)}") from None


def connect(
    connection: _socket.socket, context: _ssl._SSLContext, address: Address, seconds: float
) -> Stream:
    """The handshake, and the check of a pinned certificate; the socket does not block afterwards."""
    name = address.server_name
    if address.sha256 and is_literal(name):
        asked = None
    else:
        asked = name
    stream = shake_hands(connection, context, asked, seconds)
    if address.sha256:
        seen = fingerprint(stream.getpeercert(True) or b"")
        if seen != address.sha256:
            raise Problem(
                f"the certificate of {address.host} port {address.port} is not the one that the address says:"
                f" it has sha256={seen}, and the address sha256={address.sha256}"
            )
    return stream


def shake_hands(
    connection: _socket.socket,
    context: _ssl._SSLContext,
    name: str | None,
    seconds: float,
    server_side: bool = False,
) -> Stream:
    connection.settimeout(seconds)
    stream: Stream = context._wrap_socket(connection, server_side, name)  # type: ignore[attr-defined]
    stream.do_handshake()
    connection.settimeout(0)
    return stream


def explained(error: OSError, address: Address, seconds: float) -> Problem:
    """Why a handshake failed, or a connection after it, in one sentence."""
    place = f"{address.host} port {address.port}"
    if isinstance(error, _ssl.SSLCertVerificationError):
        return Problem(_distrust(error, place, address.server_name))
    if isinstance(error, TimeoutError):
        return Problem(f"{place} took the connection, but speaks no TLS within {seconds:g} seconds")
    if _is_end(error):
        return Problem(f"{place} closed the connection during the handshake: is there a TLS server?")
    return Problem(alert(error, place) or f"TLS with {place} failed: {_strerror(error)}")


def _is_end(error: OSError) -> bool:
    if isinstance(error, _ssl.SSLEOFError | _ssl.SSLZeroReturnError | ConnectionError):
        return True
    return getattr(error, "reason", "") == "UNEXPECTED_EOF_WHILE_READING"


def alert(error: OSError, place: str) -> str:
    """What the reason that OpenSSL gives means to a user; empty for what is rare."""
    reason = getattr(error, "reason", None) or ""
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"):
        return f"{place} is no TLS server"
    if "PROTOCOL" in reason:
        return f"{place} has no version of TLS in common with this: 1.2 is needed at least"
    if reason.endswith("CERTIFICATE_REQUIRED"):
        return f"{place} demands a client certificate: set annexd.clientCertificate in git config"
    if "ALERT" in reason and ("CERTIFICATE" in reason or reason.endswith("UNKNOWN_CA")):
        return f"{place} does not accept the client certificate ({reason.lower()})"
    if reason.endswith("UNRECOGNIZED_NAME"):
        return f"{place} does not answer to the name that it was asked for"
    return ""


def _distrust(error: _ssl.SSLCertVerificationError, place: str, name: str) -> str:
    if error.verify_code == _EXPIRED:
        return f"the certificate of {place} has expired"
    if error.verify_code == _NOT_YET:
        return f"the certificate of {place} is not valid yet: is the clock right?"
    if error.verify_code in (_OTHER_NAME, _OTHER_ADDRESS):
        return f"the certificate of {place} is for another name than {name}"
    return (
        f"the certificate of {place} is not trusted ({error.verify_message});"
        " an address with sha256=... would trust exactly one"
    )


def _trust_authorities(context: _ssl._SSLContext, path: str) -> None:
    if path:
        path = _expanded(path)
        try:
            context.load_verify_locations(path)
        except OSError as error:
            raise Problem(f"annexd.caFile {path} cannot be used: {_strerror(error)}") from None
        return
    context.set_default_verify_paths()
    file_variable, file, directory_variable, directory = _ssl.get_default_verify_paths()
    if any(variable.encode() in posix.environ for variable in (file_variable, directory_variable)):
        return
    if not (_exists(file) or _exists(directory)):
        for path in filter(_exists, _SYSTEM_CAS):
            return context.load_verify_locations(path)


def _expanded(path: str) -> str:
    return posix.environ.get(b"HOME", b"").decode() + path[1:] if path.startswith("~/") else path


def _exists(path: str) -> bool:
    try:
        posix.stat(path)
        return True
    except OSError:
        return False


def _strerror(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
