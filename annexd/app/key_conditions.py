"""``from="..."`` and ``expiry-time="..."`` of authorized_keys: from where and until when. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Union

_Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
_WILD = re.compile(r"[0-9A-Fa-f:.*?]+")
_MOMENT = re.compile(r"(\d{8})(\d{4})?(\d{2})?(Z?)")


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A network, or text with ``*`` and ``?``."""

    allows: bool
    network: _Network | None
    text: re.Pattern[str] | None

    def covers(self, address: str, ip: object) -> bool:
        if self.text is not None:
            return self.text.fullmatch(address) is not None
        return self.network is not None and ip in self.network


@dataclass(frozen=True, slots=True)
class Origins:
    """One pattern has to cover the address, and none that begins with ``!`` may."""

    patterns: tuple[_Pattern, ...]

    @classmethod
    def parse(cls, value: str) -> Origins:
        """As in ``10.0.0.0/8,2001:db8::*,!10.1.*``.  Raises `ValueError` with a sentence."""
        return cls(tuple(_parse(word.strip()) for word in value.split(",")))

    def cover(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        covering = [pattern.allows for pattern in self.patterns if pattern.covers(address, ip)]
        return bool(covering) and all(covering)


def _parse(word: str) -> _Pattern:
    allows, word = not word.startswith("!"), word.removeprefix("!")
    if "/" in word:
        try:
            return _Pattern(allows, ipaddress.ip_network(word), None)
        except ValueError as error:
            raise ValueError(f"the option from has a bad network: {error}") from None
    if not _WILD.fullmatch(word):
        raise ValueError(f"the option from takes addresses here, and no names such as {word[:60]!r}")
    text = re.escape(word).replace(r"\*", ".*").replace(r"\?", ".")
    return _Pattern(allows, None, re.compile(text, re.IGNORECASE))


def expiry(value: str) -> float:
    """
    Seconds since 1970 of ``YYYYMMDD[HHMM[SS]][Z]``; without the Z in the time
    zone of the system.  Raises `ValueError` with a sentence.
    """
    found = _MOMENT.fullmatch(value)
    try:
        if found is None or (found[3] and not found[2]):
            raise ValueError
        moment = datetime.strptime(found[1] + (found[2] or "0000") + (found[3] or "00"), "%Y%m%d%H%M%S")
        return (moment.replace(tzinfo=UTC) if found[4] else moment).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"expiry-time must be YYYYMMDD[HHMM[SS]][Z], not {value[:30]!r}") from None
