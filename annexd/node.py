"""
A place where keys live, as a gateway knows it: what it is called, what it
costs to reach it, and how it fares.  Interfaces and values only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from annexd.store import Caller, Store


class Health(Enum):
    """The values are what users read."""

    UP = "up"
    SLOW = "slow"
    """It answers, but has let a deadline pass not long ago; others are asked before it."""

    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Condition:
    """
    How a node fares, by what its sessions have seen.  ``since`` is the time of
    day, in seconds, from which on it has been so, and ``reason`` a sentence
    that says why it is not up.
    """

    health: Health = Health.UP
    since: float = 0.0
    reason: str = ""
    busy: int = 0
    """Transfers under way, of all sessions."""

    latency_s: float | None = None
    """Of a small question, smoothed; `None` where nothing was measured yet."""

    bytes_per_s: float | None = None
    """Of a transfer, smoothed."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """Seconds that a node is to be given, whatever others are given."""

    answer: float
    """For an answer, a connection included."""

    progress: float
    """In the middle of content, without a piece of it moving."""


class Node(Protocol):
    """
    A node of a cluster, a proxied repository, or a neighbour gateway (whose
    ``uuid`` is then the one that is asked for there).  One object for all
    sessions; what it knows of the node's health is common to them.
    """

    @property
    def uuid(self) -> bytes: ...

    @property
    def name(self) -> str:
        """As in ``git remote``."""

    @property
    def cost(self) -> float:
        """As git-annex counts it: what is lower is used first."""

    @property
    def is_local(self) -> bool:
        """On a disk of this machine: a small question takes microseconds."""

    @property
    def allowance(self) -> Allowance | None:
        """`None` where what all are given will do."""

    @property
    def condition(self) -> Condition: ...

    def store(self, caller: Caller) -> Store:
        """
        A view for one session; opens nothing before it is used, and may be
        used for several requests at once.  Its methods raise `Unavailable`,
        within the node's deadline, when the node cannot be reached or does not
        answer; once it is known to be down they do so at once, until it is
        time to try again.  ``caller.bypass`` is passed on to gateways.
        """

    def close(self) -> None:
        """Nobody will use it any more: end its connections, whatever they are in use for."""
