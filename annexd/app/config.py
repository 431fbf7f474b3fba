"""
annexd.toml as frozen dataclasses, with errors that name file, line and key.

All that is wrong is reported at once, one line each.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from annexd.app import values
from annexd.app.access import Rule
from annexd.app.lines import Lines, Where
from annexd.app.listen import Listen, listen
from annexd.app.listen_tor import socket_or_port
from annexd.app.node_settings import NodeSettings
from annexd.app.rules import rules
from annexd.app.values import Parser
from annexd.errors import ConfigError
from annexd.router.places import Served
from annexd.sessions.deadlines import Deadlines


@dataclass(frozen=True, slots=True)
class Daemon:
    socket: str | None = None
    state_directory: str | None = None
    """Where the daemon keeps what it makes for itself: keys, certificates, tokens."""

    log_format: str = "human"
    log_level: str = "info"
    log_checks: bool = False
    """A line for each CHECKPRESENT, too: clients ask for every key that they come by."""

    fsync: bool = True
    """Unless a repository says otherwise: content is on the disk before it is acknowledged."""

    git_annex: str = "git-annex"
    """The program for what annexd leaves to it; it need not be there."""

    disk_threads: int = 8
    transfer_threads: int = 8
    max_sessions: int = 10_000
    """More are refused, so that those inside do not run out of file descriptors."""

    max_unauthenticated: int = 500
    """Connections from the network that have not said yet who they are; the oldest go."""

    @property
    def tells_all(self) -> bool:
        """Whether sessions report requests that are too many to be of interest."""
        return self.log_level == "debug" or (self.log_checks and self.log_level == "info")


@dataclass(frozen=True, slots=True)
class Audit:
    file: str | None = None
    """Gets who came and what they changed, or were not let; nothing does where it is `None`."""


@dataclass(frozen=True, slots=True)
class Config:
    daemon: Daemon = field(default_factory=Daemon)
    deadlines: Deadlines = field(default_factory=Deadlines)
    served: tuple[Served, ...] = ()
    rules: tuple[Rule, ...] = ()
    audit: Audit = field(default_factory=Audit)
    listen: Listen = field(default_factory=Listen)
    nodes: NodeSettings = field(default_factory=NodeSettings)


_DAEMON: Mapping[str, Parser] = {
    "socket": values.path,
    "state-directory": values.path,
    "log-format": values.one_of("human", "json"),
    "log-level": values.one_of("debug", "info", "warn", "error"),
    "log-checks": values.boolean,
    "fsync": values.boolean,
    "git-annex": values.text,
    "disk-threads": values.whole(1, 256),
    "transfer-threads": values.whole(1, 256),
    "max-sessions": values.whole(1, 1_000_000),
    "max-unauthenticated": values.whole(1, 100_000),
}
_DEADLINES: Mapping[str, Parser] = {
    "handshake": values.duration(above=0),
    "idle": values.duration(above=0),
    "stall": values.duration(above=0),
    "lock": values.duration(above=0),
    "drain": values.duration(),
}
_REPOSITORY: Mapping[str, Parser] = {
    "path": values.path,
    "fsync": values.boolean,
    "git-annex-tokens": values.boolean,
}
_REPOSITORIES: Mapping[str, Parser] = {"directory": values.path, "fsync": values.boolean}
_AUDIT: Mapping[str, Parser] = {"file": values.path}
_NODES: Mapping[str, Parser] = {
    "connect": values.duration(above=0),
    "answer": values.duration(above=0),
    "stall": values.duration(above=0),
    "idle": values.duration(above=0),
    "connections": values.whole(1, 1000),
    "tor-connect": values.duration(above=0),
    "tor-answer": values.duration(above=0),
    "tor-stall": values.duration(above=0),
    "tor-socks": socket_or_port,
    "git-through-nodes": values.boolean,
    "exchange": values.boolean,
    "exchange-poll": values.duration(),
}
_TABLES = ("daemon", "deadlines", "repository", "repositories", "group", "access", "audit", "listen", "nodes")


def read(file: str) -> Config:
    """Raises `ConfigError`."""
    try:
        with open(file, "rb") as opened:
            text = opened.read().decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: byte {error.start} is not UTF-8") from None
    return parse(text, file)


def parse(text: str, file: str) -> Config:
    """``file`` is for messages. Raises `ConfigError`."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(values.syntax_error(file, text, str(error))) from None
    reading = _Reading(file, text, document)
    config = reading.config()
    if reading.errors:
        raise ConfigError("\n".join(line for _, line in sorted(reading.errors)))
    return config


class _Reading:
    """One document on its way to a `Config`; ``errors`` are (line, sentence)."""

    def __init__(self, file: str, text: str, document: dict[str, Any]) -> None:
        self.file = file
        self.lines = Lines(text)
        self.document = document
        self.errors: list[tuple[int, str]] = []

    def config(self) -> Config:
        for name in self.document:
            if name not in _TABLES:
                self.wrong((name,), f"unknown key {name!r}")
        daemon = Daemon(**self.table(("daemon",), self.document.get("daemon", {}), _DAEMON))
        deadlines = Deadlines(**self.table(("deadlines",), self.document.get("deadlines", {}), _DEADLINES))
        served = [self.served(where, given, daemon) for where, given in self.tables("repository")]
        served += [self.served(where, given, daemon) for where, given in self.tables("repositories")]
        audit = Audit(**self.table(("audit",), self.document.get("audit", {}), _AUDIT))
        ways_in = listen(self, self.document.get("listen", {}))
        nodes = NodeSettings(**self.table(("nodes",), self.document.get("nodes", {}), _NODES))
        return Config(daemon, deadlines, tuple(filter(None, served)), rules(self), audit, ways_in, nodes)

    def served(self, where: Where, given: object, daemon: Daemon) -> Served | None:
        nested = where[0] == "repositories"
        needed = "directory" if nested else "path"
        found = self.table(where, given, _REPOSITORIES if nested else _REPOSITORY, needed)
        if needed not in found:
            return None
        return Served(
            os.fsencode(found[needed]),
            nested,
            found.get("fsync", daemon.fsync),
            found.get("git_annex_tokens", False),
        )

    def tables(self, name: str) -> list[tuple[Where, object]]:
        """An array of tables: where each is, and what it is."""
        given = self.document.get(name, [])
        if not isinstance(given, list):
            self.wrong((name,), f"{name} is written [[{name}]], with two brackets")
            return []
        return [((name, index), item) for index, item in enumerate(given)]

    def table(self, where: Where, given: object, known: Mapping[str, Parser], *needed: str) -> dict[str, Any]:
        """The values that are right, under their names in Python; complains about the rest."""
        name = ".".join(part for part in where if isinstance(part, str))
        if not isinstance(given, dict):
            self.wrong(where, f"{name} must be a table")
            return {}
        found = {}
        for key, value in given.items():
            try:
                if key not in known:
                    raise ValueError(f"unknown key; {name} has {', '.join(known)}")
                found[key.replace("-", "_")] = known[key](value)
            except ValueError as error:
                self.wrong((*where, key), f"{name}.{key}: {error}")
        for key in needed:
            if key not in given:
                self.wrong(where, f"{name}.{key} is missing")
        return found

    def wrong(self, where: Where, sentence: str) -> None:
        self.errors.append((self.lines.of(where), f"{self.origin(where)}: {sentence}"))

    def origin(self, where: Where) -> str:
        return f"{self.file}:{self.lines.of(where)}"
