"""
Which content is on its way into which cluster, of all sessions together.

Two clients that upload the same are no rare thing: whoever comes second waits
for the first, and mostly finds that nothing is left to be done.
"""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from annexd.errors import Refused
from annexd.protocol.keys import Key
from annexd.router.fanout import Backlog


class Turn:
    """One's turn to change where something is; `end` may be called again."""

    def __init__(self, uploads: Uploads, what: tuple[bytes, Key]) -> None:
        self._uploads: Uploads | None = uploads
        self._what = what
        self.disturbed = False
        """Somebody has removed the same content meanwhile, from some nodes at least."""

    def end(self) -> None:
        uploads, self._uploads = self._uploads, None
        if uploads is not None:
            uploads._next(self._what)


class _Queue:
    def __init__(self, first: Turn) -> None:
        self.now = first
        self.waiting: deque[Deferred[None]] = deque()


class Uploads:
    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._queues: dict[tuple[bytes, Key], _Queue] = {}
        self.backlog = Backlog()

    def under_way(self, cluster: bytes, key: Key) -> bool:
        return (cluster, key) in self._queues

    def claim(self, cluster: bytes, key: Key) -> Turn | None:
        """
        A turn for whoever cannot wait until an upload ends, but does not take
        long: a removal.  Where there is none to be had, the upload is told.
        """
        if self.under_way(cluster, key):
            self.disturb(cluster, key)
            return None
        what = cluster, key
        turn = Turn(self, what)
        self._queues[what] = _Queue(turn)
        return turn

    def disturb(self, cluster: bytes, key: Key) -> None:
        """
        Something may have been removed just now by somebody without a turn:
        said when the nodes have answered, too, since the upload may have begun
        after the removal, or may have looked already what is there still.
        """
        queue = self._queues.get((cluster, key))
        if queue is not None:
            queue.now.disturbed = True

    async def turn(self, cluster: bytes, key: Key, seconds: float) -> Turn:
        """Raises `Refused` when others upload it for longer than ``seconds``."""
        what = cluster, key
        queue = self._queues.get(what)
        if queue is None:
            turn = Turn(self, what)
            self._queues[what] = _Queue(turn)
            return turn
        mine: Deferred[None] = Deferred()
        queue.waiting.append(mine)
        timer = self._clock.callLater(seconds, _too_long, mine)
        try:
            await mine
        except BaseException:
            queue.waiting.remove(mine)
            raise
        finally:
            if timer.active():
                timer.cancel()
        queue.now = Turn(self, what)
        return queue.now

    def _next(self, what: tuple[bytes, Key]) -> None:
        queue = self._queues[what]
        if queue.waiting:
            queue.waiting.popleft().callback(None)
        else:
            del self._queues[what]


def _too_long(mine: Deferred[None]) -> None:
    mine.errback(
        Refused("somebody else has been uploading the same content for a long time; try again later")
    )
