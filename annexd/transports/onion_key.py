"""
The key of an onion service, in the files that tor itself has for one: its
directory can be taken to another host, or come from a tor that had it before.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass, field

from annexd.errors import ConfigError

_SECRET, _PUBLIC, _HOSTNAME = "hs_ed25519_secret_key", "hs_ed25519_public_key", "hostname"
_SECRET_HEAD = b"== ed25519v1-secret: type0 ==\0\0\0"
_PUBLIC_HEAD = b"== ed25519v1-public: type0 ==\0\0\0"
_ADDRESS = re.compile(r"[a-z2-7]{56}\.onion")
_LONGEST_FILE = 1024


@dataclass(frozen=True, slots=True)
class OnionKey:
    """``secret`` are the 64 bytes of an expanded Ed25519 key."""

    hostname: str
    secret: bytes = field(repr=False)

    @property
    def for_control(self) -> str:
        """As the control port takes it."""
        return f"ED25519-V3:{base64.b64encode(self.secret).decode()}"


def is_onion(hostname: str) -> bool:
    """Whether it is an address of version 3, without labels before it."""
    return _ADDRESS.fullmatch(hostname) is not None


def read_or_make(directory: str) -> OnionKey:
    """
    The key in ``directory``, which is made with a new one where there is none;
    the one above it must be there.  Raises `ConfigError`.
    """
    try:
        if not os.path.lexists(os.path.join(directory, _SECRET)):
            _make(directory)
        secret = _read(os.path.join(directory, _SECRET), _SECRET_HEAD, 64)
        return OnionKey(read_hostname(directory), secret)
    except OSError as error:
        raise ConfigError(f"{error.filename or directory}: {error.strerror}") from None


def read_hostname(directory: str) -> str:
    """The address of a service, from tor's own directory for it.  Raises `ConfigError`."""
    path = os.path.join(directory, _HOSTNAME)
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            hostname = file.read(_LONGEST_FILE).strip()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if not is_onion(hostname):
        raise ConfigError(f"{path}: there is no onion address (of version 3) in it")
    return hostname


def hostname_of(public: bytes) -> str:
    """The address that belongs to a public key of 32 bytes."""
    version = b"\x03"
    checksum = hashlib.sha3_256(b".onion checksum" + public + version).digest()[:2]
    return base64.b32encode(public + checksum + version).decode().lower() + ".onion"


def _read(path: str, head: bytes, size: int) -> bytes:
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise ConfigError(f"{path} is open to others: chmod 600")
        content = file.read(_LONGEST_FILE)
    if not content.startswith(head) or len(content) != len(head) + size:
        raise ConfigError(f"{path}: this is no key of an onion service")
    return content[len(head) :]


def _make(directory: str) -> None:
    """Whole or not at all; another process may have been first, and that is as good."""
    secret, public = _new_pair()
    above = os.path.dirname(directory)
    fresh = tempfile.mkdtemp(dir=above, prefix=".onion-")
    try:
        _write(os.path.join(fresh, _SECRET), _SECRET_HEAD + secret)
        _write(os.path.join(fresh, _PUBLIC), _PUBLIC_HEAD + public)
        _write(os.path.join(fresh, _HOSTNAME), hostname_of(public).encode() + b"\n")
        try:
            os.rename(fresh, directory)
        except OSError:
            if not os.path.lexists(os.path.join(directory, _SECRET)):
                raise
        _sync(above)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _new_pair() -> tuple[bytes, bytes]:
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    except ImportError:
        raise ConfigError(
            "a key has to be made for [listen.tor], and the Python package cryptography is not installed"
        ) from None
    key = Ed25519PrivateKey.generate()
    # RFC 8032, 5.1.5: tor keeps what is made of the seed, and not the seed.
    expanded = bytearray(hashlib.sha512(key.private_bytes_raw()).digest())
    expanded[0] &= 248
    expanded[31] = expanded[31] & 63 | 64
    return bytes(expanded), key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _write(path: str, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
