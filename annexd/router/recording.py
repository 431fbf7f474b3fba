"""What is found out about where content is, written down where that is news."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.logger import Logger

from annexd.errors import AnnexdError
from annexd.protocol.keys import Key
from annexd.router.clusters import is_cluster
from annexd.router.ports import LocationLog

_log = Logger()


class Recording:
    """A `LocationLog`.  What cannot be written now does not undo what was done: it is said in the log."""

    def __init__(self, log: LocationLog) -> None:
        self._location = log

    async def holders(self, key: Key) -> frozenset[bytes]:
        return await self._location.holders(key)

    async def record(self, key: Key, present: Mapping[bytes, bool]) -> None:
        news = {uuid: here for uuid, here in present.items() if not is_cluster(uuid)}
        if not news:
            return
        try:
            await self._location.record(key, news)
        except AnnexdError as error:
            _log.error("the location of {key} cannot be recorded: {reason}", key=key, reason=error.logged)
