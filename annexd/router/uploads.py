"""
Which content is on its way into which cluster or node, of all sessions together.

Two clients that upload the same are no rare thing: whoever comes second waits
for the first, and mostly finds that nothing is left to be done.  A node that
is used by itself has no such order, it sees to that; but as it may be one of a
cluster as well, all that happens to a key here is known to all.
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


class Upload:
    """Somebody uploads something; `end` may be called again."""

    def __init__(self, of_key: _OfKey) -> None:
        self._of_key: _OfKey | None = of_key
        self.disturbed = False
        """Somebody has removed the same content meanwhile, from some nodes at least."""
        of_key.begin(self)

    def recording(self) -> None:
        """What has arrived somewhere is written down now."""
        if self._of_key is not None:
            self._of_key.recorded += 1

    def end(self) -> None:
        of_key, self._of_key = self._of_key, None
        if of_key is not None:
            of_key.end(self)


class Turn(Upload):
    """One's turn to do so."""

    def __init__(self, of_key: _OfKey, queue: _Queue) -> None:
        super().__init__(of_key)
        self._queue: _Queue | None = queue

    def end(self) -> None:
        super().end()
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.upload = None
            queue.move()


class Claim:
    """
    A removal, which does not take long, and waits for no upload: those that
    are under way, if there are any (``uploading``), are told, and all others wait.
    """

    def __init__(self, of_key: _OfKey, queue: _Queue) -> None:
        self._of_key = of_key
        self._queue = queue
        self._queue.removals += 1
        self._uploading = bool(of_key.uploads)
        self._begun = of_key.uploads_begun
        of_key.begin(self)
        self.disturb()

    @property
    def uploading(self) -> bool:
        """Whether there is, or was since, an upload beside it; one to a single node may have come later."""
        return self._uploading or self._of_key.uploads_begun > self._begun

    def disturb(self) -> None:
        """
        Something may have been removed just now: said when nodes have
        answered, too, however late, since an upload that is under way then
        may have looked what is there before.
        """
        for upload in self._of_key.uploads:
            upload.disturbed = True

    @property
    def recorded(self) -> int:
        """Changes when an upload has recorded something: what a node said before that is out of date."""
        return self._of_key.recorded

    def end(self) -> None:
        self._of_key.end(self)
        self._queue.removals -= 1
        self._queue.move()


class _OfKey:
    """Who is at a key, wherever; kept for as long as somebody is, or may ask for it."""

    def __init__(self) -> None:
        self.begun = self.uploads_begun = self.recorded = 0
        self.uploads: set[Upload] = set()
        self._removals: set[Claim] = set()

    @property
    def busy(self) -> bool:
        return bool(self.uploads or self._removals)

    def begin(self, one: Upload | Claim) -> None:
        self.begun += 1
        if isinstance(one, Upload):
            self.uploads_begun += 1
            self.uploads.add(one)
        else:
            self._removals.add(one)

    def end(self, one: Upload | Claim) -> None:
        if isinstance(one, Upload):
            self.uploads.discard(one)
        else:
            self._removals.discard(one)


class _Queue:
    """``over`` is called when nobody is at it any more."""

    def __init__(self, of_key: _OfKey, over: Callable[[], None]) -> None:
        self._of_key = of_key
        self.upload: Turn | None = None
        self.removals = 0
        self.waiting: deque[Deferred[None]] = deque()
        self._over = over

    @property
    def in_use(self) -> bool:
        return self.upload is not None or self.removals > 0

    def begin(self) -> Turn:
        self.upload = Turn(self._of_key, self)
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
        self._of_keys: WeakValueDictionary[Key, _OfKey] = WeakValueDictionary()
        self.backlog = Backlog()

    def under_way(self, cluster: bytes, key: Key) -> bool:
        """Or a removal."""
        return (cluster, key) in self._queues

    def since_now(self, key: Key) -> Callable[[], bool]:
        """
        To be asked later whether an answer from now on is still to be believed:
        nobody has been at it, neither uploading nor removing.
        """
        of_key = self._of_key(key)
        begun, at_once = of_key.begun, of_key.busy
        return lambda: not at_once and of_key.begun == begun

    def claim(self, place: bytes, key: Key) -> Claim:
        """For a removal; to be ended."""
        return Claim(self._of_key(key), self._queue((place, key)))

    def upload(self, key: Key) -> Upload:
        """For an upload to one node, that waits for nobody; to be ended."""
        return Upload(self._of_key(key))

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
            self._queues[what] = _Queue(self._of_key(what[1]), lambda: self._over(what))
        return self._queues[what]

    def _of_key(self, key: Key) -> _OfKey:
        return self._of_keys.setdefault(key, _OfKey())

    def _over(self, what: tuple[bytes, Key]) -> None:
        del self._queues[what]


def _too_long(mine: Deferred[None]) -> None:
    mine.errback(
        Refused("somebody else has been uploading the same content for a long time; try again later")
    )
