"""How full nodes are: keys and bytes by the location log, and the room on disks of this machine."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IReactorTime

from annexd.app.local_node import LocalNode
from annexd.errors import Unavailable
from annexd.node import Node
from annexd.repo.whereabouts import Whereabouts


@dataclass(frozen=True, slots=True)
class Counts:
    """``of`` has keys and bytes for each repository; `None` where not all were looked at in time."""

    of: Mapping[bytes, tuple[int, int]] | None

    @property
    def whole(self) -> bool:
        return self.of is not None


async def tally(
    whereabouts: Whereabouts, uuids: Collection[bytes], clock: IReactorTime, seconds: float
) -> Counts:
    """What these repositories have.  Keys that do not tell their size count as empty."""
    until = clock.seconds() + seconds
    counts = {uuid: [0, 0] for uuid in uuids}
    census = await whereabouts.census()
    while some := await census.some():
        for logged in some:
            size = logged.key.size or 0
            for uuid in logged.holders & counts.keys():
                counts[uuid][0] += 1
                counts[uuid][1] += size
        if clock.seconds() >= until:
            return Counts(None)
    return Counts({uuid: (keys, size) for uuid, (keys, size) in counts.items()})


async def disk_of(node: Node) -> dict[str, Any]:
    """``disk_free`` and ``disk_size`` in bytes, where that can be known."""
    if not isinstance(node, LocalNode):
        return {}
    try:
        disk = await node.disk.patiently(node.disk.disk.run(os.statvfs, node.path))
    except (OSError, Unavailable):
        return {}
    return {"disk_free": disk.f_bavail * disk.f_frsize, "disk_size": disk.f_blocks * disk.f_frsize}
