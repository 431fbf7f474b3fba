"""
Content that is so short that it comes at once.

Each trip to a thread costs more than a few kilobytes do, so these wait in
memory until all that is to be done with them is done in one.
"""

from __future__ import annotations

from annexd.flow.body import Buffer
from annexd.protocol.keys import Key
from annexd.repo.transfer import BRIEF
from annexd.repo.trips import Gate


def is_brief(key: Key) -> bool:
    return key.size is not None and key.size <= BRIEF


class BriefSink:
    """
    A `Sink` that keeps ``limit`` bytes at most; what comes beyond is counted
    in ``excess`` and dropped.  Nothing comes in when the gate is closed.
    """

    def __init__(self, gate: Gate, limit: int) -> None:
        self.kept = bytearray()
        self.excess = 0
        self._gate = gate
        self._limit = limit

    async def write(self, data: Buffer) -> None:
        with self._gate:
            view = memoryview(data)
            room = self._limit - len(self.kept)
            self.excess += max(0, len(view) - room)
            self.kept += view[:room]
