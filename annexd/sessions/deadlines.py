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


@dataclass(frozen=True, slots=True)
class Patience:
    """The same for whoever asks a peer.  Seconds."""

    connect: float = 15.0
    """Until there is a connection, and both sides have introduced themselves."""

    answer: float = 30.0
    """For a reply, and for a connection when all are in use."""

    stall: float = 30.0
    """In the middle of a body, without a byte moving."""

    hashing: float = 25e6
    """Bytes per second at which a peer may read again what it got, before it says what it makes of it."""

    idle: float = 60.0
    """A connection that nobody uses is kept for so long."""

    lasting: float = 12 * 3600.0
    """A question that is answered when something happens."""

    def commit(self, size: int) -> float:
        """For the result of an upload, of ``size`` bytes with all that was there before."""
        return self.answer + size / self.hashing

    @property
    def deadlines(self) -> Deadlines:
        """Of a wire to the peer."""
        return Deadlines(handshake=self.connect, idle=self.lasting, stall=self.stall, lock=self.lasting)
