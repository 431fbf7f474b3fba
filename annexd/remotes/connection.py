"""One connection to a peer, as the link that it belongs to keeps it."""

from __future__ import annotations

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
