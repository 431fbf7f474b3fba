"""
Failed attempts to come in, counted by address, so that guessing costs time.

Pure: the clock is given, nothing is awaited.  Whoever refuses somebody asks
how long the answer should wait, and waits.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import Callable

FIRST_S = 0.25
LONGEST_S = 4.0
"""More would cost a guesser little, who tries in parallel, and a user with a typing error much."""

FORGOTTEN_S = 600.0
"""Without a further failure."""

MOST = 10_000
"""Addresses that are remembered; of more the one that failed least recently is forgotten."""


class Guessing:
    """
    ``seconds`` is a clock, as in ``reactor.seconds``; the delays grow from
    ``first`` to ``longest`` seconds.
    """

    def __init__(
        self,
        seconds: Callable[[], float],
        first: float = FIRST_S,
        longest: float = LONGEST_S,
        most: int = MOST,
    ) -> None:
        self._seconds = seconds
        self._first = first
        self._longest = longest
        self._most = most
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def failed(self, address: str) -> float:
        """Count a failure; the seconds that the answer to it should wait."""
        origin = origin_of(address)
        count = self.count(address) + 1
        self._failures[origin] = (count, self._seconds())
        self._failures.move_to_end(origin)
        while len(self._failures) > self._most:
            self._failures.popitem(last=False)
        return self.delay(address)

    def delay(self, address: str) -> float:
        """The same again, without counting."""
        count = self.count(address)
        return min(self._longest, self._first * 2.0 ** min(count - 1, 30)) if count else 0.0

    def count(self, address: str) -> int:
        """Failures that are not forgotten."""
        count, latest = self._failures.get(origin_of(address), (0, 0.0))
        return count if self._seconds() - latest < FORGOTTEN_S else 0

    def succeeded(self, address: str) -> None:
        """Whoever is there knows the way in."""
        self._failures.pop(origin_of(address), None)

    def __len__(self) -> int:
        return len(self._failures)


def origin_of(address: str) -> str:
    """
    What is counted as one: an IPv4 address, also one that is written as an
    IPv6 address; of other IPv6 addresses the /64, in which one peer may have
    any; anything else as it is.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(ip) >> 64 << 64, 64)))
