"""annexd's own SSH listener in the place of an sshd."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import Any

from tests.support.daemon import Daemon
from tests.support.ports import free_port
from tests.support.processes import run_code, start
from tests.support.programs import program
from tests.support.scenes import SshScene
from tests.support.servers import Annexd, Server
from tests.support.sshd import Sshd

_CONFIG = """\
[daemon]
state-directory = "{directory}/state"

[listen.ssh]
address = "127.0.0.1:{port}"
{users}

{more}
"""


class Listener(Sshd):
    """
    What `Sshd` is for the system's: keys are let in by the same lines.
    ``daemon`` must not have been started yet.
    """

    def __init__(self, directory: Path, daemon: Daemon) -> None:
        super().__init__(directory)
        self.daemon = daemon
        self.config = directory / "annexd.toml"
        self.port = free_port()
        self.configure()
        daemon.options = (*daemon.options, "--config", str(self.config))

    def configure(self, users: str = "", more: str = "", port: int = 0) -> None:
        """``users`` instead of the one file with all keys; ``more`` are further tables."""
        self.port = port or self.port
        users = users or f'authorized-keys = "{self.directory}/authorized_keys"'
        self.config.write_text(
            _CONFIG.format(directory=self.directory, port=self.port, users=users, more=more)
        )

    def start(self) -> None:
        """It comes and goes with the daemon."""

    stop = start

    def sessions(self) -> list[int]:
        """One process has them all."""
        return [self.daemon.pid] if self.daemon.status()["sessions"] else []


class Listening(SshScene):
    """To be put before an `SshScene`: the same through annexd's own listener."""

    def make_server(self) -> Server:
        server = super().make_server()
        if not isinstance(server, Annexd):
            raise AssertionError("this test is about annexd")
        self.listener = Listener(self.directory / "sshd", server.daemon)
        return server

    def open_ssh(self) -> None:
        self.sshd = self.listener

    # --- clients by hand -----------------------------------------------

    def ssh(
        self, *words: str | Path, config: Path | None = None, stdin: bytes = b"", seconds: float = 90.0
    ) -> tuple[int, bytes]:
        """Run the system's client with these options and the command; its exit code and what it said."""
        return run_code(*self.argv(*words, config=config), **self.where(), stdin=stdin, seconds=seconds)

    def start_ssh(self, *words: str | Path, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        process = start(*self.argv(*words), **self.where(), stdin=stdin)
        self.addCleanup(_close, process)
        return process

    def argv(self, *words: str | Path, config: Path | None = None) -> tuple[str | Path, ...]:
        """Options before the host, then the command."""
        options = list(words[:-1])
        command = words[-1:]
        return (
            program("ssh", "openssh-client"),
            "-F",
            config or self.ssh_config,
            *options,
            "gateway",
            *command,
        )

    def where(self) -> dict[str, Any]:
        return {"cwd": self.directory, "env": {"PATH": "/usr/bin:/bin", "HOME": str(self.directory)}}


def _close(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    with contextlib.suppress(BrokenPipeError), process:
        pass
