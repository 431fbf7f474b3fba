"""Content out of a cluster: from the best holder, and from the next one when that fails."""

from __future__ import annotations

from twisted.logger import Logger

from annexd.errors import Refused, Unavailable
from annexd.flow.body import Source, Succession
from annexd.protocol.keys import Key
from annexd.router.errands import quietly
from annexd.router.failing import patient
from annexd.router.members import Member
from annexd.router.parts import Parts
from annexd.router.search import Search
from annexd.store import Reader, Store

_log = Logger()


async def open_reader(
    parts: Parts, key: Key, offset: int, file: bytes, without: frozenset[Store] = frozenset()
) -> ClusterReader:
    """
    Raises `Absent` when no member has it, `Unavailable` when those that may
    have it cannot be reached.  ``without`` are members that are not to be asked.
    """
    search = Search(parts, key, file, without)
    length = None if key.size is None else max(0, key.size - offset)
    member, reader = await search.reader(offset, length)
    return ClusterReader(parts, key, search, member, reader, offset)


class ClusterReader:
    """See `annexd.store.Reader`."""

    def __init__(
        self, parts: Parts, key: Key, search: Search, member: Member, reader: Reader, offset: int
    ) -> None:
        self._parts = parts
        self._key = key
        self._search = search
        self._member = member
        self._reader: Reader | None = reader
        self._replaced = False
        self.used = [member]
        """Who has given a part of it."""
        self._end = offset + reader.source.remaining
        self.source: Source = Succession(self._from(reader), self._successor)

    async def valid(self) -> bool:
        """
        Whoever sent only a part of it has not vouched for that, so the client
        is left to verify the content.
        """
        if self._replaced or self._reader is None:
            return False
        seconds = self._parts.limits.for_commit(self._end)
        silence = f"{self._member.name} does not say whether it was valid"
        try:
            return await self._parts.errands.within(seconds, self._reader.valid(), silence)
        except (Refused, Unavailable):
            return False

    async def close(self, taken: bool) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            silence = f"{self._member.name} does not let go"
            closing = self._parts.errands.within(self._parts.limits.parting, reader.close(taken), silence)
            await quietly(closing)

    async def _successor(self, remaining: int, error: Exception) -> Source:
        _log.warn(
            "{node} failed {remaining} bytes before the end of {key}: {reason}",
            node=self._member.name,
            remaining=remaining,
            key=self._key,
            reason=error,
        )
        self._replaced = True
        failed, self._reader = self._reader, None
        if failed is not None:
            self._parts.errands.start(failed.close(False))
        self._member, self._reader = await self._search.reader(self._end - remaining, remaining)
        self.used.append(self._member)
        return self._from(self._reader)

    def _from(self, reader: Reader) -> Source:
        seconds = self._parts.limits.for_progress(self._member.node)
        return patient(reader.source, self._parts.errands, seconds)
