"""A real sshd on a high loopback port, with keys and settings of its own."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import time
from pathlib import Path

from tests.support.ports import free_port
from tests.support.processes import Failed, descendants, run, stop_all
from tests.support.programs import SYSTEM_PATH, program

_SETTINGS = """\
ListenAddress {address}:{port}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/authorized_keys
PidFile none
UsePAM {pam}
PermitRootLogin yes
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
KexAlgorithms curve25519-sha256
MaxStartups 100
MaxSessions 100
UseDNS no
SetEnv SHLVL=1
PrintMotd no
LogLevel ERROR
"""
# SHLVL: bash takes it that it is not the first shell, and leaves out its user's ~/.bashrc,
# which may take long, or wait for locks that a killed one has left.

_CLIENT_SETTINGS = """\
Host gateway
  HostName {address}
  Port {port}
  User {user}
  IdentityFile {directory}/{key}
  IdentitiesOnly yes
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
"""

_START_SECONDS = 60.0


class Sshd:
    """
    An sshd that runs as the current user and lets in the keys that `admit` made.

    ``port`` is fresh for each one; `stop` ends it with every connection.  It
    is run by ``prefix``, and listens at ``address``.
    """

    def __init__(self, directory: Path, address: str = "127.0.0.1", prefix: tuple[str, ...] = ()) -> None:
        self.directory = directory
        self.address = address
        self.prefix = prefix
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self.port = 0
        self.settings = ""
        """More of them, which come first."""
        self._process: subprocess.Popen[bytes] | None = None
        self._env = {"PATH": SYSTEM_PATH}
        directory.mkdir(parents=True)
        directory.chmod(0o755)
        (directory / "authorized_keys").touch()
        self.make_key("host_key")

    def admit(self, key: str, forced_command: str, options: str = "restrict") -> Path:
        """
        Let a new key in, for one command only; the ssh_config that uses it.

        ``options`` is what stands before ``command=`` in authorized_keys.
        """
        public = self.make_key(key).read_text()
        quoted = forced_command.replace('"', '\\"')
        with open(self.directory / "authorized_keys", "a") as keys:
            keys.write(f'{options},command="{quoted}" {public}')
        return self.client_config(key)

    def client_config(self, key: str, more: str = "") -> Path:
        """An ssh_config that uses a key, whether it is let in or not; ``more`` are lines of it."""
        config = self.directory / f"{key}.config"
        settings = _CLIENT_SETTINGS.format(
            address=self.address, port=self.port, user=self.user, directory=self.directory, key=key
        )
        config.write_text(settings + more)
        return config

    def start(self) -> None:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.port = free_port()
        if not self._listens():
            raise Failed(f"sshd does not start: {(self.directory / 'log').read_text()}")

    def _listens(self) -> bool:
        settings = self.directory / "sshd_config"
        text = _SETTINGS.format(address=self.address, port=self.port, directory=self.directory, pam="no")
        settings.write_text(self.settings + text)
        with open(self.directory / "log", "ab") as log:
            self._process = subprocess.Popen(
                [*self.prefix, program("sshd", "openssh-server"), "-D", "-e", "-f", str(settings)],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + _START_SECONDS
        while self._process.poll() is None and time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex((self.address, self.port)) == 0:
                    return True
            time.sleep(0.02)
        self.stop()
        return False

    def sessions(self) -> list[int]:
        """The processes that serve connections, and what runs in them."""
        return [] if self._process is None else descendants(self._process.pid)

    def processes(self) -> list[int]:
        """The same, and the sshd itself."""
        return [] if self._process is None else [self._process.pid, *self.sessions()]

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        sessions = descendants(process.pid)
        process.terminate()
        process.wait(60)
        stop_all(sessions)

    def make_key(self, name: str, kind: str = "ed25519") -> Path:
        """A fresh one for users; its public half."""
        path = self.directory / name
        keygen = program("ssh-keygen", "openssh-client")
        run(keygen, "-q", "-t", kind, "-N", "", "-f", path, cwd=self.directory, env=self._env)
        return path.with_suffix(".pub")
