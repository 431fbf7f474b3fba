"""
Content on its way from and to nodes that may fail in the middle of it.

What a node does is never mistaken for what the client does: the loss of a node
is `Unavailable` here, while `PeerLost` is left to mean the client's end.
"""

from __future__ import annotations

from annexd.errors import AnnexdError, Refused, Unavailable
from annexd.flow.body import Buffer, FileSource, Sink, Source
from annexd.router.errands import Errands

_PIECE = 64 * 1024
"""Small enough that a node which takes one in its time is no slower than can be waited for."""


class PatientSource:
    """A source that gives a piece of it in ``seconds``, or fails."""

    def __init__(self, source: Source, errands: Errands, seconds: float) -> None:
        self._source = source
        self._errands = errands
        self._seconds = seconds
        self._silence = f"it has sent nothing for {seconds:g} seconds"

    @property
    def remaining(self) -> int:
        return self._source.remaining

    async def read(self, limit: int) -> Buffer:
        return await self._errands.within(self._seconds, _read(self._source, limit), self._silence)


class FailingSink:
    """
    A sink that takes a piece in ``seconds``.  How it fails is remembered in
    ``error``, and the rest dropped: the client is let finish, and told at the end.
    """

    def __init__(self, sink: Sink, errands: Errands, seconds: float) -> None:
        self._sink = sink
        self._errands = errands
        self._seconds = seconds
        self._silence = f"it has taken nothing for {seconds:g} seconds"
        self.error: AnnexdError | None = None

    async def write(self, data: Buffer) -> None:
        view = memoryview(data)
        while view and self.error is None:
            try:
                await self._errands.within(self._seconds, _write(self._sink, view[:_PIECE]), self._silence)
            except (Refused, Unavailable) as error:
                self.error = error
            view = view[_PIECE:]


def patient(source: Source, errands: Errands, seconds: float) -> Source:
    """Files are left as they are, for the kernel to move."""
    return source if isinstance(source, FileSource) else PatientSource(source, errands, seconds)


async def _read(source: Source, limit: int) -> Buffer:
    return await source.read(limit)


async def _write(sink: Sink, data: Buffer) -> None:
    await sink.write(data)
