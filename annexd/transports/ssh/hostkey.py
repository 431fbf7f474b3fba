"""The key by which clients know the host again."""

from __future__ import annotations

import os
import stat

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.ssh.keys import BadKeyError, EncryptedKeyError, FingerprintFormats, Key

from annexd.errors import ConfigError
from annexd.transports.ssh.algorithms import HOST_KEY_FORMATS


def read(path: str) -> Key:
    """A private key in a file that nobody else may read.  Raises `ConfigError`."""
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigError(f"{path} is a host key that others may read: chmod 600 {path}")
            text = file.read()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    try:
        key = Key.fromString(text)  # type: ignore[no-untyped-call]
        usable = not key.isPublic() and key.sshType() in HOST_KEY_FORMATS
    except EncryptedKeyError:
        raise ConfigError(f"{path}: a host key must have no passphrase") from None
    except (BadKeyError, ValueError, TypeError, IndexError):
        raise ConfigError(f"{path} is not a private key that ssh-keygen has made") from None
    if not usable:
        raise ConfigError(f"{path}: a host key must be private, and of the type ed25519 or ecdsa")
    return key  # type: ignore[no-any-return]


def read_or_make(path: str) -> tuple[Key, bool]:
    """The key, and whether it is a new one.  Raises `ConfigError`."""
    if os.path.exists(path):
        return read(path), False
    text = Key(Ed25519PrivateKey.generate()).toString("openssh", subtype="v1", comment="annexd")  # type: ignore[no-untyped-call]
    try:
        _write(path, text)
    except OSError as error:
        raise ConfigError(f"{error.filename or path}: {error.strerror}") from None
    return read(path), True


def _write(path: str, text: bytes) -> None:
    """All of it or nothing, and never over one that is there."""
    made = f"{path}.{os.getpid()}"
    fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
        os.link(made, path)
    except FileExistsError:
        pass  # somebody else was first
    finally:
        os.unlink(made)


def fingerprint(key: Key) -> str:
    """As OpenSSH shows it when it asks whether the host is the right one."""
    shown = key.public().fingerprint(FingerprintFormats.SHA256_BASE64)  # type: ignore[no-untyped-call]
    return f"SHA256:{shown.rstrip('=')}"
