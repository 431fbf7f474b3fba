"""``annexd serve`` as a process of its own: started, watched, killed, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from annexd.app.asking import ask
from tests.support.processes import Failed, descendants, open_files, stop_all, until
from tests.support.programs import NEWEST, annexd_program, git_annex_bin, path_with

_START_SECONDS = 60.0
_STOP_SECONDS = 75.0
_ANSWER_SECONDS = 30.0


class Daemon:
    """
    A daemon with a socket of its own; ``directory`` gets its log.

    The socket lives in a short path elsewhere, for unix sockets have room for
    108 bytes only.
    """

    def __init__(
        self,
        directory: Path,
        home: Path,
        *repos: Path,
        options: tuple[str, ...] = (),
        prefix: tuple[str, ...] = (),
    ) -> None:
        self.directory = directory
        self.repos = repos
        self.options = options
        self.prefix = prefix
        self.process: subprocess.Popen[bytes] | None = None
        self._short = tempfile.TemporaryDirectory(prefix="annexd-")
        self.socket = Path(self._short.name) / "s"
        self.socket_option = ("--socket", str(self.socket))
        self.log = directory / "daemon.log"
        self.env = {
            "HOME": str(home),
            "PATH": path_with(git_annex_bin(NEWEST)),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def pid(self) -> int:
        assert self.process is not None, "the daemon was not started"
        return self.process.pid

    def start(self) -> None:
        """Returns when it says that it is ready."""
        argv = [*self.prefix, str(annexd_program("annexd")), "serve", *self.socket_option]
        with open(self.log, "ab") as log, open(self.directory / "ready", "wb") as ready:
            self.process = subprocess.Popen(
                [*argv, *self.options, *map(str, self.repos)],
                env=self.env,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=ready,
                stderr=log,
            )
        until(self._ready_or_dead, "the daemon prints `ready`", _START_SECONDS)
        if self.process.poll() is not None:
            raise Failed(f"the daemon ended with {self.process.returncode}:\n{self.said()[-3000:]}")

    def _ready_or_dead(self) -> bool:
        assert self.process is not None
        return b"ready\n" in (self.directory / "ready").read_bytes() or self.process.poll() is not None

    def said(self) -> str:
        """All that it logged, in all its lives."""
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL, at whatever it is doing; what it had started is stopped too."""
        assert self.process is not None
        children = descendants(self.process.pid)
        self.process.kill()
        self.process.wait(20)
        self.process = None
        stop_all(children)

    def stop(self) -> int:
        """SIGTERM; its exit code.  Fails when it does not end in time."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def end(self) -> int:
        """The exit code of one that has been told to stop.  Told again it might end by the signal."""
        process, self.process = self.process, None
        assert process is not None, "the daemon was not started"
        children = descendants(process.pid)
        try:
            return process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)
            raise Failed(f"the daemon did not stop on SIGTERM:\n{self.said()[-3000:]}") from None
        finally:
            stop_all(children)

    def open_files(self) -> list[str]:
        return open_files(self.pid)

    def ask(self, kind: str) -> Any:
        """As `annexd` does, but with more patience."""
        return ask(str(self.socket), kind, seconds=_ANSWER_SECONDS)

    def status(self) -> Any:
        """What ``annexd status --json`` prints."""
        return self.ask("status")

    def resident_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
