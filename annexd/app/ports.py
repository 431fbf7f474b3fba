"""The sockets of a listener, which move to where the configuration says."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Union

from annexd.app.listen import Address
from annexd.errors import ConfigError
from annexd.transports.port import Arrived, Port, bind, bind_unix

Place = tuple[str, Union[Address, str]]
"""What comes in there, as in ``tls``, and an address or the path of a unix socket."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that can be done without failing, or be dropped: one of both is called, once."""

    commit: Callable[[], None]
    drop: Callable[[], None]


class Ports:
    """``no_room`` is called when a connection cannot be accepted for want of file descriptors."""

    def __init__(self, reactor: Any, no_room: Callable[[], None]) -> None:
        self._reactor = reactor
        self._no_room = no_room
        self._open: dict[Place, Port] = {}

    @property
    def addresses(self) -> list[str]:
        return [_shown(place, port) for place, port in self._open.items()]

    def move(self, wanted: Mapping[Place, Arrived]) -> Change:
        """
        Listen at all of ``wanted``, and nowhere else, with the change that is
        returned.  Until then who comes to a new place waits there.  Raises
        `ConfigError`, and everything is as it was.
        """
        added: dict[Place, Port] = {}
        try:
            for place, arrived in wanted.items():
                if place not in self._open:
                    sock = self._listen(place[1], wanted)
                    added[place] = Port(self._reactor, sock, arrived, self._no_room)
        except ConfigError:
            _stop(added)
            raise

        def commit() -> None:
            for port in added.values():
                port.start()
            kept = {place: port for place, port in self._open.items() if place in wanted}
            _stop({place: port for place, port in self._open.items() if place not in wanted})
            self._open = kept | added

        return Change(commit, lambda: _stop(added))

    def close(self) -> None:
        self.move({}).commit()

    def _listen(self, where: Address | str, wanted: Collection[Place]) -> socket.socket:
        if isinstance(where, str):
            return bind_unix(where)
        # Of 127.0.0.1:7001 and [::]:7001 each is in the way of the other.
        leaving = [
            port
            for place, port in self._open.items()
            if place not in wanted and where.port and port.number == where.port
        ]
        _share(leaving, True)
        try:
            return bind(where.host, where.port, share=bool(leaving))
        finally:
            _share(leaving, False)


def _share(ports: Iterable[Port], on: bool) -> None:
    for port in ports:
        port.share(on)


def _stop(ports: Mapping[Place, Port]) -> None:
    for (_, where), port in ports.items():
        port.stop()
        if isinstance(where, str):
            try:
                os.unlink(where)
            except OSError:
                pass  # somebody has tidied up


def _shown(place: Place, port: Port) -> str:
    kind, where = place
    return f"{kind}:unix:{where}" if isinstance(where, str) else f"{kind}:{Address(where.host, port.number)}"
