"""
Exactly n bytes, in order, once.

A `Source` gives them, a `Sink` takes them, `annexd.flow.pour` moves them.
What is backed by a plain file says so (`FileSource`, `FileSink`), so that the
kernel can move the bytes where both ends allow it.
"""

from __future__ import annotations

import os
from typing import Awaitable, Callable, Protocol, Union, runtime_checkable

from annexd.errors import PeerLost, Refused, Unavailable
from annexd.flow.workers import Workers

Buffer = Union[bytes, bytearray, memoryview]


class Source(Protocol):
    @property
    def remaining(self) -> int:
        """Bytes that have not been taken yet."""

    async def read(self, limit: int) -> Buffer:
        """
        The next 1 to ``limit`` bytes.  Raises `PeerLost` or `Refused` when
        they cannot be had; never called when nothing remains.
        """


class Succession:
    """
    A source made of sources, one after the other: when ``part`` fails, another
    one takes its place where it stopped.  ``successor`` is told how many bytes
    remain and why, and finds a source of as many, or raises.
    """

    def __init__(self, part: Source, successor: Callable[[int, Exception], Awaitable[Source]]) -> None:
        self.part = part
        self._successor = successor

    @property
    def remaining(self) -> int:
        return self.part.remaining

    async def read(self, limit: int) -> Buffer:
        while True:
            try:
                return await self.part.read(limit)
            except (PeerLost, Refused, Unavailable, OSError) as error:
                await self.go_on(error)

    async def go_on(self, error: Exception) -> None:
        """``part`` has failed with ``error``."""
        self.part = await self._successor(self.part.remaining, error)


class Sink(Protocol):
    async def write(self, data: Buffer) -> None:
        """Take all of ``data``; returns when there is room for more."""


@runtime_checkable
class Gatherer(Sink, Protocol):
    """A sink that passes on large pieces from memory; ``workers`` may read them for it."""

    workers: Workers


class Digest(Protocol):
    """What `hashlib` objects have."""

    def update(self, data: Buffer, /) -> object: ...


class NoDigest:
    """For content that is not hashed while it arrives."""

    def update(self, data: Buffer, /) -> None:
        pass


class FileSource:
    """
    A span of an open file.  ``head`` may hold its first bytes, read when the
    file was opened, which spares small files a second trip to a thread.
    """

    def __init__(self, workers: Workers, fd: int, offset: int, length: int, head: bytes = b"") -> None:
        self.workers = workers
        self.fd = fd
        self.offset = offset
        self.remaining = length
        self._head = memoryview(head)[:length]

    def take_head(self) -> Buffer:
        """What is in memory already; may be empty."""
        head, self._head = self._head, self._head[:0]
        self.moved(len(head))
        return head

    def moved(self, count: int) -> None:
        """``count`` bytes from ``offset`` on have gone their way."""
        self.offset += count
        self.remaining -= count

    async def read(self, limit: int) -> Buffer:
        if self._head:
            return self.take_head()
        data = await self.workers.bulk.run(os.pread, self.fd, min(limit, self.remaining), self.offset)
        if not data:
            raise Refused("the file became shorter while it was read")
        self.moved(len(data))
        return data


class FileSink:
    """
    Appends to an open file from ``offset`` on and feeds ``digest`` the same
    bytes.  ``limit`` bytes are written at most; what comes beyond is counted
    in ``excess`` and dropped, so that a peer that sends too much cannot fill
    the disk.  A failing disk is remembered in ``error`` and the rest dropped
    too: the peer is let finish, and is told why at the end.
    """

    def __init__(
        self, workers: Workers, fd: int, offset: int, digest: Digest, limit: int | None = None
    ) -> None:
        self.workers = workers
        self.fd = fd
        self.offset = offset
        self.digest = digest
        self.limit = limit
        self.excess = 0
        self.error: OSError | None = None

    async def write(self, data: Buffer) -> None:
        await self.workers.bulk.run(self.write_blocking, data)

    def write_blocking(self, data: Buffer) -> None:
        """For a thread; never raises `OSError`, see ``error``."""
        view = memoryview(data)
        if self.limit is not None and len(view) > self.limit - self.offset:
            room = max(0, self.limit - self.offset)
            self.excess += len(view) - room
            view = view[:room]
        if self.error is not None or not view:
            return
        self.digest.update(view)
        try:
            while view:
                count = os.pwrite(self.fd, view, self.offset)
                self.offset += count
                view = view[count:]
        except OSError as error:
            self.error = error


class CarriedSource:
    """
    A file that is read piece by piece: whoever waits for a piece can go on
    without it, which is not so while the kernel moves bytes into a connection.
    """

    def __init__(self, source: FileSource) -> None:
        self._source = source

    @property
    def remaining(self) -> int:
        return self._source.remaining

    async def read(self, limit: int) -> Buffer:
        return await self._source.read(limit)


class CarriedSink:
    """The same for a file that is written."""

    def __init__(self, sink: FileSink) -> None:
        self._sink = sink

    async def write(self, data: Buffer) -> None:
        await self._sink.write(bytes(data))  # a piece that nobody waits for any more is still to be written


class Gathered(FileSink):
    """Where what a thread reads is kept in memory: no file, but to the thread it looks like one."""

    def __init__(self, workers: Workers) -> None:
        super().__init__(workers, -1, 0, NoDigest())
        self._pieces: list[bytes] = []

    def write_blocking(self, data: Buffer) -> None:
        self._pieces.append(bytes(data))

    async def pass_on(self, sink: Sink) -> None:
        for piece in self._pieces:
            await sink.write(piece)
