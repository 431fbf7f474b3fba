"""A socket that listens: hands over each connection as soon as it is there."""

from __future__ import annotations

import errno
import os
import socket
import stat
from typing import Any, Callable

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from annexd.errors import ConfigError

_log = Logger()

_BACKLOG = 1024
_AT_ONCE = 16
"""Connections that are accepted before others have their turn."""

_PAUSE_S = 0.25
"""Without free file descriptors the kernel keeps who comes waiting."""

_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Arrived = Callable[[socket.socket, Any], None]
"""Gets a non-blocking socket, and the address that accept(2) gave with it."""


@implementer(IReadDescriptor)
class Port:
    """
    ``sock`` listens.  ``no_room`` is called when a connection cannot be
    accepted for want of file descriptors; it may close something.
    """

    def __init__(
        self, reactor: Any, sock: socket.socket, arrived: Arrived, no_room: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        sock.setblocking(False)
        self._socket = sock
        self._arrived = arrived
        self._no_room = no_room
        self._open = False

    def start(self) -> None:
        """Let in who comes, and who has come already."""
        self._open = True
        self._reactor.addReader(self)

    def stop(self) -> None:
        self._open = False
        self._reactor.removeReader(self)
        self._socket.close()

    def share(self, on: bool) -> None:
        """Whether another socket of this user, that shares as well, may be bound to the same port."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, on)

    @property
    def number(self) -> int:
        """The port's; 0 of a unix socket."""
        name = self._socket.getsockname()
        return int(name[1]) if isinstance(name, tuple) else 0

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "port"

    def doRead(self) -> None:
        for _ in range(_AT_ONCE):
            if not self._open:
                return
            try:
                sock, address = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._pause(error)
                    return
                continue  # that peer is gone already
            sock.setblocking(False)
            self._arrived(sock, address)

    def _pause(self, error: OSError) -> None:
        _log.warn("a connection has to wait: {reason}", reason=error.strerror)
        self._reactor.removeReader(self)
        self._reactor.callLater(_PAUSE_S, self._resume)
        self._no_room()

    def _resume(self) -> None:
        if self._open:
            self._reactor.addReader(self)

    def connectionLost(self, reason: Failure) -> None:
        self.stop()


def bind(address: str, number: int, share: bool = False) -> socket.socket:
    """
    A TCP socket that listens; ``::`` is for IPv4 as well.  With ``share`` one
    that shares as well may have the port, too.  Raises `ConfigError`.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = None
    try:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address != "::")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, share)
        sock.bind((address, number))
        sock.listen(_BACKLOG)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, False)
        return sock
    except OSError as error:
        if sock is not None:
            sock.close()
        shown = f"[{address}]" if family == socket.AF_INET6 else address
        raise ConfigError(f"cannot listen on {shown}:{number}: {error.strerror}") from None


def bind_unix(path: str, mode: int = 0o660) -> socket.socket:
    """
    A unix socket that listens, for the own user and group unless ``mode`` says
    otherwise; one that was left behind makes room.  Raises `ConfigError`.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    mask = os.umask(0o777 & ~mode)
    try:
        if _is_left_behind(path):
            os.unlink(path)
        sock.bind(path)
        sock.listen(_BACKLOG)
        return sock
    except OSError as error:
        sock.close()
        raise ConfigError(f"cannot listen on {path}: {error.strerror or error}") from None
    finally:
        os.umask(mask)


def _is_left_behind(path: str) -> bool:
    """A socket where nobody listens."""
    if not os.path.exists(path) or not stat.S_ISSOCK(os.stat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(1)
        try:
            trial.connect(path)
        except ConnectionRefusedError:
            return True
        return False
