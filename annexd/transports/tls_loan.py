"""A TLS connection in the hands of a thread that moves a body."""

from __future__ import annotations

import os
import select
import ssl
import time
from typing import Callable

from annexd.errors import PeerLost
from annexd.flow.abreast import Abreast
from annexd.flow.body import FileSink
from annexd.flow.loan import Turn, is_over, wait_a_little
from annexd.flow.workers import Pool
from annexd.transports.secured import TlsConnection

_STEP = 256 * 1024
"""Large enough for sixteen whole records, small enough to be hashed while it is in the cache."""

_NOTHING = memoryview(b"")


class TlsLoan:
    """
    A `Lent`.  Only one thread at a time may use what OpenSSL knows of a
    connection, so both directions are lent together.
    """

    def __init__(self, connection: TlsConnection, waits_to_write: bool, returned: Callable[[], None]) -> None:
        self._connection = connection
        self._returned = returned
        self._chunk: memoryview | None = None
        self._buffer = _NOTHING
        self.waits_to_write = waits_to_write
        """What the next turn needs is room to write; else it is bytes to read."""

    @property
    def unfinished(self) -> bool:
        """OpenSSL has taken a part of something and must be given the same once more."""
        return self._chunk is not None

    def receive(self, sink: FileSink, most: int) -> tuple[int, Turn]:
        began, pool = time.monotonic(), sink.workers.bulk
        both = Abreast(lambda piece, moved: self._fill(piece, moved, began, pool), sink, most)
        both.run()
        return both.moved, both.turn

    def _fill(self, piece: memoryview, moved: int, began: float, pool: Pool) -> tuple[int, Turn | None]:
        """
        See `annexd.flow.abreast.Fill`.  At the end of a turn nothing is read
        until all is written: a long one pays.
        """
        count = 0
        while True:
            received, turn = self._take(piece[count:])
            count += received
            if count == len(piece):
                return count, Turn.OVER if is_over(began, pool) else None
            if turn is not Turn.IDLE or not self._wait(moved + count, began):
                return count, turn

    def _take(self, buffer: memoryview) -> tuple[int, Turn]:
        """As much as there is now: OpenSSL gives out one record at a time."""
        count = 0
        try:
            while count < len(buffer):
                received = self._connection.recv_into(buffer[count:])
                if not received:
                    return count, Turn.ENDED
                count += received
        except ssl.SSLWantReadError:
            self.waits_to_write = False
            return count, Turn.IDLE
        except ssl.SSLWantWriteError:
            self.waits_to_write = True
            return count, Turn.IDLE
        except OSError:
            return count, Turn.ENDED
        return count, Turn.OVER

    def send(self, file: int, offset: int, most: int) -> tuple[int, Turn]:
        began = time.monotonic()
        moved = 0
        while moved < most:
            try:
                if self._chunk is None and not self._load(file, offset + moved, most - moved):
                    return moved, Turn.ENDED
            except OSError:
                if moved:
                    break  # what has gone is to be counted; the next turn fails at once
                raise
            count = self._send_chunk()
            if not count and not self._wait(moved, began):
                return moved, Turn.IDLE
            moved += count
            if is_over(began):
                break
        return moved, Turn.OVER

    def _load(self, file: int, offset: int, most: int) -> bool:
        if not self._buffer:
            # One for all chunks: to get memory for each may cost as much as to encrypt it.
            self._buffer = memoryview(bytearray(min(_STEP, most)))
        count = os.preadv(file, [self._buffer[:most]], offset)
        self._chunk = self._buffer[:count] if count else None
        return bool(count)

    def _send_chunk(self) -> int:
        """All of it, or nothing yet."""
        assert self._chunk is not None
        try:
            count = self._connection.send(self._chunk)
        except ssl.SSLWantWriteError:
            self.waits_to_write = True
            return 0
        except ssl.SSLWantReadError:
            self.waits_to_write = False
            return 0
        except OSError as error:
            raise PeerLost("the connection was closed") from error
        self._chunk = None
        return count

    def _wait(self, moved: int, began: float) -> bool:
        event = select.POLLOUT if self.waits_to_write else select.POLLIN
        return wait_a_little(self._connection.fileno(), event, moved, began)

    def give_back(self) -> None:
        self._returned()
