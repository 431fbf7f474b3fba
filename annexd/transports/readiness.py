"""Wait until a socket has something to read, or room to write."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFDSet, IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer


class Descriptor(Protocol):
    """A socket, or what has one."""

    def fileno(self) -> int: ...


async def readable(reactor: IReactorFDSet, sock: Descriptor) -> None:
    """Also when it has ended, which the next read tells."""
    watch = _Watch(reactor, sock)
    reactor.addReader(watch)
    await watch.done


async def writable(reactor: IReactorFDSet, sock: Descriptor) -> None:
    watch = _Watch(reactor, sock)
    reactor.addWriter(watch)
    await watch.done


@implementer(IReadWriteDescriptor)
class _Watch:
    """Of one event; whoever waits may be cancelled."""

    def __init__(self, reactor: IReactorFDSet, sock: Descriptor) -> None:
        self._reactor = reactor
        self._socket = sock
        self.done: Deferred[None] = Deferred(lambda _: self._stop())

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "socket"

    def doRead(self) -> None:
        self._stop()
        if not self.done.called:
            self.done.callback(None)

    doWrite = doRead

    def connectionLost(self, reason: Failure) -> None:
        self.doRead()

    def _stop(self) -> None:
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
