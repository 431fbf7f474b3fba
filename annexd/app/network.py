"""[listen.tls] and [listen.plain] as a part of the daemon."""

from __future__ import annotations

import os
from typing import Any

from twisted.logger import Logger

from annexd.app.certificates import Certificates
from annexd.app.listen import Address, FrontEnds, Tls, public_address
from annexd.app.plan import Current
from annexd.app.reception import Entrance, Reception
from annexd.errors import ConfigError
from annexd.transports.port import Port, bind, bind_unix

_log = Logger()


class Network:
    """A `annexd.app.gateway.Listener`; where it listens is read at the start only."""

    def __init__(
        self, reactor: Any, current: Current, certificates: Certificates, reception: Reception
    ) -> None:
        self._reactor = reactor
        self._current = current
        self._certificates = certificates
        self._reception = reception
        self._ports: list[Port] = []
        self._unix: list[str] = []
        self.addresses: list[str] = []

    def start(self) -> None:
        wanted = self._current.config.listen
        try:
            if wanted.tls is not None:
                self._certificates.use(wanted.tls)
                for address in wanted.tls.address:
                    self._listen(Entrance("tls", self._tls_front_ends, self._certificates.identity), address)
                self._tell_public(wanted.tls)
            if wanted.plain is not None:
                for place in wanted.plain.address:
                    self._listen(Entrance("plain", self._plain_front_ends), place)
        except ConfigError:
            self._close_ports()
            raise

    def _listen(self, entrance: Entrance, place: Address | str) -> None:
        if isinstance(place, str):
            sock = bind_unix(place)
            self._unix.append(place)
        else:
            sock = bind(place.host, place.port)

        def arrived(sock: Any, address: Any) -> None:
            self._reception.arrived(entrance, sock, address)

        port = Port(self._reactor, sock, arrived, self._reception.make_room)
        shown = f"unix:{place}" if isinstance(place, str) else str(Address(place.host, port.number))
        self.addresses.append(f"{entrance.transport}:{shown}")
        self._ports.append(port)
        port.start()

    def reload(self) -> None:
        """What cannot be used leaves the former certificate in use, and the log says so."""
        tls = self._current.config.listen.tls
        if tls is None or not self._ports:
            return
        try:
            self._certificates.use(tls)
        except ConfigError as error:
            _log.error("the former certificate stays in use: {error}", error=str(error))

    async def stop(self) -> None:
        self._close_ports()
        self._reception.send_all_away()

    async def close(self) -> None:
        await self._reception.close()

    def _close_ports(self) -> None:
        for port in self._ports:
            port.stop()
        for path in self._unix:
            try:
                os.unlink(path)
            except OSError:
                pass  # somebody has tidied up
        self._ports, self._unix, self.addresses = [], [], []

    def _tls_front_ends(self) -> FrontEnds:
        tls = self._current.config.listen.tls
        return FrontEnds() if tls is None else tls.proxy_from

    def _plain_front_ends(self) -> FrontEnds:
        plain = self._current.config.listen.plain
        return FrontEnds() if plain is None else plain.proxy_from

    def _tell_public(self, tls: Tls) -> None:
        fingerprint = self._certificates.identity().fingerprint
        _log.info(
            "peers come to {address}; the certificate has sha256={fingerprint}",
            address=str(public_address(tls)),
            fingerprint=fingerprint,
        )
