"""How long a session waits for its peer, and for what. Seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadlines:
    handshake: float = 30.0
    """From the connection to a peer that has introduced itself."""

    idle: float = 12 * 3600.0
    """Between requests.  Clients keep a session open while they hash at home, which takes hours."""

    stall: float = 300.0
    """In the middle of a request or a body, without a byte moving."""

    lock: float = 12 * 3600.0
    """A content lock held by a peer that says nothing."""

    drain: float = 60.0
    """When stopping: how long what is under way may go on."""
