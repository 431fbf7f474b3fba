"""
Those who have come over the network and have not said yet who they are: not
too many, and not all from one place.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from typing import Protocol

_SHARE = 4
"""From one place a fourth of all may come."""


_CIRCUITS = ipaddress.IPv6Network("fc00:dead:beef:4dad::/64")
"""What tor, with HiddenServiceExportCircuitID, writes instead of addresses that it does not know."""


def neighbourhood(address: str) -> str:
    """
    What counts as one place: of IPv6 a /64, which is what one customer has at
    least; each of tor's circuits.
    """
    parsed = ipaddress.ip_address(address) if address else None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed not in _CIRCUITS:
        return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
    return address


def plain_address(address: str) -> str:
    """IPv4 is written as such, also where it came over a socket for IPv6."""
    parsed = ipaddress.ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


def circuit(address: str) -> int | None:
    """The number of the circuit that somebody came by through tor."""
    parsed = ipaddress.ip_address(address) if address else None
    return (
        int(parsed) & 0xFFFFFFFF
        if isinstance(parsed, ipaddress.IPv6Address) and parsed in _CIRCUITS
        else None
    )


def shown(address: str, nameless: str) -> str:
    """For people; ``nameless`` is where those come from who have no address."""
    number = circuit(address)
    return f"circuit {number}" if number is not None else address or nameless


class Visitor(Protocol):
    place: str | None
    """Its `neighbourhood`; `None` where many come from in the name of others."""

    def send_away(self, reason: str) -> None: ...


class Anteroom:
    """``most`` is asked each time somebody comes."""

    def __init__(self, most: Callable[[], int]) -> None:
        self._most = most
        # In the order in which they came.
        self._visitors: dict[Visitor, str | None] = {}
        self._by_place: dict[str, dict[Visitor, None]] = {}

    def enter(self, visitor: Visitor) -> None:
        """The oldest makes room where there is none, first among those from the same place."""
        most = self._most()
        self._seat(visitor)
        neighbours = self._by_place.get(visitor.place) if visitor.place is not None else None
        if neighbours and len(neighbours) > max(1, most // _SHARE):
            self._lose(next(iter(neighbours)), "too many come from its address without saying who they are")
        while len(self._visitors) > most:
            self.make_room()

    def make_room(self) -> None:
        if self._visitors:
            self._lose(next(iter(self._visitors)), "others need its place, and it has not said who it is")

    def _lose(self, visitor: Visitor, reason: str) -> None:
        self.leave(visitor)
        visitor.send_away(reason)

    def move(self, visitor: Visitor, place: str) -> None:
        """It is known now where it comes from."""
        if visitor in self._visitors:
            self.leave(visitor)
            visitor.place = place
            self.enter(visitor)

    def leave(self, visitor: Visitor) -> None:
        """Calling it again does nothing."""
        place = self._visitors.pop(visitor, None)
        if place is not None and (neighbours := self._by_place.get(place)):
            neighbours.pop(visitor, None)
            if not neighbours:
                del self._by_place[place]

    def _seat(self, visitor: Visitor) -> None:
        self._visitors[visitor] = visitor.place
        if visitor.place is not None:
            self._by_place.setdefault(visitor.place, {})[visitor] = None

    def __iter__(self) -> Iterator[Visitor]:
        return iter(list(self._visitors))

    def __len__(self) -> int:
        return len(self._visitors)
