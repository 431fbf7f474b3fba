"""[listen.tor] of annexd.toml: annexd as an onion service."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from annexd.app import values
from annexd.app.values import Parser
from annexd.transports.onion_key import is_onion

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[0-9.]+):([0-9]{1,5})")
_CLIENT = re.compile(r"(descriptor:x25519:)?([A-Za-z2-7]{52})")
_PORT = 7001
SSH_PORT = 22
LONGEST_PATH = 107
"""sun_path has 108 bytes, one of them for the NUL."""


@dataclass(frozen=True, slots=True)
class Tor:
    """One of ``control``, ``launch`` and ``hidden_service`` is there: by which tor."""

    control: str | None = None
    """The control port of one that runs: the path of a unix socket, or ADDRESS:PORT."""

    password_file: str | None = None
    socks: str = "127.0.0.1:9050"
    launch: str | None = None
    """The program."""

    torrc: str | None = None
    hidden_service: str | None = None
    """A HiddenServiceDir of a tor that is none of our business."""

    hostname: str | None = None
    circuit_ids: bool = False
    port: int = _PORT
    socket: str | None = None
    ssh: bool = False
    """Whether [listen.ssh] is there, too, at the port 22."""

    ssh_socket: str | None = None
    clients: tuple[str, ...] = ()
    proof_of_work: bool = False
    self_check: float | None = None


def checked_path(path: str) -> str:
    """Of a unix socket that tor is to find.  Raises `ValueError`."""
    length = len(os.fsencode(path))
    if length > LONGEST_PATH:
        raise ValueError(f"the path of a socket may have {LONGEST_PATH} bytes, and {path} has {length}")
    if re.search(r"[\s\"',\\]", path):
        raise ValueError(f"tor takes no path with spaces, quotes or commas: {path!r}")
    return path


# --- values ----------------------------------------------------------------------


def _socket(value: object) -> str:
    return checked_path(values.path(value))


def socket_or_port(value: object) -> str:
    """A path, or a loopback address and a port."""
    text = values.text(value)
    if text.startswith(("/", "~")):
        return _socket(text)
    found = _ADDRESS.fullmatch(text)
    try:
        if found is None or not 0 < int(found[2]) < 65536:
            raise ValueError
        ipaddress.ip_address(found[1].strip("[]"))
    except ValueError:
        raise ValueError(
            f'must be a path, or an address and a port, as in "127.0.0.1:9051", not {value!r}'
        ) from None
    return text


def _hostname(value: object) -> str:
    text = values.text(value).lower()
    if not is_onion(text):
        raise ValueError(f"must be an onion address (of version 3), not {value!r}")
    return text


def _clients(value: object) -> tuple[str, ...]:
    found = []
    for text in values.texts(value):
        match = _CLIENT.fullmatch(text)
        if match is None:
            raise ValueError(f"must be public x25519 keys in base32, of 52 characters each, not {text!r}")
        found.append(match[2].upper())
    return tuple(found)


# --- the section -----------------------------------------------------------------

_ONLY_WITH = {
    "password_file": "control",
    "socks": "control",
    "torrc": "launch",
    "hostname": "hidden_service",
    "circuit_ids": "hidden_service",
}
_NOT_WITH_A_DIRECTORY = ("clients", "proof_of_work", "self_check")


def tor(found: dict[str, Any]) -> Tor:
    """Raises `ValueError`."""
    ways = [name for name in ("control", "launch", "hidden_service") if name in found]
    if len(ways) != 1:
        raise ValueError("one of control, launch and hidden-service is needed, and not more: by which tor")
    for name, way in _ONLY_WITH.items():
        if name in found and way not in found:
            raise ValueError(f"{_spelt(name)} goes with {_spelt(way)} only")
    if "hidden_service" in found:
        for name in ("socket", "port"):
            if name not in found:
                raise ValueError(f"hidden-service needs {name}, as in the HiddenServicePort of that tor")
        for name in _NOT_WITH_A_DIRECTORY:
            if name in found:
                raise ValueError(f"{_spelt(name)} does not go with hidden-service: its tor sees to that")
        if found.get("ssh") and "ssh_socket" not in found:
            raise ValueError(f"ssh needs ssh-socket, as in the HiddenServicePort {SSH_PORT} of that tor")
    if "ssh_socket" in found and not found.get("ssh"):
        raise ValueError("ssh-socket goes with ssh = true only")
    if found.get("ssh") and found.get("port") == SSH_PORT:
        raise ValueError(f"ssh has the port {SSH_PORT}, so another one is needed for all else")
    if "clients" in found and "self_check" in found:
        raise ValueError("self-check does not go with clients: annexd is none of them")
    return Tor(**found)


def _spelt(name: str) -> str:
    return name.replace("_", "-")


KEYS: Mapping[str, Parser] = {
    "control": socket_or_port,
    "password-file": values.path,
    "socks": socket_or_port,
    "launch": values.text,
    "torrc": values.path,
    "hidden-service": values.path,
    "hostname": _hostname,
    "circuit-ids": values.boolean,
    "port": values.whole(1, 65535),
    "socket": _socket,
    "ssh": values.boolean,
    "ssh-socket": _socket,
    "clients": _clients,
    "proof-of-work": values.boolean,
    "self-check": values.duration(above=0),
}
