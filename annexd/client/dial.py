"""A TCP connection to a host, by any of its addresses, before a deadline."""

from __future__ import annotations

import _socket
from time import monotonic

from annexd.client.p2p_address import is_literal
from annexd.client.program import Problem

# A peer that vanished is noticed within three minutes, also while nothing is to be sent.
_KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPALIVE", 60), ("TCP_KEEPINTVL", 30), ("TCP_KEEPCNT", 4))

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Found = tuple[int, int, int, str, tuple[Any, ...]]


class Socket(_socket.socket):
    """One that can be referred to weakly, as _ssl does; the module socket takes long to import."""

    __slots__ = ("__weakref__",)


def connect(host: str, port: int, seconds: float) -> Socket:
    """
    The addresses of ``host`` are tried in turn; each has its share of the seconds that are left.

    Raises :class:`Problem`, which says what went wrong at each.
    """
    end = monotonic() + seconds
    failures: list[str] = []
    candidates = _look_up(host, port, seconds)
    for number, (family, kind, protocol, _, target) in enumerate(candidates):
        connection = Socket(family, kind, protocol)
        connection.settimeout(max(0.1, (end - monotonic()) / (len(candidates) - number)))
        try:
            connection.connect(target)
            settle(connection)
            return connection
        except OSError as error:
            connection.close()
            where = "" if is_literal(host) else f" at {target[0]}"
            failures.append(f"{_reason(error, port, seconds)}{where}")
    raise Problem(f"cannot connect to {host}: {', '.join(dict.fromkeys(failures))}")


def settle(connection: _socket.socket) -> None:
    """No waiting for more to send, and a vanished peer is noticed."""
    connection.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
    connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(_socket, name):
            connection.setsockopt(_socket.IPPROTO_TCP, getattr(_socket, name), value)


def _look_up(host: str, port: int, seconds: float) -> Sequence[Found]:
    """The resolver has no deadline, so a thread waits for it; it ends with the process at the latest."""
    if is_literal(host):
        return _socket.getaddrinfo(host.encode(), port, type=_socket.SOCK_STREAM)
    import _thread

    found: list[Sequence[Found] | OSError] = []
    done = _thread.allocate_lock()
    done.acquire()

    def ask() -> None:
        try:  # as bytes: for text it would import the codec for names in other scripts
            found.append(_socket.getaddrinfo(host.encode(), port, type=_socket.SOCK_STREAM))
        except OSError as error:
            found.append(error)
        finally:
            done.release()

    _thread.start_new_thread(ask, ())
    if not done.acquire(timeout=seconds):
        raise Problem(f"the name {host} could not be looked up within {seconds:g} seconds")
    answer = found[0]
    if isinstance(answer, OSError):
        if answer.errno == _socket.EAI_AGAIN:
            raise Problem(f"the name {host} cannot be looked up at present: {answer.strerror}")
        raise Problem(f"there is no host {host}: {answer.strerror}")
    return answer


def _reason(error: OSError, port: int, seconds: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer from port {port} within {seconds:g} seconds"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens on port {port} (connection refused)"
    return f"{(error.strerror or str(error)).lower()} (port {port})"
