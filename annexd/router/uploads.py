"""
Which content is on its way into which cluster, of all sessions together.

Two clients that upload the same are no rare thing: whoever comes second waits
for the first, and mostly finds that nothing is left to be done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from weakref import WeakValueDictionary

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from annexd.errors import Refused
from annexd.protocol.keys import Key
from annexd.router.fanout import Backlog


class Turn:
    """One's turn to upload something; `end` may be called again."""

    def __init__(self, queue: _Queue) -> None:
        self._queue: _Queue | None = queue
        self.disturbed = False
        """Somebody has removed the same content meanwhile, from some nodes at least."""

    def end(self) -> None:
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.upload = None
            queue.move()


class Claim:
    """
    A removal, which does not take long, and waits for no upload: the one that
    is under way, if there is one (``uploading``), is told, and all others wait.
    """

    def __init__(self, uploads: Uploads, what: tuple[bytes, Key]) -> None:
        self._uploads = uploads
        self._what = what
        self._queue = uploads._queue(what)
        self._queue.removals += 1
        self.uploading = self._queue.upload is not None
        self.disturb()

    def disturb(self) -> None:
        """
        Something may have been removed just now: said when nodes have
        answered, too, however late, since the upload that is under way then
        may have looked what is there before.
        """
        queue = self._uploads._queues.get(self._what)
        if queue is not None and queue.upload is not None:
            queue.upload.disturbed = True

    def end(self) -> None:
        self._queue.removals -= 1
        self._queue.move()


class _History:
    """Kept for as long as somebody may ask for it."""

    def __init__(self) -> None:
        self.begun = 0


class _Queue:
    """``over`` is called when nobody is at it any more."""

    def __init__(self, over: Callable[[], None]) -> None:
        self.upload: Turn | None = None
        self.removals = 0
        self.waiting: deque[Deferred[None]] = deque()
        self._over = over

    @property
    def in_use(self) -> bool:
        return self.upload is not None or self.removals > 0

    def begin(self) -> Turn:
        self.upload = Turn(self)
        return self.upload

    def move(self) -> None:
        if self.in_use:
            return
        if self.waiting:
            self.waiting.popleft().callback(None)
        else:
            self._over()


class Uploads:
    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._queues: dict[tuple[bytes, Key], _Queue] = {}
        self._histories: WeakValueDictionary[tuple[bytes, Key], _History] = WeakValueDictionary()
        self.backlog = Backlog()

    def under_way(self, cluster: bytes, key: Key) -> bool:
        """Or a removal."""
        return (cluster, key) in self._queues

    def since_now(self, cluster: bytes, key: Key) -> Callable[[], bool]:
        """
        To be asked later whether an answer from now on is still to be believed:
        nobody has been at it, neither uploading nor removing.
        """
        history = self._histories.setdefault((cluster, key), _History())
        begun, at_once = history.begun, self.under_way(cluster, key)
        return lambda: not at_once and history.begun == begun

    def claim(self, cluster: bytes, key: Key) -> Claim:
        """For a removal; to be ended."""
        return Claim(self, (cluster, key))

    async def turn(self, cluster: bytes, key: Key, seconds: float) -> Turn:
        """Raises `Refused` when others upload it for longer than ``seconds``."""
        queue = self._queue((cluster, key))
        if not queue.in_use:
            return queue.begin()
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
        return queue.begin()

    def _queue(self, what: tuple[bytes, Key]) -> _Queue:
        if what not in self._queues:
            history = self._histories.get(what)
            if history is not None:
                history.begun += 1
            self._queues[what] = _Queue(lambda: self._over(what))
        return self._queues[what]

    def _over(self, what: tuple[bytes, Key]) -> None:
        del self._queues[what]


def _too_long(mine: Deferred[None]) -> None:
    mine.errback(
        Refused("somebody else has been uploading the same content for a long time; try again later")
    )
