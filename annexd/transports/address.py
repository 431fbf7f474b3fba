"""TCP addresses as people write them, for those who listen and for those who count peers."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

_WRITTEN = re.compile(r"(?:\[(?P<six>[^\[\]]+)\]|(?P<four>[^\[\]:]+)):(?P<port>\d{1,5})")


@dataclass(frozen=True, slots=True)
class Address:
    """
    ``host`` is an IPv4 or IPv6 address without brackets, and ``::`` every one
    of the host, IPv4 included; with port 0 the system chooses one.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(text: str) -> Address:
    """As in ``[::]:7001``, ``*:7001`` or ``127.0.0.1:7001``.  Raises `ValueError` with a sentence."""
    found = _WRITTEN.fullmatch(text)
    if found is None or int(found["port"]) > 65535:
        raise ValueError(
            f'must be an address and a port, as in "[::]:7001" or "192.0.2.7:7001", not {text!r}'
        )
    host = found["six"] or found["four"]
    if host == "*":
        return Address("::", int(found["port"]))
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
    """A peer's address as people write it: one of IPv4 as such, also where it came over a socket for IPv6."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return host
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip)
