"""What has come on a channel and has not been taken yet, and how much more may come. Pure."""

from __future__ import annotations

_PIECE = 256 * 1024
# What a reader is given at once, where there is so much: each piece costs it some work.


class Inbox:
    """``window`` bytes may come ahead of whoever takes them."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._data = bytearray()

    def __len__(self) -> int:
        return len(self._data)

    def add(self, data: bytes) -> None:
        self._data += data

    def take(self) -> bytes:
        """The first of it."""
        with memoryview(self._data) as view:
            piece = bytes(view[:_PIECE])
        del self._data[: len(piece)]
        return piece

    def taken(self, left: int) -> int:
        """Bytes that the peer does not know to be taken, when its window is ``left``."""
        return self._window - left - len(self._data)

    def clear(self) -> None:
        self._data.clear()
