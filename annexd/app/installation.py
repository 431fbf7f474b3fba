"""A daemon's files, as those who type commands find them, whether it runs or not."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from annexd.app.asking import ask
from annexd.app.audit import AUDIT, AuditFile, record
from annexd.app.config import Config, read
from annexd.app.sockets import asking_socket
from annexd.app.state import private_directory, state_directory
from annexd.app.token_file import Token, TokenFile
from annexd.errors import AnnexdError, Unavailable
from annexd.router.places import Map, Place, Served

DEFAULT_CONFIG = "/etc/annexd.toml"


@dataclass(frozen=True, slots=True)
class Installation:
    """``socket`` is that of a daemon that answers, `None` when there is none."""

    state: str
    config: Config = field(default_factory=Config)
    served: tuple[Served, ...] = ()
    socket: str | None = None

    @property
    def tokens(self) -> TokenFile:
        return TokenFile(self.state)

    def place(self, repository: str) -> Place:
        """Raises `Refused` when that is not served."""
        path = os.fsencode(os.path.abspath(repository))
        # Without a daemon and a configuration nobody knows what is served.
        return Map(self.served or [Served(path)]).locate(path, None)

    def make_state(self) -> TokenFile:
        """Where tokens are kept, made if need be.  Raises `ConfigError`."""
        private_directory(self.state)
        return self.tokens

    def tell_of_tokens(self, event: str, tokens: Iterable[Token]) -> str | None:
        """
        Have the daemon notice and its audit say what has happened to
        ``tokens``; what did not work.
        """
        if self.socket is not None:
            try:
                ask(self.socket, "tokens")
                return None
            except Unavailable as error:
                return str(error)
        if self.config.audit.file is not None:
            return _write(AuditFile(self.config.audit.file), event, tokens)
        return None


def _write(audit: AuditFile, event: str, tokens: Iterable[Token]) -> str | None:
    """In the place of a daemon that does not run."""
    try:
        for token in tokens:
            told = record(
                {
                    "log_namespace": AUDIT,
                    "log_time": time.time(),
                    "event": event,
                    "principal": token.principal,
                    "repository": token.repository,
                    "reason": token.rights.value,
                }
            )
            audit.write(told or {})
    except OSError as error:
        return f"nothing is written to the audit {audit.path}: {error.strerror}"
    finally:
        audit.close()
    return None


def find(config: str | None, socket: str | None, environ: Mapping[str, str]) -> Installation:
    """
    By a configuration, else by the daemon that runs, else by the configuration
    of the system.  A daemon that was started with another one is another one's.
    Raises `ConfigError`.
    """
    given = None if config is None else read(config)
    address = _socket(socket or (None if given is None else given.daemon.socket), environ)
    running = None if address is None else _ask(address)
    if running is not None and config is not None and running["config"] != os.path.abspath(config):
        running = None
    if given is None:
        known = running["config"] if running is not None else _if_there(DEFAULT_CONFIG)
        given = Config() if known is None else read(known)
    if running is None:
        state = state_directory(given.daemon.state_directory, environ)
        return Installation(state, given, given.served)
    served = tuple(Served(os.fsencode(one["path"]), one["nested"]) for one in running["served"])
    return Installation(running["state"], given, served, address)


def _socket(given: str | None, environ: Mapping[str, str]) -> str | None:
    try:
        return asking_socket(given, environ)
    except AnnexdError:
        return None


def _ask(address: str) -> dict[str, Any] | None:
    try:
        return ask(address, "where")
    except Unavailable:
        return None


def _if_there(path: str) -> str | None:
    return path if os.path.exists(path) else None
