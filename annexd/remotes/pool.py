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
        self.idle_since = 0.0
        self._introduced = wire.last_sign

    def heard_since(self, moment: float) -> bool:
        """Has the peer done anything?  To introduce itself is no proof that it can."""
        return not self.wire.ended and self.wire.last_sign > max(moment, self._introduced)


class Idle:
    """Those that nobody uses; each is hung up ``seconds`` after it was used last."""

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        self._clock = clock
        self.seconds = seconds
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
        connection.idle_since = self._clock.seconds()
        self._connections.append(connection)
        if self._sweep is None:
            self._sweep = self._clock.callLater(self.seconds, self._sweep_out)

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
        while self._connections and self._connections[0].idle_since + self.seconds <= now:
            self.hang_up_oldest()
        if self._connections:
            left = self._connections[0].idle_since + self.seconds - now
            self._sweep = self._clock.callLater(left, self._sweep_out)
