"""The two sides: a process of git-annex-shell for each session, or one annexd for all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Protocol, Sequence

from bench.client import Session
from bench.place import Missing, Place, Repository
from bench.processes import cpu_seconds, within

ROOT = Path(__file__).resolve().parent.parent


class Side(Protocol):
    name: str
    repository: Repository

    def argv(self) -> Sequence[str]:
        """What stands in for sshd's forced command."""

    def forced_command(self) -> str:
        """The same in authorized_keys."""

    def cpu_of(self, sessions: Sequence[Session]) -> float:
        """CPU seconds that serving has used so far."""


def opened(place: Place, side: Side) -> Session:
    """A session that has been greeted and has answered once."""
    session = Session(place, side.argv())
    session.greet()
    session.present(b"SHA256E-s1--" + b"0" * 64)
    return session


class Shell:
    """git-annex-shell; ``program`` is the real one or PyPI's wrapper."""

    def __init__(self, name: str, repository: Repository, program: str) -> None:
        self.name = name
        self.repository = repository
        self._program = program

    def argv(self) -> Sequence[str]:
        return [self._program, "-c", self.repository.command]

    def forced_command(self) -> str:
        return f'{self._program} -c \\"$SSH_ORIGINAL_COMMAND\\"'

    def cpu_of(self, sessions: Sequence[Session]) -> float:
        return sum(cpu_seconds(session.process.pid) for session in sessions)


class Daemon:
    """A running annexd; ``name`` tells several apart, ``settings`` begin its configuration."""

    def __init__(
        self,
        place: Place,
        synced: Sequence[Repository],
        unsynced: Sequence[Repository],
        name: str = "annexd",
        settings: str = "",
    ) -> None:
        self.socket = str(place.directory / f"{name}.sock")
        self.shell = program("annexd-shell", str(ROOT / "annexd" / "client" / "annexd-shell"))
        config = place.directory / f"{name}.toml"
        config.write_text(
            settings
            + "".join(
                f'[[repository]]\npath = "{repository.path}"\nfsync = {"true" if sync else "false"}\n'
                for sync, repositories in ((True, synced), (False, unsynced))
                for repository in repositories
            )
        )
        argv = [
            *program("annexd", sys.executable, "-m", "annexd.app.cli"),
            "serve",
            "--config",
            str(config),
            "--socket",
            self.socket,
        ]
        self._place = place
        self.process = place.processes.start(
            argv, place.environment, subprocess.DEVNULL, subprocess.PIPE, place.errors, cwd=str(ROOT)
        )
        self._await_ready(60.0)

    def _await_ready(self, seconds: float) -> None:
        assert self.process.stdout is not None
        with within(seconds):
            for line in self.process.stdout:
                if line.strip() == b"ready":
                    return
        raise Missing(f"annexd did not come up; it said:\n{self._place.said()}")

    def stop(self) -> None:
        self._place.processes.stop(self.process)


class Annexd:
    def __init__(self, name: str, repository: Repository, daemon: Daemon) -> None:
        self.name = name
        self.repository = repository
        self.daemon = daemon

    def argv(self) -> Sequence[str]:
        return [*self.daemon.shell, "--socket", self.daemon.socket, "-c", self.repository.command]

    def forced_command(self) -> str:
        return " ".join([*self.daemon.shell, "--socket", self.daemon.socket])

    def cpu_of(self, sessions: Sequence[Session]) -> float:
        return cpu_seconds(self.daemon.process.pid)


class Cat:
    """Whatever command the client sends, as ssh alone would have it."""

    name = "cat"

    def __init__(self, repository: Repository) -> None:
        self.repository = repository

    def argv(self) -> Sequence[str]:
        return ["cat"]

    def forced_command(self) -> str:
        return 'sh -c \\"$SSH_ORIGINAL_COMMAND\\"'

    def cpu_of(self, sessions: Sequence[Session]) -> float:
        return 0.0


def program(name: str, *otherwise: str) -> Sequence[str]:
    """As installed beside this Python; else out of the checkout."""
    beside = Path(sys.executable).with_name(name)
    return [str(beside)] if beside.exists() else otherwise


def wrapper() -> str | None:
    """PyPI's git-annex-shell: Python that ends in an exec."""
    for directory in [str(Path(sys.executable).parent), *os.get_exec_path()]:
        found = shutil.which("git-annex-shell", path=directory)
        if found:
            with open(found, "rb") as start:
                if start.read(2) == b"#!":
                    return found
    return None
