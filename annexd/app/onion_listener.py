"""[listen.tor] as a part of the daemon."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from annexd.app.listen import FrontEnds, Listen
from annexd.app.listen_tor import SSH_PORT, Tor
from annexd.app.onion_places import Places, hostname_of, obstacle, places, tor_for
from annexd.app.plan import Current
from annexd.app.ports import Change
from annexd.app.reception import Entrance, Reception
from annexd.app.ssh_callers import NAMELESS
from annexd.app.state import private_directory
from annexd.app.token_file import moment
from annexd.errors import ConfigError
from annexd.transports.port import Port, bind_unix

if TYPE_CHECKING:
    # txtorcon is needed, and takes its time, only where the listener is configured.
    from annexd.transports.onion import Standing
    from annexd.transports.tor import Publication

_log = Logger()

_STEP = 25
"""The log gets one line for so many percent of a bootstrap."""


class SshEntrance(Protocol):
    """See `annexd.app.ssh_listener.SshListener`."""

    def arrived_by_onion(self, sock: socket.socket, announced: bool) -> None: ...


class OnionListener:
    """
    A `annexd.app.gateway.Listener`, which never waits for tor.  ``state`` is
    where the daemon keeps keys, ``daemon`` its own socket; what is configured is
    read at the start only, and of several onions this is the one with ``number``.
    """

    def __init__(
        self,
        reactor: Any,
        current: Current,
        reception: Reception,
        ssh: SshEntrance,
        state: str,
        daemon: str,
        number: int = 0,
    ) -> None:
        self._number = number
        self._reactor = reactor
        self._current = current
        self._reception = reception
        self._ssh = ssh
        self._state = state
        self._daemon = daemon
        self._wanted: Tor | None = None
        self._sockets: dict[str, Port] = {}
        self._hostname = ""
        self._problem = ""
        self._tor: Any = None
        self._publication: Publication | None = None
        self._beginning: IDelayedCall | None = None
        self._told: tuple[str, str] = ("", "")

    @property
    def addresses(self) -> list[str]:
        """With how far it is: that it is somewhere does not mean that anybody can come."""
        if not self._sockets or self._wanted is None:
            return []
        name = self._hostname or f"unix:{next(iter(self._sockets))}"
        ssh = f" and {SSH_PORT}" if self._wanted.ssh else ""
        return [f"tor:{name}:{self._wanted.port}{ssh} ({self._shown()})"]

    # --- start ---------------------------------------------------------

    def start(self) -> None:
        onions = self._current.config.listen.onions
        if self._number >= len(onions):
            return
        wanted = onions[self._number]
        where = places(wanted, self._state, self._daemon)
        self._learn_hostname(wanted)
        if wanted.hidden_service is None:
            self._prepare(wanted, where)
        self._wanted = wanted
        self._listen(wanted, where)
        closed = obstacle(wanted, where.target)
        if closed is not None:
            _log.warn("tor: nobody may get through to annexd: {closed}", closed=closed)
        if self._publication is not None:
            # Not now: when another listener cannot be had, nothing has begun.
            self._beginning = self._reactor.callLater(0, self._publication.start)

    def _listen(self, wanted: Tor, where: Places) -> None:
        announced = wanted.launch is not None or wanted.circuit_ids
        front_ends = FrontEnds((), announced)
        entrance = Entrance("tor", lambda: front_ends, nameless=NAMELESS)

        def arrived(sock: Any, address: Any) -> None:
            self._reception.arrived(entrance, sock, address)

        def arrived_for_ssh(sock: Any, address: Any) -> None:
            self._ssh.arrived_by_onion(sock, announced)

        for path, whom in ((where.target, arrived), (where.ssh, arrived_for_ssh)):
            if path is not None:
                sock = bind_unix(path, where.mode)
                self._sockets[path] = Port(self._reactor, sock, whom, self._reception.make_room)
        for port in self._sockets.values():
            port.start()

    def _prepare(self, wanted: Tor, where: Places) -> None:
        if wanted.launch is not None:
            private_directory(where.tor)
        try:
            from annexd.transports.tor import Publication

            self._tor = tor_for(self._reactor, wanted, where)
        except ImportError as error:
            raise ConfigError(f"[listen.tor] needs txtorcon: pip install 'annexd[tor]' ({error})") from None
        self._publication = Publication(self._reactor, self._tor, self._tell, wanted.self_check)

    def _learn_hostname(self, wanted: Tor) -> None:
        """That of another's tor may be for others to read only, which keeps nobody from coming."""
        try:
            self._hostname, self._problem = hostname_of(wanted, self._state), ""
        except ConfigError as error:
            if wanted.hidden_service is None:
                raise
            self._problem = f"its address is not known: {error}"
            _log.warn("tor: {problem}; set listen.tor.hostname", problem=self._problem)

    def prepare(self, wanted: Listen) -> Change:
        """What is said there is for the next start; but a name that could not be read may be there now."""
        return Change(self._look_again, lambda: None)

    def _look_again(self) -> None:
        if self._wanted is not None and self._problem:
            self._learn_hostname(self._wanted)

    # --- how far it is -------------------------------------------------

    def _tell(self, standing: Standing) -> None:
        about = {"address": self._hostname, "how": self._shown()}
        if standing.stage == "waiting":
            # What goes on to be wrong is said once.
            same = self._told == ("waiting", standing.trouble)
            (_log.debug if same else _log.warn)("tor: {address} is not published: {how}", **about)
        elif standing.trouble and standing.stage == "published":
            _log.warn("tor: {address}: {how}", **about)
        elif standing.stage in ("connecting", "stopped"):
            _log.debug("tor: {address}: {how}", **about)
            return
        elif standing.stage == "bootstrapping":
            step = standing.percent // _STEP
            (_log.debug if self._told == ("bootstrapping", str(step)) else _log.info)(
                "tor: {address}: {how}", **about
            )
            self._told = (standing.stage, str(step))
            return
        elif standing.stage != self._told[0]:
            _log.info("tor: {address}: {how}", **about)
        self._told = (standing.stage, standing.trouble)

    def _shown(self) -> str:
        if self._publication is None:
            return self._problem or "another tor publishes it"
        standing = self._publication.standing
        trouble = f"; {standing.trouble}" if standing.trouble else ""
        match standing.stage:
            case "bootstrapping":
                return f"bootstrapping {standing.percent} %"
            case "published" | "reachable":
                age = self._reactor.seconds() - standing.since
                return f"{standing.stage} since {moment(time.time() - age)}{trouble}"
            case "waiting":
                return f"{standing.trouble}; annexd tries again"
            case "connecting":
                return f"connecting to tor{trouble}"
            case _:
                return f"{standing.stage}{trouble}"

    # --- stop ----------------------------------------------------------

    async def stop(self) -> None:
        """Tor goes on: with it those would be cut off who are inside."""
        if self._beginning is not None and self._beginning.active():
            self._beginning.cancel()
        sockets, self._sockets = self._sockets, {}
        for path, port in sockets.items():
            port.stop()
            try:
                os.unlink(path)
            except OSError:
                pass  # somebody has tidied up
        if sockets:
            self._reception.send_all_away()

    async def close(self) -> None:
        await self._reception.close()
        if self._publication is not None:
            self._publication.stop()
            await self._tor.end()
