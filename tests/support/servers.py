"""
What answers behind the forced command: annexd, or git-annex's own shell.

Every scenario can be run against either, so that what the tests ask for is
known to be what git-annex does.  ``ANNEXD_TEST_SERVER=git-annex-shell`` in the
environment chooses the second.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from tests.support.daemon import Daemon
from tests.support.programs import NEWEST, annexd_program, git_annex_bin, path_with


class Server(Protocol):
    name: str

    def command(self, user: str = "alice") -> list[str]:
        """The program for a forced command or a login shell; ``-c COMMAND`` may be put after it."""

    def env(self) -> Mapping[str, str]:
        """The environment for running `command` here, without sshd."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


class GitAnnexShell:
    """git-annex's own server: one process for each session, nothing that runs meanwhile."""

    name = "git-annex-shell"

    def __init__(self, home: Path, version: str = NEWEST) -> None:
        self._home = home
        self._bin = git_annex_bin(version)

    def command(self, user: str = "alice") -> list[str]:
        return [str(self._bin / "git-annex-shell")]

    def env(self) -> Mapping[str, str]:
        return {"HOME": str(self._home), "PATH": path_with(self._bin), "LANG": "C.UTF-8"}

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass


class Annexd:
    """A daemon that serves some repositories, and the shell that leads to it."""

    name = "annexd"

    def __init__(self, home: Path, directory: Path, *repos: Path) -> None:
        self._home = home
        self.daemon = Daemon(directory, home, *repos)

    def command(self, user: str = "alice") -> list[str]:
        return [str(annexd_program("annexd-shell")), "--socket", str(self.daemon.socket), "--user", user]

    def env(self) -> Mapping[str, str]:
        return self.daemon.env

    def start(self) -> None:
        self.daemon.start()

    def stop(self) -> None:
        self.daemon.stop()


def chosen(home: Path, directory: Path, *repos: Path) -> Server:
    """The server that the environment asks for; annexd unless told otherwise."""
    if os.environ.get("ANNEXD_TEST_SERVER", Annexd.name) == GitAnnexShell.name:
        return GitAnnexShell(home)
    return Annexd(home, directory, *repos)


def forced_command(server: Server, user: str = "alice", **environment: str) -> str:
    """
    What stands in ``command=""``.

    git-annex's shell wants the client's command after ``-c``; annexd's finds it
    itself.  ``environment`` is set for it, as in existing authorized_keys.
    """
    words = [f"{name}={value}" for name, value in environment.items()] + server.command(user)
    if server.name == GitAnnexShell.name:
        words += ["-c", '"$SSH_ORIGINAL_COMMAND"']
    return " ".join([f"PATH={server.env()['PATH']}", *words])
