"""
What the SSH server offers: of what Conch has, only what is sound today.

The client's order decides, so these lists say what is possible and not what is
preferred; where a client has no opinion, the first is also the fastest.
"""

from __future__ import annotations

from twisted.conch.ssh.transport import SSHTransportBase

KEY_EXCHANGES = (
    b"mlkem768x25519-sha256",
    b"curve25519-sha256",
    b"curve25519-sha256@libssh.org",
    b"ecdh-sha2-nistp256",
    b"ecdh-sha2-nistp384",
    b"ecdh-sha2-nistp521",
)

CIPHERS = (b"aes128-ctr", b"aes256-ctr", b"aes192-ctr")
"""
With the MACs below, which are of the plain text, these are the ones that the
prefix truncation known as Terrapin does not work on.
"""

MACS = (b"hmac-sha2-256", b"hmac-sha2-512")

KEY_FORMATS = {
    b"ssh-ed25519": b"ssh-ed25519",
    b"ecdsa-sha2-nistp256": b"ecdsa-sha2-nistp256",
    b"ecdsa-sha2-nistp384": b"ecdsa-sha2-nistp384",
    b"ecdsa-sha2-nistp521": b"ecdsa-sha2-nistp521",
    b"rsa-sha2-512": b"ssh-rsa",
    b"rsa-sha2-256": b"ssh-rsa",
}
"""With what users sign, and the format of the key that it takes."""

HOST_KEY_FORMATS = (b"ssh-ed25519", b"ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp384", b"ecdsa-sha2-nistp521")

COMPRESSIONS = (b"none",)


def offered(wanted: tuple[bytes, ...], had: list[bytes]) -> list[bytes]:
    """Those of ``wanted`` that this Conch has, with this OpenSSL."""
    return [name for name in wanted if name in had]


def key_exchanges() -> list[bytes]:
    return offered(KEY_EXCHANGES, SSHTransportBase.supportedKeyExchanges)


def ciphers() -> list[bytes]:
    return offered(CIPHERS, SSHTransportBase.supportedCiphers)


def macs() -> list[bytes]:
    return offered(MACS, SSHTransportBase.supportedMACs)
