"""Tells whoever writes to a transport when to pause and when to go on."""

from __future__ import annotations

from twisted.internet.interfaces import IProducer

_HIGH_WATER = 64 * 1024
"""Unsent bytes at which the producer is paused."""


class Throttle:
    """The producer of one transport, if it has one."""

    def __init__(self) -> None:
        self._producer: IProducer | None = None
        self._streaming = False
        self._paused = False

    def register(self, producer: IProducer, streaming: bool, connected: bool) -> None:
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        self._producer, self._streaming = producer, streaming
        self._paused = False
        if not connected:
            producer.stopProducing()
        elif not streaming:
            producer.resumeProducing()  # type: ignore[attr-defined]

    def unregister(self) -> None:
        self._producer = None

    def unsent(self, count: int) -> None:
        """So many bytes wait."""
        if self._streaming and self._producer is not None and count > _HIGH_WATER and not self._paused:
            self._paused = True
            self._producer.pauseProducing()  # type: ignore[attr-defined]

    def drained(self) -> None:
        """None waits any more."""
        if self._producer is not None and (self._paused or not self._streaming):
            self._paused = False
            self._producer.resumeProducing()  # type: ignore[attr-defined]

    def stop(self) -> None:
        """The transport has ended."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
