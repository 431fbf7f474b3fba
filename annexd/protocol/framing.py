"""
A byte stream <-> lines and bodies.

The only buffer between a transport and the messages, and the only place that
limits what a peer can make us hold.  Work is linear in what is fed, however
it is cut: a chunk of 40,000 lines is scanned once by offset, a line that
comes byte by byte is searched for its end once per byte.
"""

from __future__ import annotations

from annexd.errors import FramingError

LINE_LIMIT = 32767
"""Bytes before LF; git-annex closes the connection beyond it as well."""


class Framing:
    """
    ``received`` counts the bytes that were fed, ``lines`` the lines given
    out.  ``buffered`` is what was fed and not yet given out.  ``longest`` is
    how many bytes a line may have.

    A chunk that finds nothing before it is kept as it came (`take` gives the
    very same object back when it can, so bodies are not copied); only what
    must be joined becomes a bytearray.
    """

    __slots__ = ("_buffer", "_offset", "_scanned", "lines", "longest", "received")

    def __init__(self) -> None:
        self.received = 0
        self.lines = 0
        self.longest = LINE_LIMIT
        self._buffer: bytes | bytearray = b""
        self._offset = 0
        self._scanned = 0
        """No LF between ``_offset`` and here."""

    @property
    def buffered(self) -> int:
        return len(self._buffer) - self._offset

    def feed(self, data: bytes) -> None:
        self.received += len(data)
        buffer, offset = self._buffer, self._offset
        if offset == len(buffer):
            self._buffer = data
            self._scanned = 0
        else:
            if isinstance(buffer, bytearray):
                del buffer[:offset]
            else:
                self._buffer = buffer = bytearray(buffer[offset:])
            buffer += data
            self._scanned = max(0, self._scanned - offset)
        self._offset = 0

    def line(self) -> bytes | None:
        """
        The next line without its end (LF, or CR LF); `None` when it is not
        complete yet.  `FramingError` when it is longer than ``longest``.
        """
        buffer, offset, longest = self._buffer, self._offset, self.longest
        end = buffer.find(b"\n", max(self._scanned, offset), offset + longest + 1)
        if end < 0:
            self._scanned = len(buffer)
            if len(buffer) - offset > longest:
                self._scanned = offset
                raise FramingError(f"a line of more than {longest} bytes")
            return None
        self._offset = end + 1
        self.lines += 1
        if end > offset and buffer[end - 1] == 13:
            end -= 1
        return bytes(buffer[offset:end])

    def take(self, limit: int) -> bytes:
        """At most ``limit`` of the buffered bytes, as they are; empty when there are none."""
        buffer, offset = self._buffer, self._offset
        if offset == 0 and len(buffer) <= limit and isinstance(buffer, bytes):
            self._buffer = b""
            return buffer
        end = min(offset + limit, len(buffer))
        self._offset = end
        with memoryview(buffer) as view:
            return bytes(view[offset:end])
