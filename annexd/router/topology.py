"""
A cluster's gateways, their nodes, and the links between them, as one gateway
knows them.  Values only: `annexd.router.inference` finds them out, and
`annexd.router.routes` finds ways through them.

UUIDs are bytes, as in the git-annex branch.  A UUID may be a gateway's and a
node's at once: a gateway that holds content itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

NODE_COST = 200.0
LINK_COST = 200.0
"""Assumed of other gateways' remotes, whose costs nobody tells: what git-annex gives to one over ssh."""


@dataclass(frozen=True, slots=True)
class Attached:
    """
    A remote of this gateway that holds content.  ``name`` and ``cost`` are
    those of the git remote, ``clusters`` those that it is a node of by this
    gateway's git config; none of them when it is only proxied.
    """

    uuid: bytes
    name: str
    cost: float = NODE_COST
    clusters: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A remote of this gateway that is a gateway itself, of ``clusters``; two may lead to one gateway."""

    uuid: bytes
    name: str
    cost: float = LINK_COST
    clusters: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class Here:
    """This gateway, by its own git config. ``clusters`` are names by UUID."""

    uuid: bytes
    nodes: tuple[Attached, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    clusters: Mapping[bytes, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Link:
    """From one gateway to another, by a remote's name there; ``carries`` are the nodes named through it."""

    to: bytes
    name: str
    carries: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class Gateway:
    """
    Another gateway.  ``nodes`` are its own, with their names there, ``maybe``
    are nodes that may be its own, too, and ``proxies`` all repositories that
    can be asked for there, itself excepted.
    """

    uuid: bytes
    clusters: frozenset[bytes] = frozenset()
    nodes: Mapping[bytes, str] = field(default_factory=dict)
    maybe: frozenset[bytes] = frozenset()
    links: tuple[Link, ...] = ()
    proxies: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """
    All that is known: ``gateways`` without this one, ``members`` of clusters.
    A network never changes; what was computed from it holds for as long.
    """

    here: Here
    members: Mapping[bytes, frozenset[bytes]]
    gateways: Mapping[bytes, Gateway]


Edge = tuple[bytes, bytes]
"""From a gateway to another one, or to a node of its own."""

_NODE = b"node:"


def unwanted_node(uuid: bytes) -> bytes:
    """
    The word that keeps a gateway from using its node ``uuid``, in a list of
    gateways to bypass.  The bare UUID would not do: it bypasses a gateway that
    may be a node, too.  git-annex takes the word for a gateway that it has
    never heard of.
    """
    return _NODE + uuid


def unwanted_nodes(words: Iterable[bytes]) -> frozenset[bytes]:
    """The nodes in such a list."""
    return frozenset(word[len(_NODE) :] for word in words if word.startswith(_NODE))
