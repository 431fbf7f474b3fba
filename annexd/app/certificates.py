"""The server's certificate, and what else a TLS handshake needs of files."""

from __future__ import annotations

import hashlib
import os
import ssl
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from annexd.app.listen import Tls
from annexd.app.self_signed import ensure
from annexd.app.state import private_directory
from annexd.errors import ConfigError
from annexd.transports import openssl
from annexd.transports.secured import Wrap, by_system

_log = Logger()

_LOOK_S = 1.0
"""Files are looked at when somebody comes, but not more often than this."""

_CIPHERS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20"
_KERNEL_TLS = 1 << 3
# SSL_OP_ENABLE_KTLS of OpenSSL 3, for which Python has a name from 3.12 on.

Stamps = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are, for the handshakes to come; ``fingerprint`` is SHA-256 of the certificate, in hex."""

    wrap: Wrap
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What the files that are ``wanted`` had in them, and when."""

    wanted: Tls
    identity: Identity
    stamps: Stamps


class Certificates:
    """
    Those in `use`, which are read again when a file has changed; what is wrong
    then leaves everything as it was.  ``state`` is where the daemon keeps its own.
    """

    def __init__(self, clock: IReactorTime, state: str) -> None:
        self._clock = clock
        self._state = state
        self._used: Reading | None = None
        self._seen: Stamps = ()
        self._looked = 0.0

    def read(self, wanted: Tls) -> Reading:
        """For `use`.  Raises `ConfigError`, and changes nothing."""
        before = self._stamps(wanted)
        identity = load(wanted, self._state)
        # There were none where they have just been made.
        return Reading(wanted, identity, self._stamps(wanted) if None in before else before)

    def use(self, read: Reading) -> None:
        self._used, self._seen, self._looked = read, read.stamps, self._clock.seconds()

    def identity(self) -> Identity:
        """As of now."""
        assert self._used is not None, "use comes first"
        if self._clock.seconds() - self._looked >= _LOOK_S:
            self._looked = self._clock.seconds()
            stamps = self._stamps(self._used.wanted)
            if stamps != self._seen:
                self._seen = stamps
                self._read_again(self._used.wanted)
        return self._used.identity

    def _read_again(self, wanted: Tls) -> None:
        try:
            self.use(self.read(wanted))
        except ConfigError as error:
            _log.error("the former certificate stays in use: {error}", error=str(error))
        else:
            _log.info("the certificate was read again")

    def _stamps(self, wanted: Tls) -> Stamps:
        files = (*certificate_files(wanted, self._state), wanted.client_ca)
        return tuple(_stamp(file) for file in files if file is not None)


def certificate_files(wanted: Tls, state: str) -> tuple[str, str]:
    """Of the certificate and of its key; annexd's own has both in one."""
    if wanted.certificate is None or wanted.key is None:
        own = os.path.join(state, "tls.pem")
        return own, own
    return wanted.certificate, wanted.key


def load(wanted: Tls, state: str) -> Identity:
    """Raises `ConfigError`, which names the file."""
    certificate, key = certificate_files(wanted, state)
    if wanted.certificate is None:
        ensure(os.path.join(private_directory(state), "tls.pem"))
    fingerprint = _fingerprint(certificate)
    context = system_context(wanted)
    _load_key(context, certificate, key)
    if wanted.client_ca is not None:
        _load_client_ca(context, wanted.client_ca, wanted.client_certificates)
    if wanted.kernel_tls:
        return Identity(by_system(context), fingerprint)
    try:
        return Identity(openssl.Context(context, certificate, key, wanted.client_ca).wrap, fingerprint)
    except ssl.SSLError as error:
        raise ConfigError(f"{certificate}: it cannot be used: {_said(error)}") from None


def check(wanted: Tls, state: str) -> None:
    """Raises `ConfigError` where `load` would, but makes nothing."""
    if wanted.certificate is not None or os.path.exists(certificate_files(wanted, state)[0]):
        load(wanted, state)
    elif wanted.client_ca is not None:
        _load_client_ca(system_context(wanted), wanted.client_ca, wanted.client_certificates)


def own_fingerprint(state: str) -> str:
    """Of annexd's own certificate, which is made where there is none.  Raises `ConfigError`."""
    path = os.path.join(private_directory(state), "tls.pem")
    ensure(path)
    return _fingerprint(path)


def system_context(wanted: Tls) -> ssl.SSLContext:
    """What is asked of peers; no file has been read yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if wanted.minimum_version == "1.2":
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS_1_2)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # Who cuts the connection off has not said goodbye.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    if wanted.kernel_tls and ssl.OPENSSL_VERSION_INFO >= (3,):
        context.options |= _KERNEL_TLS
    return context


def _fingerprint(file: str) -> str:
    try:
        with open(file, encoding="ascii", errors="replace") as opened:
            der = ssl.PEM_cert_to_DER_cert(_first_certificate(opened.read()))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"{file}: there is no certificate in it (in PEM form)") from None
    return hashlib.sha256(der).hexdigest()


def _first_certificate(text: str) -> str:
    start, end = text.index(ssl.PEM_HEADER), text.index(ssl.PEM_FOOTER)
    return text[start : end + len(ssl.PEM_FOOTER)]


def _load_key(context: ssl.SSLContext, certificate: str, key: str) -> None:
    def password() -> str:
        raise ConfigError(f"{key}: the key has a passphrase, for which annexd cannot ask")

    try:
        context.load_cert_chain(certificate, key, password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"{key}: this is not the key of {certificate}") from None
        raise ConfigError(f"{key}: the key or {certificate} cannot be used: {_said(error)}") from None
    except OSError as error:
        raise ConfigError(f"{key}: {error.strerror}") from None


def _load_client_ca(context: ssl.SSLContext, file: str, certificates: str) -> None:
    context.verify_mode = ssl.CERT_REQUIRED if certificates == "required" else ssl.CERT_OPTIONAL
    try:
        context.load_verify_locations(file)
    except ssl.SSLError as error:
        raise ConfigError(f"{file}: there is no certificate in it that can be used: {_said(error)}") from None
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None


def _said(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()


def _stamp(file: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
