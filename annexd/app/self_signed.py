"""A certificate for a server whose clients know it by its fingerprint."""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime, timedelta

from annexd.errors import ConfigError

_NAME = "annexd"
_NO_END = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""What X.509 has for certificates that do not expire: it is good for as long as clients trust it."""


def ensure(path: str) -> None:
    """
    Where ``path`` does not exist, make a key (ECDSA, P-256) and a certificate
    and put both there, for nobody else to read.  Raises `ConfigError`.
    """
    if os.path.lexists(path):
        return
    pem = _key_and_certificate()
    try:
        _put_in_place(path, pem)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def _put_in_place(path: str, pem: bytes) -> None:
    """Whole or not at all; another process may have been first, and that is as good."""
    fd, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".tls-")
    try:
        with open(fd, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
    finally:
        os.unlink(temporary)


def _key_and_certificate() -> bytes:
    # Takes longer to import than a daemon with a certificate takes to start.
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID
    except ImportError:
        raise ConfigError(
            "a certificate has to be made for [listen.tls], and the Python package cryptography "
            "is not installed: install it, or set certificate and key"
        ) from None
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(_NO_END)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(_NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)
