"""What a daemon was started with, and the configuration that it may read again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from annexd.app.access import Access
from annexd.app.config import Config, read
from annexd.app.sockets import serving_socket
from annexd.errors import ConfigError, Refused
from annexd.router.places import Map, Served
from annexd.sessions.deadlines import Deadlines


@dataclass(frozen=True, slots=True)
class Plan:
    """``repositories`` are those of the command line, as absolute paths."""

    file: str | None = None
    socket: str | None = None
    log_format: str | None = None
    repositories: tuple[str, ...] = ()

    def config(self) -> Config:
        """Read the file, if there is one, and add what the command line says. Raises `ConfigError`."""
        config = Config() if self.file is None else read(self.file)
        if not config.served and not self.repositories:
            lacking = "and no configuration" if self.file is None else f"and {self.file} names none"
            raise ConfigError(f"there is nothing to serve: no repository is named, {lacking}")
        served = [Served(os.fsencode(path), fsync=config.daemon.fsync) for path in self.repositories]
        daemon = replace(config.daemon, log_format=self.log_format or config.daemon.log_format)
        return replace(config, daemon=daemon, served=(*served, *config.served))

    def socket_path(self, config: Config, environ: Mapping[str, str]) -> str:
        return serving_socket(self.socket or environ.get("ANNEXD_SOCKET") or config.daemon.socket, environ)


def plan(file: str | None, socket: str | None, log_format: str | None, repositories: Sequence[str]) -> Plan:
    """From a command line; raises `ConfigError` for what is no git repository."""
    absolute = tuple(os.path.abspath(path) for path in repositories)
    for path in absolute:
        try:
            Map([Served(os.fsencode(path))]).locate(os.fsencode(path), None)
        except Refused:
            raise ConfigError(f"{path} is not a git repository") from None
    return Plan(None if file is None else os.path.abspath(file), socket, log_format, absolute)


NEEDS_A_START = ("socket", "state_directory", "git_annex", "disk_threads", "transfer_threads")
"""Of `annexd.app.config.Daemon`: what a daemon that runs does not change."""


def left_for_a_start(former: Config, latter: Config) -> list[str]:
    """The keys that differ and will go on to differ."""
    waiting = [
        f"daemon.{name.replace('_', '-')}"
        for name in NEEDS_A_START
        if getattr(former.daemon, name) != getattr(latter.daemon, name)
    ]
    if former.listen.onions != latter.listen.onions:
        waiting.append("listen.tor")
    return waiting


class Current:
    """The configuration as of now: whoever needs a value asks for it each time."""

    def __init__(self, wanted: Plan) -> None:
        """Raises `ConfigError`."""
        self.plan = wanted
        self.config = wanted.config()
        self.access = Access(self.config.rules)

    @property
    def deadlines(self) -> Deadlines:
        return self.config.deadlines

    def read_again(self) -> Config:
        """For `use`. Raises `ConfigError`, and changes nothing."""
        return self.plan.config()

    def use(self, latter: Config) -> list[str]:
        """Which keys must wait for the next start."""
        waiting = left_for_a_start(self.config, latter)
        self.config = latter
        self.access = Access(latter.rules)
        return waiting
