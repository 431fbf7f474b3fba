"""
The measuring client: it speaks P2P over the pipes of a server process and does
as little else as it can, so that what is measured is the server.  Bodies never
pass through this program.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from dataclasses import dataclass
from typing import Sequence

from bench.place import Place

PIPE_BYTES = 1 << 20
_ANSWERS = {b"SUCCESS": True, b"FAILURE": False, b"SUCCESS-PLUS": True, b"FAILURE-PLUS": False}


class Unexpected(Exception):
    """The server said something else than the protocol would have it."""


@dataclass(frozen=True, slots=True)
class Content:
    """A key and where its bytes are: a part of a file that is in the page cache."""

    key: bytes
    fd: int
    offset: int
    size: int


class Session:
    """One `p2pstdio` conversation with a process that was started for it."""

    def __init__(self, place: Place, argv: Sequence[str]) -> None:
        self._place = place
        self._buffer = b""
        self._null = place.null
        self.answer = b""
        """The last, to a question or an upload."""
        request_read, self.write_fd = os.pipe()
        self.read_fd, reply_write = os.pipe()
        for fd in (self.write_fd, self.read_fd):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        try:
            self.process: subprocess.Popen[bytes] = place.processes.start(
                argv, place.environment, request_read, reply_write, place.errors
            )
        finally:
            os.close(request_read)
            os.close(reply_write)

    def greet(self) -> None:
        """What a client says first, in the order in which it says it."""
        if not self.line().startswith(b"AUTH-SUCCESS "):
            raise Unexpected("no AUTH-SUCCESS")
        self.say(b"VERSION 4\n")
        self._expect(b"VERSION 4")

    def present(self, key: bytes) -> bool:
        self.say(b"CHECKPRESENT " + key + b"\n")
        return self._answer()

    def remove(self, key: bytes) -> None:
        self.say(b"REMOVE " + key + b"\n")
        self._must(b"REMOVE")

    def put(self, content: Content) -> None:
        """All of it; it must not be there yet."""
        self.say(b"PUT bench/file " + content.key + b"\n")
        self._expect(b"PUT-FROM 0")
        if content.size <= 32768:
            body = os.pread(content.fd, content.size, content.offset)
            self.say(b"DATA %d\n" % content.size + body + b"VALID\n")
        else:
            self.say(b"DATA %d\n" % content.size)
            self._splice_in(content)
            self.say(b"VALID\n")
        self._must(b"PUT")

    def get(self, content: Content) -> None:
        """All of it, without looking at it: moved out of the pipe in the kernel."""
        length = self._get_header(content)
        if len(self._buffer) > length:
            self._buffer = self._buffer[length:]
        else:
            length -= len(self._buffer)
            self._buffer = b""
            while length:
                moved = os.splice(self.read_fd, self._null, length)
                if not moved:
                    raise Unexpected("the body ends early")
                length -= moved
        self._expect(b"VALID")
        self.say(b"SUCCESS\n")

    def get_copying(self, content: Content, into: bytearray) -> None:
        """The same as a client does that looks at the bytes: each is copied out once."""
        length = self._get_header(content) - len(self._buffer)
        self._buffer = b""
        view = memoryview(into)
        while length > 0:
            taken = os.readv(self.read_fd, [view[: min(length, len(view))]])
            if not taken:
                raise Unexpected("the body ends early")
            length -= taken
        self._expect(b"VALID")
        self.say(b"SUCCESS\n")

    def end(self, seconds: float = 60.0) -> None:
        """Until the process is gone: git-annex-shell commits its journal here."""
        self.hang_up()
        self.reap(seconds)

    def reap(self, seconds: float = 60.0) -> None:
        self._place.processes.reap(self.process, seconds)

    def hang_up(self) -> None:
        os.close(self.write_fd)
        os.close(self.read_fd)

    def say(self, data: bytes) -> None:
        if os.write(self.write_fd, data) != len(data):
            raise Unexpected("a request went out in part")

    def line(self) -> bytes:
        while b"\n" not in self._buffer:
            data = os.read(self.read_fd, 65536)
            if not data:
                raise Unexpected(f"the server ended; it said {self._buffer!r}")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line

    def _get_header(self, content: Content) -> int:
        self.say(b"GET 0 bench/file " + content.key + b"\n")
        self._expect(b"DATA %d" % content.size)
        return content.size

    def _splice_in(self, content: Content) -> None:
        offset, end = content.offset, content.offset + content.size
        while offset < end:
            offset += os.splice(content.fd, self.write_fd, min(end - offset, PIPE_BYTES), offset_src=offset)

    def _answer(self) -> bool:
        line = self.answer = self.line()
        word = line.partition(b" ")[0]
        if word not in _ANSWERS:
            raise Unexpected(repr(line))
        return _ANSWERS[word]

    def _must(self, what: bytes) -> None:
        if not self._answer():
            raise Unexpected(f"{what!r} failed")

    def _expect(self, wanted: bytes) -> None:
        line = self.line()
        if line != wanted:
            raise Unexpected(f"{line!r} instead of {wanted!r}")
