"""Where the onion service's key, its tor and its socket are, by [listen.tor]."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from annexd.app.listen_tor import SSH_PORT, Tor, checked_path
from annexd.app.state import private_directory
from annexd.errors import ConfigError
from annexd.transports.onion_key import OnionKey, read_hostname, read_or_make

_SOCKET, _SSH_SOCKET = "-tor.sock", "-tor-ssh.sock"

_FOR_ALL = 0o666
"""Tor is another user as a rule; who else comes by it has no more than all the world has."""


@dataclass(frozen=True, slots=True)
class Places:
    """
    ``target`` is annexd's socket, ``ssh`` the one of its SSH listener if that is
    there; ``mode`` is who may use them, ``key`` the service's directory.
    """

    target: str
    mode: int
    key: str
    tor: str
    """The directory of a tor of annexd's own."""

    ssh: str | None = None

    @property
    def more(self) -> tuple[tuple[int, str], ...]:
        """Ports beside the first, and their sockets."""
        return () if self.ssh is None else ((SSH_PORT, self.ssh),)


def places(wanted: Tor, state: str, daemon: str) -> Places:
    """``daemon`` is the socket that has a place already.  Raises `ConfigError`."""
    own = os.path.join(state, "tor")
    usual = os.path.join(own, "annexd") if wanted.launch is not None else daemon.removesuffix(".sock")
    target = _checked(wanted.socket or usual + _SOCKET, "socket")
    ssh = _checked(wanted.ssh_socket or usual + _SSH_SOCKET, "ssh-socket") if wanted.ssh else None
    if wanted.launch is not None:
        _check_own(own)
    mode = 0o600 if wanted.launch is not None else _FOR_ALL
    return Places(target, mode, _key_directory(state), own, ssh)


def _checked(path: str, setting: str) -> str:
    try:
        return checked_path(path)
    except ValueError as error:
        raise ConfigError(f"{error}; name another one in listen.tor.{setting}") from None


def hostname_of(wanted: Tor, state: str) -> str:
    """The onion's address, which is made with its key where there is none.  Raises `ConfigError`."""
    if wanted.hidden_service is not None:
        return wanted.hostname or read_hostname(wanted.hidden_service)
    return _key(state).hostname


def socks_of(wanted: Tor | None, state: str) -> str | None:
    """That of the tor by which annexd is an onion service, as far as it is known."""
    if wanted is None or wanted.hidden_service is not None:
        return None
    return wanted.socks if wanted.launch is None else os.path.join(state, "tor", "socks")


def obstacle(wanted: Tor, target: str) -> str | None:
    """Why a tor that is run by another user would not get to ``target``, as far as can be seen."""
    if wanted.control is None or not wanted.control.startswith("/"):
        return None
    try:
        if os.stat(wanted.control).st_uid in (os.geteuid(), 0):
            return None
        directory = os.path.dirname(target)
        while directory.strip("/"):
            if not os.stat(directory).st_mode & 0o001:
                return f"tor is another user, and {directory} is closed to others"
            directory = os.path.dirname(directory)
    except OSError:
        pass  # the control connection will tell more
    return None


def tor_for(reactor: Any, wanted: Tor, where: Places) -> Any:
    """A `annexd.transports.onion.Tor` that also has an ``end``.  Raises `ConfigError`, `ImportError`."""
    return _own(reactor, wanted, where) if wanted.launch is not None else _running(reactor, wanted, where)


def _running(reactor: Any, wanted: Tor, where: Places) -> Any:
    from annexd.transports.onion_control import Service
    from annexd.transports.onion_ways import RunningTor

    assert wanted.control is not None
    key = read_or_make(where.key)
    service = Service(key, wanted.port, where.target, wanted.clients, wanted.proof_of_work, where.more)
    return RunningTor(
        reactor,
        endpoint(reactor, wanted.control),
        endpoint(reactor, wanted.socks),
        service,
        wanted.password_file,
    )


def _own(reactor: Any, wanted: Tor, where: Places) -> Any:
    from annexd.transports.onion_torrc import OwnService
    from annexd.transports.onion_ways import OwnFiles, OwnTor

    assert wanted.launch is not None
    service = OwnService(
        where.key,
        where.tor,
        where.target,
        wanted.port,
        wanted.torrc,
        wanted.clients,
        wanted.proof_of_work,
        where.more,
    )
    service.authorize()
    files = OwnFiles(where.tor, service.torrc())
    return OwnTor(reactor, wanted.launch, files, read_or_make(where.key).hostname, wanted.port)


def endpoint(reactor: Any, place: str) -> Any:
    """An `IStreamClientEndpoint` of a path, or of ADDRESS:PORT."""
    # Those who ask for a token need to know the address only.
    from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint

    if place.startswith("/"):
        return UNIXClientEndpoint(reactor, place)  # type: ignore[no-untyped-call]
    host, _, port = place.rpartition(":")
    kind = TCP6ClientEndpoint if host.startswith("[") else TCP4ClientEndpoint
    return kind(reactor, host.strip("[]"), int(port))


def _check_own(directory: str) -> None:
    try:
        checked_path(os.path.join(directory, "control"))
    except ValueError as error:
        raise ConfigError(f"{error}; choose another daemon.state-directory") from None


def _key_directory(state: str) -> str:
    return os.path.join(state, "onion")


def _key(state: str) -> OnionKey:
    return read_or_make(_key_directory(private_directory(state)))
