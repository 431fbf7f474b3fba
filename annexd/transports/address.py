"""TCP addresses as people write them, for those who listen and for those who count peers."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

_WRITTEN = re.compile(r"(?:\[(?P<six>[^\[\]]+)\]|(?P<four>[^\[\]:]+)):(?P<port>\d{1,5})")


@dataclass(frozen=True, slots=True)
class Address:
    """``host`` is an IPv4 or IPv6 address without brackets; with port 0 the system chooses one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(text: str) -> Address:
    """As in ``[::]:2222`` or ``127.0.0.1:2222``.  Raises `ValueError` with a sentence."""
    found = _WRITTEN.fullmatch(text)
    if found is None or int(found["port"]) > 65535:
        raise ValueError(
            f'must be an address and a port, as in "[::]:2222" or "127.0.0.1:2222", not {text!r}'
        )
    host = found["six"] or found["four"]
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        ip = None
    if ip is None or (ip.version == 6) != (found["six"] is not None):
        raise ValueError(
            f"{host!r} is no address to listen on: it must be a number, with brackets if it is IPv6"
        )
    return Address(host, int(found["port"]))


def plain_host(host: str) -> str:
    """A peer's address as everybody writes it: one of IPv4 without what an IPv6 socket puts before it."""
    mapped = host.lower().removeprefix("::ffff:")
    return mapped if mapped != host.lower() and "." in mapped else host
