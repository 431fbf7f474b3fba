"""The sections [listen.*] of annexd.toml: where peers come in over the network."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Union

from annexd.app import listen_tor, values
from annexd.app.lines import Where
from annexd.app.listen_tor import Tor
from annexd.app.rules import Reading
from annexd.app.values import Parser

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[0-9.]+|\*):([0-9]{1,5})")
_PUBLIC = re.compile(r"(.+):([0-9]{1,5})")
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9a-fA-F:.]+(%[A-Za-z0-9]+)?")
_LONGEST_PATH = 107


@dataclass(frozen=True, slots=True)
class Address:
    """Of a TCP socket; ``::`` stands for every address of the host, IPv4 included."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class FrontEnds:
    """Who speaks for others, with the PROXY protocol; ``unix`` is whoever comes by a unix socket."""

    networks: tuple[Network, ...] = ()
    unix: bool = False

    def include(self, address: str) -> bool:
        if not address:
            return self.unix
        return any(ipaddress.ip_address(address) in network for network in self.networks)


@dataclass(frozen=True, slots=True)
class Tls:
    address: tuple[Address, ...]
    public: Address | None = None
    certificate: str | None = None
    """With its chain; `None`: one that annexd makes for itself."""

    key: str | None = None
    client_ca: str | None = None
    client_certificates: str = "optional"
    minimum_version: str = "1.3"
    kernel_tls: bool = False
    proxy_from: FrontEnds = field(default_factory=FrontEnds)


@dataclass(frozen=True, slots=True)
class Plain:
    """For front ends on the same host that end TLS."""

    address: tuple[Union[Address, str], ...]
    """TCP addresses, and paths of unix sockets."""

    proxy_from: FrontEnds = field(default_factory=FrontEnds)


@dataclass(frozen=True, slots=True)
class Ssh:
    """One of ``authorized_keys`` and ``users`` is there."""

    address: tuple[Address, ...] = ()
    """May be empty where peers come by an onion."""

    host_key: tuple[str, ...] = ()
    """Files; without any annexd makes a key for itself."""

    authorized_keys: str | None = None
    """A file with the keys of all users."""

    users: str | None = None
    """A directory with a file for each user."""


@dataclass(frozen=True, slots=True)
class Listen:
    tls: Tls | None = None
    plain: Plain | None = None
    ssh: Ssh | None = None
    tor: Tor | None = None
    more_tor: tuple[Tor, ...] = ()
    """HiddenServiceDirs beside the first, or beside an onion of annexd's own."""

    @property
    def onions(self) -> tuple[Tor, ...]:
        return () if self.tor is None else (self.tor, *self.more_tor)


def public_address(tls: Tls) -> Address:
    """What peers are told; where nothing is said, the host's own name."""
    if tls.public is not None:
        return tls.public
    first = tls.address[0]
    everywhere = first.host in ("::", "0.0.0.0")
    return Address(socket.getfqdn() if everywhere else first.host, first.port)


def listen(reading: Reading, document: object) -> Listen:
    """What is wrong is told to ``reading``."""
    if not isinstance(document, dict):
        reading.wrong(("listen",), "listen must be a table")
        return Listen()
    found: dict[str, Any] = {}
    for name, given in document.items():
        if name not in _SECTIONS:
            reading.wrong(("listen", name), f"unknown key {name!r}; listen has {', '.join(_SECTIONS)}")
            continue
        if name == "tor" and isinstance(given, list):
            found |= _onions(reading, given)
        elif (section := _section(reading, name, ("listen", name), given)) is not None:
            found[name] = section
    made = Listen(**found)
    _check_ssh(reading, document, made)
    return made


def _section(reading: Reading, name: str, where: Where, given: object) -> Any:
    """`None` where it has been said what is wrong."""
    keys, make, needed = _SECTIONS[name]
    found = reading.table(where, given, keys, *needed)
    if not isinstance(given, dict) or len(found) < len(given) or not found.keys() >= set(needed):
        return None
    try:
        return make(found)
    except ValueError as error:
        reading.wrong(where, f"listen.{name}: {error}")
        return None


def _onions(reading: Reading, given: list[object]) -> dict[str, Any]:
    """[[listen.tor]], several times: at most one of them has the key that is annexd's own."""
    made = [_section(reading, "tor", ("listen", "tor", number), one) for number, one in enumerate(given)]
    found: list[Tor] = [tor for tor in made if tor is not None]
    found.sort(key=lambda tor: tor.hidden_service is not None)
    if sum(tor.hidden_service is None for tor in found) > 1:
        reading.wrong(("listen", "tor"), "listen.tor: of several, all but one must be with hidden-service")
    sockets = [path for tor in found for path in (tor.socket, tor.ssh_socket) if path is not None]
    if len(set(sockets)) < len(sockets):
        reading.wrong(("listen", "tor"), "listen.tor: each needs a socket of its own")
    return {"tor": found[0], "more_tor": tuple(found[1:])} if found else {}


def _check_ssh(reading: Reading, document: Mapping[str, Any], made: Listen) -> None:
    """What is wrong in itself has been told before."""
    by_onion = any(onion.ssh for onion in made.onions)
    if by_onion and "ssh" not in document:
        reading.wrong(("listen", "tor"), "listen.tor: ssh needs [listen.ssh], which says who may come")
    if made.ssh is None or made.ssh.address or by_onion:
        return
    if made.tor is not None or "tor" not in document:
        reading.wrong(("listen", "ssh"), "listen.ssh needs address, or listen.tor with ssh = true")


# --- values ----------------------------------------------------------------------


def address(value: object) -> Address:
    found = _ADDRESS.fullmatch(values.text(value))
    try:
        if found is None:
            raise ValueError
        host = "::" if found[1] == "*" else str(ipaddress.ip_address(found[1].strip("[]")))
        return Address(host, _port(found[2]))
    except ValueError:
        raise ValueError(
            f'must be an address and a port, as in "[::]:7001" or "192.0.2.7:7001", not {value!r}'
        ) from None


def public(value: object) -> Address:
    """A name or an address; IPv6 with brackets or without."""
    found = _PUBLIC.fullmatch(values.text(value))
    host = found[1].removeprefix("[").removesuffix("]") if found else ""
    try:
        if found is None or not _HOST.fullmatch(host):
            raise ValueError
        return Address(host, _port(found[2]))
    except ValueError:
        raise ValueError(
            f'must be a name or an address, and a port, as in "annex.example.org:7001", not {value!r}'
        ) from None


def place(value: object) -> Union[Address, str]:
    """For what is not encrypted: nobody but this host may get there."""
    text = values.text(value)
    if text.startswith("/"):
        path = os.path.normpath(text)
        if len(os.fsencode(path)) > _LONGEST_PATH:
            raise ValueError(f"the path of a socket may have {_LONGEST_PATH} bytes: {path!r} has more")
        return path
    found = address(value)
    if not ipaddress.ip_address(found.host).is_loopback:
        raise ValueError(
            f"{text!r} is no loopback address: without TLS everybody on the way could read the tokens; "
            "use [listen.tls] there"
        )
    return found


def networks(value: object) -> FrontEnds:
    given = values.texts(value)
    found = []
    for item in given:
        if item == "unix":
            continue
        try:
            found.append(ipaddress.ip_network(item, strict=False))
        except ValueError:
            raise ValueError(
                f'must be addresses, networks or "unix", as in ["127.0.0.1", "10.0.0.0/8"], not {item!r}'
            ) from None
    return FrontEnds(tuple(found), "unix" in given)


def one_or_more(parse: Parser) -> Parser:
    def read(value: object) -> Any:
        if isinstance(value, list) and not value:
            raise ValueError("must not be empty")
        return tuple(map(parse, value)) if isinstance(value, list) else (parse(value),)

    return read


def _port(digits: str) -> int:
    port = int(digits)
    if port > 65535:
        raise ValueError
    return port


# --- sections --------------------------------------------------------------------


def _tls(found: dict[str, Any]) -> Tls:
    if ("certificate" in found) != ("key" in found):
        raise ValueError("certificate and key are set together, or neither is")
    if "client_certificates" in found and "client_ca" not in found:
        raise ValueError("client-certificates needs client-ca, which says whose certificates these are")
    return Tls(**found)


def _plain(found: dict[str, Any]) -> Plain:
    return Plain(**found)


def _ssh(found: dict[str, Any]) -> Ssh:
    if ("authorized_keys" in found) == ("users" in found):
        raise ValueError("one of authorized-keys and users is needed, and not both")
    return Ssh(**found)


_TLS: Mapping[str, Parser] = {
    "address": one_or_more(address),
    "public": public,
    "certificate": values.path,
    "key": values.path,
    "client-ca": values.path,
    "client-certificates": values.one_of("optional", "required"),
    "minimum-version": values.one_of("1.2", "1.3"),
    "kernel-tls": values.boolean,
    "proxy-from": networks,
}
_PLAIN: Mapping[str, Parser] = {"address": one_or_more(place), "proxy-from": networks}
_SSH: Mapping[str, Parser] = {
    "address": one_or_more(address),
    "host-key": one_or_more(values.path),
    "authorized-keys": values.path,
    "users": values.path,
}

# What is in each, what is made of that, and what must not be missing.
_SECTIONS: Mapping[str, tuple[Mapping[str, Parser], Callable[[dict[str, Any]], Any], tuple[str, ...]]] = {
    "tls": (_TLS, _tls, ("address",)),
    "plain": (_PLAIN, _plain, ("address",)),
    "ssh": (_SSH, _ssh, ()),
    "tor": (listen_tor.KEYS, listen_tor.tor, ()),
}
