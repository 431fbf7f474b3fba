"""[listen.tls] and [listen.plain] as a part of the daemon."""

from __future__ import annotations

import socket
from typing import Any

from twisted.logger import Logger

from annexd.app.certificates import Certificates
from annexd.app.listen import FrontEnds, Listen, Tls, public_address
from annexd.app.plan import Current
from annexd.app.ports import Change, Place, Ports
from annexd.app.reception import Entrance, Reception
from annexd.transports.port import Arrived

_log = Logger()


class Network:
    """A `annexd.app.gateway.Listener`."""

    def __init__(
        self, reactor: Any, current: Current, certificates: Certificates, reception: Reception
    ) -> None:
        self._current = current
        self._certificates = certificates
        self._reception = reception
        self._ports = Ports(reactor, reception.make_room)
        self._told = ""

    @property
    def addresses(self) -> list[str]:
        return self._ports.addresses

    def start(self) -> None:
        self.prepare(self._current.config.listen).commit()

    def prepare(self, wanted: Listen) -> Change:
        read = None if wanted.tls is None else self._certificates.read(wanted.tls)
        move = self._ports.move(self._entrances(wanted))

        def commit() -> None:
            if read is not None:
                self._certificates.use(read)
            move.commit()
            if wanted.tls is not None:
                self._tell_public(wanted.tls)

        return Change(commit, move.drop)

    def _entrances(self, wanted: Listen) -> dict[Place, Arrived]:
        found: dict[Place, Arrived] = {}
        if wanted.tls is not None:
            entrance = Entrance("tls", self._tls_front_ends, self._certificates.identity)
            found |= {("tls", address): self._arrivals(entrance) for address in wanted.tls.address}
        if wanted.plain is not None:
            entrance = Entrance("plain", self._plain_front_ends)
            found |= {("plain", where): self._arrivals(entrance) for where in wanted.plain.address}
        return found

    def _arrivals(self, entrance: Entrance) -> Arrived:
        def arrived(sock: socket.socket, address: Any) -> None:
            self._reception.arrived(entrance, sock, address)

        return arrived

    async def stop(self) -> None:
        self._ports.close()
        self._reception.send_all_away()

    async def close(self) -> None:
        await self._reception.close()

    def _tls_front_ends(self) -> FrontEnds:
        tls = self._current.config.listen.tls
        return FrontEnds() if tls is None else tls.proxy_from

    def _plain_front_ends(self) -> FrontEnds:
        plain = self._current.config.listen.plain
        return FrontEnds() if plain is None else plain.proxy_from

    def _tell_public(self, tls: Tls) -> None:
        address, fingerprint = str(public_address(tls)), self._certificates.identity().fingerprint
        if self._told != address + fingerprint:
            self._told = address + fingerprint
            _log.info(
                "peers come to {address}; the certificate has sha256={fingerprint}",
                address=address,
                fingerprint=fingerprint,
            )
