"""
Connections on loan: a thread has one direction of a connection to itself while
it moves a body, so that the reactor is not held up by bytes in bulk.

A thread is borrowed only while bytes move fast: when the peer has none to
give, or no room to take any, the turn ends and the reactor waits, unless the
peer has been so fast until then that it will surely go on at once.  So neither
a stalled peer nor many slow ones keep the threads from those who could use
them, and a turn's length bounds how long a thread is out of reach: a short one
where others wait for a thread, else one that is long enough that its beginning
and end cost nothing.
"""

from __future__ import annotations

import enum
import select
import time
from typing import Protocol, runtime_checkable

from annexd.flow.body import FileSink
from annexd.flow.workers import Pool

TURN_S = 0.5
_LONGEST_TURN_S = 2.0
"""Less than what threads that are to end are given for it."""

_PATIENCE_S = 0.02
"""How long a turn waits for a fast peer before it gives the thread back: more than a scheduling hiccup."""

_FAST = 32e6
"""
Bytes per second, on average since the turn began, that are worth waiting for.
Slower peers have all the threads to themselves only when they move as many
times this together, which is more than they get through most networks.
"""


class Turn(enum.Enum):
    """Why a turn has ended."""

    OVER = enum.auto()
    """Time to let others have the thread."""

    IDLE = enum.auto()
    """The peer gives or takes nothing at the moment."""

    ENDED = enum.auto()
    """The peer, or the file, has come to its end."""


class Lent(Protocol):
    """
    What a transport lends: one direction of its connection, never blocking.
    ``receive`` and ``send`` are turns for a thread, one at a time; they tell
    how many bytes have moved, and raise `PeerLost`.
    """

    def receive(self, sink: FileSink, most: int) -> tuple[int, Turn]:
        """Read up to ``most`` bytes into a file."""

    def send(self, file: int, offset: int, most: int) -> tuple[int, Turn]:
        """
        Send up to ``most`` bytes of ``file`` from ``offset`` on.  Raises
        `OSError` when it cannot be read, and has sent nothing then.
        """

    def give_back(self) -> None:
        """No thread uses it any more."""


class Loan(Protocol):
    """The same in the hands of whoever moves the body, outside of the thread."""

    lent: Lent
    leftover: bytes
    """What the transport had read already when it was borrowed."""

    async def ready(self) -> None:
        """Wait until bytes can move, behind what was written before.  Raises `PeerLost`."""

    def check(self) -> None:
        """Raise `PeerLost` when the connection has been given up."""

    def give_back(self) -> None: ...


@runtime_checkable
class Lender(Protocol):
    """The end of a connection that may be lent."""

    def borrow(self) -> Loan | None:
        """`None`: not this one; the bytes go the way of all others."""


@runtime_checkable
class LentSource(Lender, Protocol):
    """The same for what comes: ``remaining`` bytes of the input may be read."""

    remaining: int


def is_over(began: float, pool: Pool | None = None) -> bool:
    """Whether the turn has lasted long enough; ``pool`` is what its thread is of, where a long one pays."""
    lasted = time.monotonic() - began
    if lasted < TURN_S:
        return False
    return pool is None or pool.crowded or lasted > _LONGEST_TURN_S


def wait_a_little(fd: int, event: int, moved: int, began: float) -> bool:
    """
    Whether the peer gives or takes more at once; ``event`` is POLLIN or
    POLLOUT.  ``moved`` bytes went by in this turn.
    """
    patience = min(_PATIENCE_S, moved / _FAST - (time.monotonic() - began))
    if patience <= 0:
        return False
    poll = select.poll()
    poll.register(fd, event)
    return bool(poll.poll(patience * 1000))
