"""``[listen.ssh]`` of annexd.toml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from annexd.app import values
from annexd.app.values import Parser
from annexd.transports import address
from annexd.transports.address import Address


@dataclass(frozen=True, slots=True)
class ListenSsh:
    """One of ``authorized_keys`` and ``users`` is there."""

    address: tuple[Address, ...]
    host_key: tuple[str, ...] = ()
    """Files; without any the daemon makes a key for itself."""

    authorized_keys: str | None = None
    """A file with the keys of all users."""

    users: str | None = None
    """A directory with a file for each user."""


def addresses(value: object) -> tuple[Address, ...]:
    return tuple(address.parse(text) for text in _some(value))


def paths(value: object) -> tuple[str, ...]:
    return tuple(values.path(text) for text in _some(value))


def _some(value: object) -> list[str]:
    return values.texts(value) if isinstance(value, list) else [values.text(value)]


KEYS: Mapping[str, Parser] = {
    "address": addresses,
    "host-key": paths,
    "authorized-keys": values.path,
    "users": values.path,
}
