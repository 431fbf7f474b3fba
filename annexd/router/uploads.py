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


class Upload:
    """One's turn to upload something; `end` may be called again."""

    def __init__(self, uploads: Uploads, what: tuple[bytes, Key]) -> None:
        self._uploads: Uploads | None = uploads
        self._what = what

    def end(self) -> None:
        uploads, self._uploads = self._uploads, None
        if uploads is not None:
            uploads._next(self._what)


class Uploads:
    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._queues: dict[tuple[bytes, Key], deque[Deferred[None]]] = {}

    def under_way(self, cluster: bytes, key: Key) -> bool:
        return (cluster, key) in self._queues

    async def turn(self, cluster: bytes, key: Key, seconds: float) -> Upload:
        """Raises `Refused` when others upload it for longer than ``seconds``."""
        what = cluster, key
        queue = self._queues.get(what)
        if queue is None:
            self._queues[what] = deque()
            return Upload(self, what)
        mine: Deferred[None] = Deferred()
        queue.append(mine)
        timer = self._clock.callLater(seconds, _too_long, mine)
        try:
            await mine
        except BaseException:
            if mine in queue:
                queue.remove(mine)
            raise
        finally:
            if timer.active():
                timer.cancel()
        return Upload(self, what)

    def _next(self, what: tuple[bytes, Key]) -> None:
        queue = self._queues[what]
        if queue:
            queue.popleft().callback(None)
        else:
            del self._queues[what]


def _too_long(mine: Deferred[None]) -> None:
    mine.errback(
        Refused("somebody else has been uploading the same content for a long time; try again later")
    )
