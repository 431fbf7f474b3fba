"""Connections to a peer, in use and idle."""

from __future__ import annotations

from collections.abc import Iterator

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from annexd.errors import PeerLost
from annexd.remotes.dialing import Explain
from annexd.sessions.ask import Peer
from annexd.sessions.wire import Wire


class Connection:
    """In use by one request, or idle.  What it was opened for is ``bypass``."""

    def __init__(self, wire: Wire, peer: Peer, bypass: tuple[bytes, ...], explain: Explain) -> None:
        self.wire = wire
        self.peer = peer
        self.bypass = bypass
        self.explain = explain
        self.reused = False
        self.asking = True
        """An answer is waited for, by which one can tell whether the peer lives."""
        self.lasting = False
        """In use for as long as somebody else likes, so it does not count among those that come and go."""
        self.hurried = False
        """Its deadline was shorter than the peer deserves."""
        self.probing = False
        self.changed_since: float | None = None
        """When something was stored or removed first."""
        self.idle_until = 0.0
        self._introduced = wire.last_sign

    def heard_since(self, moment: float) -> bool:
        """Has the peer done anything?  To introduce itself is no proof that it can."""
        return not self.wire.ended and self.wire.last_sign > max(moment, self._introduced)


_SETTLED_S, _SETTLED_AT_LAST_S = 5.0, 30.0
"""
git-annex's server commits its location log when the connection ends, and only
then do others than itself learn of it.  A new one costs it a process.
"""


class Idle:
    """
    Those that nobody uses; each is hung up ``seconds`` after it was used last,
    or, where the peer ``settles`` changes only then, soon after a change.
    """

    def __init__(self, clock: IReactorTime, seconds: float, settles: bool = False) -> None:
        self._clock = clock
        self.seconds = seconds
        self._settles = settles
        self._connections: list[Connection] = []  # the one that was used last is at the end
        self._sweep: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._connections)

    def take(self, bypass: tuple[bytes, ...]) -> Connection | None:
        """One that is for the same way through gateways, as far as can be seen alive."""
        for connection in reversed(self._connections):
            if connection.bypass == bypass:
                self._connections.remove(connection)
                if connection.wire.quiet:
                    connection.reused = connection.asking = True
                    connection.lasting = connection.hurried = False
                    return connection
                connection.wire.abort(PeerLost("the peer has hung up"))
                return self.take(bypass)
        return None

    def keep(self, connection: Connection) -> None:
        now = self._clock.seconds()
        connection.idle_until = self._until(connection, now)
        if connection.idle_until <= now:
            connection.wire.hang_up()
            return
        self._connections.append(connection)
        if self._sweep is not None and self._sweep.getTime() > connection.idle_until:
            self._sweep.cancel()
            self._sweep = None
        if self._sweep is None:
            self._sweep = self._clock.callLater(connection.idle_until - now, self._sweep_out)

    def _until(self, connection: Connection, now: float) -> float:
        until = now + self.seconds
        if self._settles and connection.changed_since is not None:
            return min(until, now + _SETTLED_S, connection.changed_since + _SETTLED_AT_LAST_S)
        return until

    def hang_up_oldest(self) -> None:
        self._connections.pop(0).wire.hang_up()

    def clear(self) -> list[Connection]:
        """All of them, which are kept no more."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        connections, self._connections = self._connections, []
        return connections

    def _sweep_out(self) -> None:
        self._sweep = None
        now = self._clock.seconds()
        for connection in [one for one in self._connections if one.idle_until <= now]:
            self._connections.remove(connection)
            connection.wire.hang_up()
        if self._connections:
            left = min(one.idle_until for one in self._connections) - now
            self._sweep = self._clock.callLater(left, self._sweep_out)
