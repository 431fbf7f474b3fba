"""The SSH listener; see `annexd.app.gateway.Listener`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from annexd.app.admin import Sessions
from annexd.app.doorman import KeyDoorman
from annexd.app.listen import Ssh
from annexd.app.plan import Current
from annexd.app.shell import Shell
from annexd.app.ssh_users import OneFile, OneFileEach, Users
from annexd.app.state import private_directory, state_directory
from annexd.errors import ConfigError
from annexd.flow.workers import Pool
from annexd.sessions.guessing import Guessing
from annexd.transports.address import Address

if TYPE_CHECKING:
    # Conch is needed, and takes its time and memory, only where the listener is configured.
    from twisted.conch.ssh.keys import Key

    from annexd.app.ssh_command import SshCommand
    from annexd.transports.ssh.channel import Channel
    from annexd.transports.ssh.server import Limits, Server

_log = Logger()

_BACKLOG = 1024
# Clients that work with many jobs come at once.

_OWN_KEY = "ssh_host_ed25519_key"


class SshListener:
    """Listens where ``[listen.ssh]`` says, as long as it says so."""

    def __init__(
        self,
        reactor: Any,
        current: Current,
        shell: Shell,
        sessions: Sessions,
        pool: Pool,
        environ: Mapping[str, str],
    ) -> None:
        self._reactor = reactor
        self._current = current
        self._shell = shell
        self._sessions = sessions
        self._pool = pool
        self._environ = environ
        self._guessing = Guessing(reactor.seconds)
        self._ports: dict[Address, IListeningPort] = {}
        self._server: Server | None = None
        self._doorman: KeyDoorman | None = None
        self._settings: Ssh | None = None
        self._commands: set[SshCommand] = set()

    @property
    def addresses(self) -> list[str]:
        found = []
        for port in self._ports.values():
            host: Any = port.getHost()
            found.append(f"ssh:{Address(host.host, host.port)}")
        return found

    # --- start, reload -------------------------------------------------

    def start(self) -> None:
        self._apply(self._current.config.listen.ssh)

    def reload(self) -> None:
        try:
            self._apply(self._current.config.listen.ssh)
        except ConfigError as error:
            _log.error("the ssh listener stays as it was: {error}", error=str(error))

    def _apply(self, settings: Ssh | None) -> None:
        """Raises `ConfigError`; then nothing has changed, but for keys and users."""
        if settings is not None:
            self._serve(settings)
        wanted = () if settings is None else settings.address
        added = [address for address in wanted if address not in self._ports]
        made: dict[Address, IListeningPort] = {}
        try:
            for address in added:
                made[address] = self._listen(address)
        except ConfigError:
            for port in made.values():
                port.stopListening()
            raise
        for address in [address for address in self._ports if address not in wanted]:
            self._ports.pop(address).stopListening()
        self._ports |= made
        self._settings = settings

    def _listen(self, address: Address) -> IListeningPort:
        try:
            port: IListeningPort = self._reactor.listenTCP(
                address.port, self._server, backlog=_BACKLOG, interface=address.host
            )
        except CannotListenError as error:
            number = getattr(error.socketError, "errno", None)
            reason = os.strerror(number) if number else str(error.socketError)
            raise ConfigError(f"listen.ssh: {address}: {reason}") from None
        return port

    def _serve(self, settings: Ssh) -> None:
        """Make the server, or have it use these keys for those who come from now on."""
        try:
            from annexd.transports.ssh.server import Server
        except ImportError as error:
            raise ConfigError(f"[listen.ssh] needs Conch: pip install 'annexd[server]' ({error})") from None
        keys, limits = self._host_keys(settings), self._limits()
        if self._server is None or self._doorman is None:
            self._doorman = KeyDoorman(self._users(settings), self._guessing)
            self._server = Server(self._reactor, keys, limits, self._doorman, self._perform)
        else:
            self._server.use_keys(keys)
            self._server.limits = limits
        if self._settings is None or _keys_of(settings) != _keys_of(self._settings):
            self._doorman.users = self._users(settings)

    def _host_keys(self, settings: Ssh) -> list[Key]:
        from annexd.transports.ssh.hostkey import fingerprint, read, read_or_make

        if settings.host_key:
            return [read(path) for path in settings.host_key]
        state = state_directory(self._current.config.daemon.state_directory, self._environ)
        path = os.path.join(private_directory(state), _OWN_KEY)
        key, is_new = read_or_make(path)
        if is_new:
            _log.info("made the host key {path}: {print}", path=path, print=fingerprint(key))
        return [key]

    def _limits(self) -> Limits:
        from annexd.transports.ssh.server import Limits

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
        ports, self._ports = self._ports, {}
        for port in ports.values():
            stopping = port.stopListening()
            if stopping is not None:
                await stopping
        if self._server is not None:
            self._server.leave()

    async def close(self) -> None:
        await DeferredList([command.cancel() for command in self._commands])
        if self._server is not None:
            self._server.close()


def _keys_of(settings: Ssh) -> tuple[str | None, str | None]:
    return settings.authorized_keys, settings.users


def _read_ahead(users: Users) -> None:
    reading = Deferred.fromCoroutine(users.entries(""))
    reading.addErrback(lambda failure: _log.failure("reading the keys of users", failure))
