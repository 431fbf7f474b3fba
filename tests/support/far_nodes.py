"""Nodes of a cluster that are reached over an sshd of their own, so that each can fail by itself."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from tests.support.annex import Machine
from tests.support.namespaces import Namespace
from tests.support.processes import open_files, running, stop_all, until
from tests.support.programs import NEWEST, git_annex_bin, path_with
from tests.support.sshd import Sshd

_SHELL = """\
#!/bin/bash
# What comes in is kept, too; git-annex-shell is the session's own process, so that its end is the session's.
{settings}
exec {shell} -c "$SSH_ORIGINAL_COMMAND" < <(tee -a {taken} 2>/dev/null)
"""

_VERSION_0 = """\
#!/bin/bash
# git-annex-shell, as if there were no versions yet.
exec 3>&1
exec git-annex-shell "$@" < <(
    IFS= read -r line
    case "$line" in
        "VERSION "*) echo "ERROR unknown command" >&3 ;;
        *) printf '%s\\n' "$line" ;;
    esac
    exec cat 3>&- 2>/dev/null
) 3>&-
"""


class FarNode:
    """
    A machine with a repository and an sshd, in a network of its own if there
    is one.  All that comes in for its git-annex-shell is kept in ``taken``.
    """

    def __init__(
        self, directory: Path, name: str, version: str = NEWEST, network: Namespace | None = None
    ) -> None:
        self.name = name
        self.machine = Machine(directory / name, version)
        self.path = self.machine.new("repo", bare=True)
        self.taken = directory / name / "taken"
        self.shell = directory / name / "shell"
        self.serve()
        place = () if network is None else (network.address, network.prefix)
        self.sshd = Sshd(directory / name / "sshd", *place)
        self.sshd.start()
        self.config = self.sshd.admit("key", str(self.shell))
        self._frozen: list[int] = []

    @property
    def uuid(self) -> bytes:
        return self.machine.uuid(self.path)

    @property
    def url(self) -> str:
        return f"ssh://gateway{self.path}"

    def serve(self, shell: str = "git-annex-shell", **environment: str) -> None:
        """From the next session on: by this program, with these settings."""
        path = path_with(git_annex_bin(self.machine.version))
        settings = {"HOME": self.machine.env["HOME"], "PATH": path, **environment}
        exports = "\n".join(f"export {name}={value}" for name, value in settings.items())
        _write_script(self.shell, _SHELL.format(settings=exports, shell=shell, taken=self.taken))

    def serve_version_0(self) -> None:
        script = self.shell.with_name("shell-0")
        _write_script(script, _VERSION_0)
        self.serve(str(script))

    # --- how it fails ----------------------------------------------------

    def shells(self) -> list[int]:
        return [pid for pid in self.sshd.sessions() if _name(pid).startswith("git-annex")]

    def sending(self) -> bool:
        """Whether a shell has content open."""
        return any("/annex/objects/" in name for pid in self.shells() for name in _open_files(pid))

    def kill_shells(self) -> None:
        for pid in self.shells():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def restart_shells(self) -> None:
        """They see what has changed; whoever has a session finds out, and opens another one."""

        def none_is_left() -> bool:
            self.kill_shells()  # also those that have only just begun
            return not self.shells()

        until(none_is_left, "all sessions have ended")

    def freeze_shells(self) -> None:
        self._freeze(self.shells())

    def freeze_all(self) -> None:
        """As when the machine hangs: connections are made by the kernel, and that is all."""
        self._freeze(self.sshd.processes())

    def _freeze(self, pids: list[int]) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                self._frozen.append(pid)

    def thaw(self) -> None:
        frozen, self._frozen = self._frozen, []
        for pid in frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def stop(self) -> None:
        """As when the machine is gone: connections end, and new ones are refused."""
        self.thaw()
        left = [pid for pid in self.sshd.sessions() if running(pid)]
        self.sshd.stop()
        stop_all(left)

    def start(self) -> None:
        self.sshd.start()
        self.sshd.client_config("key")


def _write_script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _open_files(pid: int) -> list[str]:
    try:
        return open_files(pid)
    except OSError:
        return []  # it ended meanwhile


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
