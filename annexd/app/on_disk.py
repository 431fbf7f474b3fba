"""What a repository on a disk hands out, for those who go on without it when the disk does not answer."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Callable, Protocol, TypeVar

from annexd.flow.body import Buffer, FileSink, FileSource, Sink, Source
from annexd.store import Lease, Outcome, Reader, Sharer, Writer

T = TypeVar("T")


class Patience(Protocol):
    async def __call__(
        self,
        work: Coroutine[Any, Any, T],
        give_back: Callable[[T], Coroutine[Any, Any, object]] | None = None,
        anyway: bool = False,
    ) -> T:
        """See `annexd.flow.disk.Disk.patiently`; raises `Unavailable` when the disk does not answer."""


class PatientLease:
    def __init__(self, lease: Lease, patiently: Patience) -> None:
        self._lease = lease
        self._patiently = patiently

    async def release(self) -> None:
        await self._patiently(self._lease.release(), anyway=True)

    async def watch(self) -> None:
        await self._lease.watch()


class PatientReader:
    """Files are left as they are, for the kernel to move."""

    def __init__(self, reader: Reader, patiently: Patience) -> None:
        self._reader = reader
        self._patiently = patiently
        self.source: Source = reader.source
        if not isinstance(reader.source, FileSource):
            self.source = _PatientSource(reader.source, patiently)

    async def valid(self) -> bool:
        return await self._patiently(self._reader.valid())

    async def close(self, taken: bool) -> None:
        await self._patiently(self._reader.close(taken), anyway=True)


class PatientWriter:
    """The same; see also `annexd.store.Sharer`."""

    def __init__(self, writer: Writer, patiently: Patience) -> None:
        self._writer = writer
        self._patiently = patiently
        self.offset = writer.offset
        self.sink: Sink = writer.sink
        if not isinstance(writer.sink, FileSink):
            self.sink = _PatientSink(writer.sink, patiently)

    def share_check(self, other: object) -> None:
        if isinstance(self._writer, Sharer):
            self._writer.share_check(other._writer if isinstance(other, PatientWriter) else other)

    def announce(self, length: int) -> None:
        self._writer.announce(length)

    async def commit(self, valid: bool) -> Outcome:
        return await self._patiently(self._writer.commit(valid))

    async def recheck(self) -> Outcome:
        return await self._patiently(self._writer.recheck())

    async def close(self) -> None:
        await self._patiently(self._writer.close(), anyway=True)


class _PatientSource:
    def __init__(self, source: Source, patiently: Patience) -> None:
        self._source = source
        self._patiently = patiently

    @property
    def remaining(self) -> int:
        return self._source.remaining

    async def read(self, limit: int) -> Buffer:
        return await self._patiently(_read(self._source, limit))


class _PatientSink:
    def __init__(self, sink: Sink, patiently: Patience) -> None:
        self._sink = sink
        self._patiently = patiently

    async def write(self, data: Buffer) -> None:
        await self._patiently(_write(self._sink, data))


async def _read(source: Source, limit: int) -> Buffer:
    return await source.read(limit)


async def _write(sink: Sink, data: Buffer) -> None:
    await sink.write(data)
