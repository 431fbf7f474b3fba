"""Keys of users, as fresh as they are cheap, and a doorman who knows some."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from twisted.conch.ssh.keys import Key

from annexd.errors import Refused

ADDRESS = "192.0.2.7"


def ed25519_key() -> Key:
    return Key(ed25519.Ed25519PrivateKey.generate())


def ecdsa_key(curve: ec.EllipticCurve | None = None) -> Key:
    return Key(ec.generate_private_key(curve or ec.SECP256R1()))


@cache
def rsa_key(bits: int = 2048) -> Key:
    """Always the same one of a size: they take long to make."""
    return Key(rsa.generate_private_key(65537, bits))


def authorized(key: Key, options: str = "", comment: str = "somebody") -> bytes:
    """A line of authorized_keys."""
    line: bytes = key.public().toString("openssh", comment=comment.encode())
    return (options.encode() + b" " if options else b"") + line


@dataclass
class User:
    principal: str


class Doorman:
    """Knows the keys in ``known``, and whose they are; remembers whom it met."""

    def __init__(self) -> None:
        self.known: dict[bytes, str] = {}
        self.asked: list[tuple[bytes, str]] = []
        self.met: list[tuple[str, ...]] = []
        self.seconds = 0.0
        self.waiting: Any = None

    def know(self, key: Key, user: str) -> None:
        self.known[key.blob()] = user

    async def admit(self, login: bytes, key: bytes, address: str) -> User:
        self.asked.append((login, address))
        if self.waiting is not None:
            await self.waiting
        if key not in self.known:
            raise Refused("no key was offered that is known")
        return User(self.known[key])

    def delay(self, address: str) -> float:
        return self.seconds

    def entered(self, visitor: Any, address: str) -> None:
        self.met.append(("entered", visitor.principal, address))

    def turned_away(self, login: bytes, address: str, reason: str) -> None:
        self.met.append(("turned away", login.decode(), address, reason))


class Place(SimpleNamespace):
    """An address of a transport: ``host``."""
