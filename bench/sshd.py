"""A private sshd on a high loopback port, with one key, and so one forced command, for each side."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Sequence

from bench.place import Missing, Place
from bench.servers import Side
from tests.support.ports import free_port

_SERVER = """\
ListenAddress 127.0.0.1:{port}
HostKey {directory}/host
AuthorizedKeysFile {directory}/authorized_keys
PidFile none
StrictModes no
UsePAM no
UseDNS no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
SetEnv HOME={home}
LogLevel ERROR
"""
# HOME: the forced command runs in the user's login shell, whose start-up files would be measured with it.

_CLIENT = """\
User {user}
Port {port}
HostName 127.0.0.1
UserKnownHostsFile {directory}/known_hosts
StrictHostKeyChecking yes
IdentitiesOnly yes
BatchMode yes
KexAlgorithms curve25519-sha256
Ciphers {cipher}
ControlPath {directory}/%n
ControlMaster no
LogLevel ERROR
"""


def find_sshd() -> str | None:
    return shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


class Sshd:
    """Running until `stop`."""

    def __init__(self, place: Place, sides: Sequence[Side], cipher: str, name: str = "ssh") -> None:
        server = find_sshd()
        if server is None or shutil.which("ssh") is None:
            raise Missing("there is no sshd or no ssh here")
        self._place = place
        self._directory = place.directory / name
        self._directory.mkdir(0o700)
        self.port = free_port()
        self._write_keys(sides)
        names = {
            "port": self.port,
            "directory": self._directory,
            "cipher": cipher,
            "home": place.environment["HOME"],
        }
        (self._directory / "sshd_config").write_text(_SERVER.format(**names))
        user = pwd.getpwuid(os.getuid()).pw_name
        (self._directory / "config").write_text(_CLIENT.format(user=user, **names))
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        argv = [server, "-D", "-e", "-f", str(self._directory / "sshd_config")]
        self._process = place.processes.start(
            argv, os.environ, subprocess.DEVNULL, subprocess.DEVNULL, place.errors
        )
        self._await_listening(10.0)

    def argv(self, side: Side) -> Sequence[str]:
        """A client's command line on a connection of its own."""
        return [*self._ssh(side), "-T", self._host(side), side.repository.command]

    def master_argv(self, side: Side) -> Sequence[str]:
        """The same over a connection that is there already."""
        return self.command_argv(side, side.repository.command)

    def command_argv(self, side: Side, command: str) -> Sequence[str]:
        """Any command, over a connection that is there already."""
        return [*self._ssh(side), "-S", self._control(side), "-T", self._host(side), command]

    def open_master(self, side: Side) -> None:
        master = [*self._ssh(side), "-M", "-S", self._control(side), "-N", "-T", self._host(side)]
        self._place.processes.start(
            master, self._place.environment, subprocess.DEVNULL, subprocess.DEVNULL, self._place.errors
        )
        for _ in range(200):
            if Path(self._control(side)).exists():
                return
            time.sleep(0.05)
        raise Missing(f"no ssh connection to {side.name}:\n{self._place.said()}")

    def close_master(self, side: Side) -> None:
        self._place.run(*self._ssh(side), "-S", self._control(side), "-O", "exit", self._host(side))

    def stop(self) -> None:
        self._place.processes.stop(self._process)

    def _ssh(self, side: Side) -> Sequence[str]:
        return ["ssh", "-F", str(self._directory / "config"), "-i", str(self._directory / self._host(side))]

    def _control(self, side: Side) -> str:
        return str(self._directory / f"{self._host(side)}.control")

    @staticmethod
    def _host(side: Side) -> str:
        """A name for each side, so that each has its own key and its own master."""
        return side.name.split(",")[0].replace(" ", "-")

    def _write_keys(self, sides: Sequence[Side]) -> None:
        lines = []
        self._generate("host")
        for side in sides:
            host = self._host(side)
            public = self._generate(host)
            lines.append(f'restrict,command="{side.forced_command()}" {public}\n')
        (self._directory / "authorized_keys").write_text("".join(lines))
        host_key = (self._directory / "host.pub").read_text()
        (self._directory / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {host_key}")

    def _generate(self, name: str) -> str:
        path = self._directory / name
        self._place.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path))
        return path.with_suffix(".pub").read_text().strip()

    def _await_listening(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise Missing(f"sshd did not come up:\n{self._place.said()}")
