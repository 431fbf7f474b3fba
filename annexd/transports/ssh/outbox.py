"""
What was written to a channel and has not been sent yet, and whoever writes it.

Standard output and standard error share the peer's window, so they wait in
one row.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Callable

from twisted.internet.interfaces import IProducer

HIGH_WATER = 128 * 1024
LOW_WATER = 64 * 1024
"""Bytes at which the producer is paused, and at which it may go on: before there is nothing left to send."""

STDOUT, STDERR = 0, 1
"""The latter is what SSH calls it, too; for the former SSH has another message."""

Send = Callable[[int, memoryview], int]
"""Sends as much of the bytes of a kind as there is room for, and says how much that was."""


class Outbox:
    """No byte is copied more than twice on its way, however slowly the row moves."""

    def __init__(self) -> None:
        self._row: deque[tuple[int, bytearray]] = deque()
        self._bytes = 0
        self._producer: Any = None
        self._paused = False

    def __len__(self) -> int:
        """In bytes."""
        return self._bytes

    def add(self, kind: int, data: bytes | memoryview) -> None:
        if self._row and self._row[-1][0] == kind:
            self._row[-1][1].extend(data)
        else:
            self._row.append((kind, bytearray(data)))
        self._bytes += len(data)
        if self._bytes > HIGH_WATER and self._producer is not None and not self._paused:
            self._paused = True
            self._producer.pauseProducing()

    def empty_into(self, send: Send) -> int:
        """Send what can be sent; how many bytes that was."""
        before = self._bytes
        while self._row:
            kind, buffer = self._row[0]
            with memoryview(buffer) as view:
                sent = send(kind, view)
            self._bytes -= sent
            if sent < len(buffer):
                del buffer[:sent]
                break
            self._row.popleft()
        return before - self._bytes

    def clear(self) -> None:
        self._row.clear()
        self._bytes = 0

    # --- the producer --------------------------------------------------

    def register(self, producer: IProducer, streaming: bool) -> None:
        if self._producer is not None or not streaming:
            raise RuntimeError("there may be one producer, and one that pushes")
        self._producer = producer

    def unregister(self) -> Any:
        """The one that was there, if there was one."""
        producer, self._producer = self._producer, None
        self._paused = False
        return producer

    def resume_producer(self) -> None:
        """If there is room again."""
        if self._paused and self._bytes <= LOW_WATER:
            self._paused = False
            self._producer.resumeProducing()
