"""What a program says on its standard error: kept, not read, until something has to be explained."""

from __future__ import annotations

import os
import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

_MOST = 4096
"""Bytes that are kept, of what was said last."""

_LINE = 300
"""Characters of it that are shown."""

_WAIT_S = 1.0
"""For what a program still has to say when its output has ended."""

_COUNT = re.compile(r"[a-z0-9]+: [0-9]+ failed")
"""What git-annex says last, whatever it was that failed."""


@implementer(IReadDescriptor)
class Murmur:
    """Owns ``fd``, which is closed at its end."""

    def __init__(self, reactor: Any, fd: int) -> None:
        self._reactor = reactor
        self._fd = fd
        self._said = bytearray()
        self._waiting: list[Deferred[None]] = []
        os.set_blocking(fd, False)
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "standard error"

    def doRead(self) -> None:
        try:
            data = os.read(self._fd, _MOST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
        self._said += data
        del self._said[:-_MOST]

    def connectionLost(self, reason: Failure) -> None:
        self.close()

    def close(self) -> None:
        if self._fd < 0:
            return
        self._reactor.removeReader(self)
        os.close(self._fd)
        self._fd = -1
        waiting, self._waiting = self._waiting, []
        for end in waiting:
            end.callback(None)

    @property
    def last_line(self) -> str:
        """The last thing said; may be empty."""
        lines = self._said.decode("utf-8", "replace").split("\n")
        said = [line.strip() for line in lines if line.strip() and not _COUNT.fullmatch(line.strip())]
        return "".join(filter(str.isprintable, said[-1][:_LINE])) if said else ""

    async def explain(self) -> str:
        """`last_line`, when the program has said all; it is not waited for longer than a second."""
        if self._fd >= 0:
            end: Deferred[None] = Deferred(self._waiting.remove)
            self._waiting.append(end)
            late = self._reactor.callLater(_WAIT_S, self._lose_patience, end)
            try:
                await end
            finally:
                if late.active():
                    late.cancel()
        return self.last_line

    def _lose_patience(self, end: Deferred[None]) -> None:
        self._waiting.remove(end)
        end.callback(None)
