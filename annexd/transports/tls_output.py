"""What is written to a TLS connection and has not gone yet."""

from __future__ import annotations

import ssl
from typing import Callable

from annexd.transports.secured import TlsConnection

_MOST_AT_ONCE = 128 * 1024


class TlsOutput:
    """
    What OpenSSL does not take at once it must be given once more, the same or
    the same and more: what is unsent only grows at its end, and is always
    given from its beginning.  ``failed`` is called when the connection turns
    out to be broken.
    """

    def __init__(self, connection: TlsConnection, failed: Callable[[], None]) -> None:
        self._connection = connection
        self._failed = failed
        self._unsent = bytearray()
        self.waits_to_read = False
        """OpenSSL wants to hear something before it goes on."""

    def __len__(self) -> int:
        return len(self._unsent)

    def send(self, data: bytes) -> None:
        """What does not go now goes with `flush`."""
        others_wait = bool(self._unsent)
        if not others_wait and len(data) <= _MOST_AT_ONCE and self._give(data):
            return
        self._unsent += data
        if not others_wait and len(data) > _MOST_AT_ONCE:
            self.flush()

    def keep(self, data: bytes) -> None:
        """All of it goes with `flush`."""
        self._unsent += data

    def flush(self) -> None:
        while self._unsent:
            with memoryview(self._unsent) as unsent, unsent[:_MOST_AT_ONCE] as part:
                size = len(part)
                gone = self._give(part)
            if not gone:
                return
            del self._unsent[:size]

    def clear(self) -> None:
        self._unsent.clear()

    def _give(self, data: bytes | memoryview) -> bool:
        self.waits_to_read = False
        try:
            self._connection.send(data)
        except ssl.SSLWantWriteError:
            return False
        except ssl.SSLWantReadError:
            self.waits_to_read = True
            return False
        except OSError:
            self._failed()
        return True
