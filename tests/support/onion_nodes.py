"""Other annexds that are onions: nodes and gateways for the one that a test is about."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.annex import Machine
from tests.support.daemon import Daemon
from tests.support.processes import run, until
from tests.support.programs import annexd_program

_PUBLISHED_S = 60.0


class Onion:
    """An annexd with files in ``directory``, which serves ``repository``."""

    def __init__(
        self, host: Machine, directory: Path, repository: Path, prefix: tuple[str, ...] = ()
    ) -> None:
        directory.mkdir()
        self.repository = repository
        self._directory = directory
        self._config = directory / "annexd.toml"
        options = ("--config", str(self._config))
        self.daemon = Daemon(directory / "daemon", Path(host.env["HOME"]), options=options, prefix=prefix)
        self.daemon.env["PATH"] = host.env["PATH"]

    def serve(self, listen: str, more: str = "") -> None:
        """Until it is published; with these lines in [listen.tor], and more sections."""
        self._config.write_text(
            f'[daemon]\nstate-directory = "{self._directory}/state"\n[deadlines]\ndrain = 2\n'
            f'[[repository]]\npath = "{self.repository}"\n[listen.tor]\n{listen}\n{more}\n'
        )
        self.daemon.start()
        until(
            lambda: re.search(r"\((published|reachable) since", self.standing),
            "it is published",
            _PUBLISHED_S,
        )

    @property
    def standing(self) -> str:
        [said] = [text for text in self.daemon.status()["listeners"] if text.startswith("tor:")]
        return str(said)

    def annexd(self, *argv: str) -> str:
        said = run(
            annexd_program("annexd"),
            *argv,
            *("--config", self._config, *self.daemon.socket_option),
            cwd=self._directory,
            env=self.daemon.env,
        )
        return said.decode()

    def invite(self, name: str, *options: str) -> str:
        """What is printed, beside what is said."""
        said = self.annexd(
            *("invite", name, "--tor", "--mode", "read-write", "--repo", str(self.repository)), *options
        )
        return "".join(line for line in said.splitlines(True) if not line.startswith("annexd: "))
