"""What the router asks of whoever puts it together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from annexd.node import Node
from annexd.protocol.keys import Key


class LocationLog(Protocol):
    """The gateway's own knowledge of where keys are."""

    async def holders(self, key: Key) -> frozenset[bytes]: ...

    async def record(self, key: Key, present: Mapping[bytes, bool]) -> None:
        """Say of each of these repositories whether it has the content."""


class Wish(Enum):
    """What a repository's preferred content makes of a key."""

    WANTED = "wanted"
    UNWANTED = "not wanted"
    FULL = "full"
    """It would be wanted, if the repository had room by its maxsize."""


class Wishes(Protocol):
    async def of(
        self, key: Key, file: bytes, uuids: Sequence[bytes], holders: frozenset[bytes]
    ) -> Mapping[bytes, Wish]:
        """``file`` as in PUT (see `annexd.protocol.codec.decode_file`), may be empty."""


def _unheard(nodes: frozenset[bytes]) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Way:
    """
    One way out of this gateway: a node, or a neighbour gateway that passes the
    request on.  ``reaches`` are the nodes at its end (a plain node: itself),
    ``bypass`` what a neighbour gateway is to be told, ``cost`` the cost of the
    whole path to the nearest of them.  ``missed`` is to be told of nodes that
    were not reached by a neighbour that did answer: another way may be there.
    ``perhaps`` are further nodes that a neighbour gateway may reach.
    """

    node: Node
    reaches: frozenset[bytes]
    cost: float
    bypass: tuple[bytes, ...] = ()
    missed: Callable[[frozenset[bytes]], None] = field(default=_unheard, compare=False, repr=False)
    perhaps: frozenset[bytes] = frozenset()

    @property
    def is_gateway(self) -> bool:
        return self.node.uuid not in self.reaches


class Ways(Protocol):
    """The ways by which a cluster's nodes are reached, each node by one of them."""

    def __call__(self, bypass: tuple[bytes, ...]) -> Sequence[Way]:
        """``bypass`` is what the client said; asked anew for each request, as links come and go."""
