"""A reactor that is turned by hand: descriptors are polled only in `turn`, time moves only in `advance`."""

from __future__ import annotations

import select
from typing import Any

from twisted.internet import main
from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IReactorFDSet)
class HandReactor(Clock):
    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []
        self.writers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        if reader not in self.readers:
            self.readers.append(reader)

    def addWriter(self, writer: Any) -> None:
        if writer not in self.writers:
            self.writers.append(writer)

    def removeReader(self, reader: Any) -> None:
        if reader in self.readers:
            self.readers.remove(reader)

    def removeWriter(self, writer: Any) -> None:
        if writer in self.writers:
            self.writers.remove(writer)

    def removeAll(self) -> list[Any]:
        every = [*self.readers, *self.writers]
        self.readers.clear()
        self.writers.clear()
        return every

    def getReaders(self) -> list[Any]:
        return list(self.readers)

    def getWriters(self) -> list[Any]:
        return list(self.writers)

    def turn(self) -> None:
        """Once around: everything that is ready is told so, as the epoll reactor does."""
        self.advance(0)
        for watched, event, act in (
            (list(self.readers), select.POLLIN, "doRead"),
            (list(self.writers), select.POLLOUT, "doWrite"),
        ):
            for one in watched:
                # An event of the same turn may have had it forgotten.
                if one in (self.readers if act == "doRead" else self.writers):
                    self._tell(one, event, act)

    def turns(self, count: int = 10) -> None:
        for _ in range(count):
            self.turn()

    def _tell(self, one: Any, event: int, act: str) -> None:
        poll = select.poll()
        poll.register(one.fileno(), event)
        ready = poll.poll(0)
        if not ready:
            return
        reading = act == "doRead"
        if ready[0][1] & (select.POLLHUP | select.POLLERR) and not ready[0][1] & event:
            reason: Any = main.CONNECTION_DONE if reading else main.CONNECTION_LOST
        else:
            reason = getattr(one, act)()
        if reason is not None:
            if reading and reason is main.CONNECTION_DONE:
                one.readConnectionLost(Failure(reason))
            else:
                one.connectionLost(Failure(reason))
