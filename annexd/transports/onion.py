"""What it takes to keep an onion service published: the parts that `annexd.transports.tor` plays with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Standing:
    """
    How far a service is: ``stage`` is one of ``stopped``, ``connecting``,
    ``bootstrapping`` (``percent``), ``publishing``, ``published`` (tor says
    so), ``reachable`` (it was dialled), ``waiting``; ``since`` that time of
    the clock.  ``trouble`` says what is not as it should be.
    """

    stage: str
    since: float = 0.0
    percent: int = 0
    trouble: str = ""


class Told(Protocol):
    """Hears what happens at the other end of a `Control`."""

    def progress(self, percent: int) -> None:
        """How far tor is with finding its way into the network."""

    def uploaded(self) -> None:
        """One of the directories has the service's descriptor now."""

    def lost(self, reason: str) -> None: ...

    def adrift(self, reason: str) -> None:
        """There is a network, but the service is not at it."""


class Control(Protocol):
    """A control connection, open and authenticated."""

    async def follow(self) -> None:
        """From now on who is told hears everything; first, how far tor is.  Raises `Unavailable`."""

    async def publish(self) -> None:
        """Have tor begin with the service, or begin again.  Raises `Unavailable`."""

    def close(self) -> None:
        """Nothing is told any more; tor lets go of the service."""


class Tor(Protocol):
    """Where a tor is, or how one is made."""

    async def connect(self, told: Told) -> Control:
        """Leaves nothing behind when it is cancelled.  Raises `Unavailable`."""

    async def dial(self) -> None:
        """Dial the own service, through the network.  Raises `Unavailable`."""
