"""[listen.ssh] as a part of the daemon."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.protocol import ServerFactory
from twisted.internet.task import deferLater
from twisted.logger import Logger

from annexd.app.admin import Sessions
from annexd.app.anteroom import Anteroom, Visitor, neighbourhood, plain_address, shown
from annexd.app.doorman import KeyDoorman
from annexd.app.guessing import Guessing
from annexd.app.listen import Listen, Ssh
from annexd.app.plan import Current
from annexd.app.ports import Change, Ports
from annexd.app.shell import Shell
from annexd.app.ssh_callers import NAMELESS, Callers
from annexd.app.ssh_users import OneFile, OneFileEach, Users
from annexd.app.state import private_directory
from annexd.errors import ConfigError
from annexd.flow.workers import Pool

if TYPE_CHECKING:
    # Conch is needed, and takes its time and memory, only where the listener is configured.
    from twisted.conch.ssh.keys import Key

    from annexd.app.ssh_command import SshCommand
    from annexd.transports.ssh.channel import Channel
    from annexd.transports.ssh.peer import Limits
    from annexd.transports.ssh.server import Server

_log = Logger()

_OWN_KEY = "ssh_host_ed25519_key"

_FAREWELL_S = 2.0
_POLL_S = 0.02


class SshListener:
    """A `annexd.app.gateway.Listener`."""

    def __init__(
        self,
        reactor: Any,
        current: Current,
        shell: Shell,
        sessions: Sessions,
        pool: Pool,
        anteroom: Anteroom,
        guessing: Guessing,
        state: str,
    ) -> None:
        self._reactor = reactor
        self._current = current
        self._shell = shell
        self._sessions = sessions
        self._pool = pool
        self._lobby = Lobby(anteroom)
        self._callers = Callers(
            reactor, anteroom, lambda: current.deadlines.handshake, lambda *who: self._adopt(*who)
        )
        self._guessing = guessing
        self._state = state
        self._ports = Ports(reactor, self._lobby.make_room)
        self._server: Server | None = None
        self._doorman: KeyDoorman | None = None
        self._settings: Ssh | None = None
        self._commands: set[SshCommand] = set()

    @property
    def addresses(self) -> list[str]:
        return self._ports.addresses

    # --- start, reload -------------------------------------------------

    def start(self) -> None:
        self.prepare(self._current.config.listen).commit()

    def prepare(self, wanted: Listen) -> Change:
        settings = wanted.ssh
        keys = [] if settings is None else host_keys_of(settings, self._state)
        places = () if settings is None else settings.address
        move = self._ports.move({("ssh", address): self._arrived for address in places})

        def commit() -> None:
            if settings is not None:
                self._serve(settings, keys)
            move.commit()
            self._settings = settings

        return Change(commit, move.drop)

    def _arrived(self, sock: socket.socket, address: Any) -> None:
        with sock:
            self._adopt(sock, None)

    def arrived_by_onion(self, sock: socket.socket, announced: bool) -> None:
        """By a unix socket; ``announced``: tor says first by which circuit, with a PROXY header."""
        self._callers.arrived(sock, announced)

    def _adopt(self, sock: socket.socket, host: str | None) -> None:
        """``host`` is for `Server.peer`."""
        if self._server is None or self._settings is None:
            return  # it has been taken out of the configuration since
        try:
            self._reactor.adoptStreamConnection(sock.fileno(), sock.family, _Arrival(self._server, host))
        except OSError as error:
            # It may have gone again, or there may be no descriptor for the copy.
            _log.info("a connection was not let in: {error}", error=error.strerror)

    def _serve(self, settings: Ssh, keys: Sequence[Key]) -> None:
        """Make the server, or have it use these keys for those who come from now on."""
        from annexd.transports.ssh.server import Server

        limits = self._limits()
        if self._server is None or self._doorman is None:
            self._doorman = KeyDoorman(self._users(settings), self._guessing)
            self._server = Server(self._reactor, keys, limits, self._lobby, self._doorman, self._perform)
        else:
            self._server.use_keys(keys)
            self._server.limits = limits
            if self._settings is None or _files(settings) != _files(self._settings):
                self._doorman.users = self._users(settings)

    def _limits(self) -> Limits:
        from annexd.transports.ssh.peer import Limits

        deadlines = self._current.deadlines
        return Limits(
            handshake=deadlines.handshake,
            idle=deadlines.idle,
            stall=deadlines.stall,
            peers=self._current.config.daemon.max_sessions,
        )

    def _users(self, settings: Ssh) -> Users:
        if settings.users is not None:
            return OneFileEach(settings.users, self._pool)
        assert settings.authorized_keys is not None
        users = OneFile(settings.authorized_keys, self._pool)
        # What is wrong in the file is said now, and not when somebody cannot log in.
        self._reactor.callWhenRunning(self._reactor.callLater, 0, _read_ahead, users)
        return users

    # --- commands ------------------------------------------------------

    def _perform(self, channel: Channel, user: Any, address: str, line: bytes) -> None:
        from annexd.app.ssh_command import SshCommand

        command = SshCommand(
            self._reactor,
            channel,
            user,
            address,
            line,
            self._sessions,
            self._current.deadlines,
            self._commands.discard,
        )
        self._commands.add(command)
        command.start(self._shell)

    # --- stop ----------------------------------------------------------

    async def stop(self) -> None:
        self._ports.close()
        self._callers.close()
        if self._server is not None:
            self._server.leave()

    async def close(self) -> None:
        await DeferredList([command.cancel() for command in self._commands])
        if self._server is not None:
            # Who is told goodbye before it has heard the exit code takes it for a failure.
            await self._until_empty(self._server)
            self._server.close()
            await self._until_empty(self._server)

    async def _until_empty(self, server: Server) -> None:
        end = self._reactor.seconds() + _FAREWELL_S
        while server.peers and self._reactor.seconds() < end:
            await deferLater(self._reactor, _POLL_S)


class Lobby:
    """The anteroom, for a transport that knows nothing of it."""

    def __init__(self, anteroom: Anteroom) -> None:
        self._anteroom = anteroom
        self.enter = anteroom.enter
        self.leave = anteroom.leave
        self.make_room = anteroom.make_room

    def whereabouts(self, host: str) -> tuple[str, str]:
        if not host:
            return "", NAMELESS
        address = plain_address(host.partition("%")[0])
        return address, neighbourhood(address)

    def shown(self, address: str) -> str:
        return shown(address, NAMELESS)

    def __iter__(self) -> Iterator[Visitor]:
        return iter(self._anteroom)


class _Arrival(ServerFactory):
    """One connection; Twisted asks a factory for what is to have it."""

    noisy = False

    def __init__(self, server: Server, host: str | None) -> None:
        self._server = server
        self._host = host

    def buildProtocol(self, addr: object) -> Any:
        return self._server.peer(self._host)


def given_host_keys(settings: Ssh) -> list[Key]:
    """Those that the configuration names.  Raises `ConfigError`, also where there is no Conch."""
    try:
        from annexd.transports.ssh import server  # noqa: F401
        from annexd.transports.ssh.hostkey import read
    except ImportError as error:
        raise ConfigError(f"[listen.ssh] needs Conch: pip install 'annexd[server]' ({error})") from None
    return [read(path) for path in settings.host_key]


def host_keys_of(settings: Ssh, state: str) -> list[Key]:
    """Those that are configured, or else one of our own.  Raises `ConfigError`."""
    keys = given_host_keys(settings)
    if keys:
        return keys
    from annexd.transports.ssh.hostkey import fingerprint, read_or_make

    path = os.path.join(private_directory(state), _OWN_KEY)
    key, is_new = read_or_make(path)
    if is_new:
        _log.info("made the host key {path}: {print}", path=path, print=fingerprint(key))
    return [key]


def _files(settings: Ssh) -> tuple[str | None, str | None]:
    return settings.authorized_keys, settings.users


def _read_ahead(users: Users) -> None:
    reading = Deferred.fromCoroutine(users.entries(""))
    reading.addErrback(lambda failure: _log.failure("reading the keys of users", failure))
