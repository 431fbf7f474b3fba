"""Peers at ``p2p-annex::annexd:ADDRESS``: TLS to an annexd, without the helper program."""

from __future__ import annotations

import hmac
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from annexd.client.p2p_address import Address, fingerprint, is_literal
from annexd.errors import ConfigError, Unavailable
from annexd.protocol.messages import Auth
from annexd.remotes.dialing import Explain, GetAuth, nothing_said
from annexd.sessions.wire import Wire
from annexd.transports.outgoing import connected
from annexd.transports.secured import SystemConnection, secured_towards
from annexd.transports.tls import TlsTransport


class TlsDialer:
    """
    ``context`` gets what `trust` makes of the same address, in a thread: once,
    as it costs a hundredth of a second to read what the system trusts.
    ``auth`` has the token that is kept for it.
    """

    def __init__(
        self, reactor: Any, address: Address, context: Callable[[], Awaitable[ssl.SSLContext]], auth: GetAuth
    ) -> None:
        self._reactor = reactor
        self._address = address
        self._get_context = context
        self._context: ssl.SSLContext | None = None
        self._get_auth = auth
        self.auth: Auth | None = None

    async def connect(self, wire: Wire) -> Explain:
        self.auth = await self._get_auth()
        if self._context is None:
            self._context = await self._get_context()
        sock = await connected(self._reactor, self._address.host, self._address.port)
        secure = await self._secured(sock, self._context)
        TlsTransport(self._reactor, secure).connect(wire)
        return nothing_said

    async def _secured(self, sock: socket.socket, context: ssl.SSLContext) -> SystemConnection:
        address = self._address
        name = None if address.sha256 and is_literal(address.server_name) else address.server_name
        secure = await secured_towards(self._reactor, sock, context, name)
        if address.sha256:
            seen = fingerprint(secure.getpeercert(True) or b"")
            if not hmac.compare_digest(seen, address.sha256):
                secure.close()
                place = f"{address.host} port {address.port}"
                raise Unavailable(
                    f"the certificate of {place} is not the one that its address says: it has sha256={seen}"
                )
        return secure


def trust(address: Address, ca_file: str = "", own_certificate: str = "") -> ssl.SSLContext:
    """
    Trust the certificate that ``address`` pins, else what ``ca_file``, else
    what the system trusts.  ``own_certificate`` is a file with key and
    certificate in PEM, to be shown to the server.  Reads files; raises `ConfigError`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    path = ca_file
    try:
        if address.sha256:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif ca_file:
            context.load_verify_locations(ca_file)
        else:
            context.load_default_certs()
        if own_certificate:
            path = own_certificate
            context.load_cert_chain(own_certificate, password=lambda: b"")
    except OSError as error:
        raise ConfigError(f"the certificates in {path} cannot be used: {error.strerror or error}") from None
    return context
