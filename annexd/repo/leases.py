"""Content that must not be removed for as long as somebody holds a lease on it."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from annexd.errors import Absent
from annexd.flow.workers import Workers
from annexd.protocol.keys import Key
from annexd.repo.content import Held
from annexd.repo.disks import refusing
from annexd.repo.parts import Parts


class LocalLease:
    """See `annexd.store.Lease`."""

    def __init__(self, workers: Workers, held: Held) -> None:
        self._workers = workers
        self._held: Held | None = held

    async def release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            with refusing():
                await self._workers.disk.run(held.release)

    async def watch(self) -> None:
        await Deferred()  # a disk's lock lasts as long as the process


def lock_content(parts: Parts, key: Key) -> Held:
    """For a thread."""
    found = parts.objects.find(key)
    if found is None:
        raise Absent("the content is not here")
    return parts.locks.share(found[0])
