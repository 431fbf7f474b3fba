"""annexd as an onion service in a Tor network of its own, and clients with git-annex as everybody has it."""

from __future__ import annotations

import atexit
import functools
import re
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.annex import Machine
from tests.support.daemon import Daemon
from tests.support.processes import Failed, run, run_code, until
from tests.support.programs import CHECKOUT, NEWEST, annexd_program, git_annex_bin
from tests.support.socks_client import connect
from tests.support.tor_net import Namespace, TorNetwork

_PUBLISHED_S = 120.0
REACHED_S = 90.0
_ANSWER_S = 20.0


@functools.cache
def network() -> tuple[TorNetwork, Namespace]:
    """One for all tests: it takes its time to come up."""
    directory = Path(tempfile.mkdtemp(prefix="annexd-tor-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    made = TorNetwork(directory)
    atexit.register(made.down)
    made.up()
    namespace = Namespace(made.socks, sys.executable, CHECKOUT)
    atexit.register(namespace.close)
    return made, namespace


def service_tor(network: TorNetwork, name: str = "service") -> Path:
    """The control socket of one for all tests, which is started when it is not there."""
    if network.runs(name):
        return network.directory / name / "control"
    return _start_tor(network, name, "")


def _start_tor(network: TorNetwork, name: str, torrc: str) -> Path:
    home = network.directory / name
    control = f"SocksPort 0\nControlSocket {home}/control\nCookieAuthentication 1\n"
    network.boot(name, control + torrc)
    return home / "control"


class OnionScene(SynchronousTestCase):
    """
    A bare repository ``served``, and a client with a repository ``work``.
    ``tor`` is the name of a tor with a control socket, started when it is
    asked for.
    """

    deadlines = "drain = 2"

    def setUp(self) -> None:
        self.network, namespace = network()
        scratch = tempfile.TemporaryDirectory(prefix="annexd-onion-")
        self.addCleanup(scratch.cleanup)
        self.directory = Path(scratch.name)
        self.host = Machine(self.directory / "host")
        self.served = self.host.new("served", bare=True)
        self.client = Machine(self.directory / "client")
        self.work = self.client.new("work")
        self.client.prefix = namespace.prefix
        # What git pulls and pushes by: git-annex, by another name.
        remote = self.client.directory / "tools" / "git-remote-tor-annex"
        remote.symlink_to(git_annex_bin(NEWEST) / "git-annex")
        self.state = self.directory / "state"
        self.config = self.directory / "annexd.toml"
        self.daemon = Daemon(
            self.directory / "daemon", Path(self.host.env["HOME"]), options=("--config", str(self.config))
        )
        self.addCleanup(self.daemon.stop)

    # --- tors ----------------------------------------------------------

    def start_tor(self, name: str, torrc: str = "") -> Path:
        """One with a control socket, until the test is over; where that is."""
        control = self._start_tor(name, torrc)
        self.addCleanup(self.network.stop, name)
        return control

    def shared_tor(self, name: str) -> Path:
        """One for all tests, if they let it live."""
        return service_tor(self.network, name)

    def _start_tor(self, name: str, torrc: str) -> Path:
        return _start_tor(self.network, name, torrc)

    # --- annexd --------------------------------------------------------

    def serve(self, listen: str) -> None:
        """With these lines in [listen.tor]."""
        self.config.write_text(
            f'[daemon]\nstate-directory = "{self.state}"\n[deadlines]\n{self.deadlines}\n'
            f'[[repository]]\npath = "{self.served}"\ngit-annex-tokens = true\n[listen.tor]\n{listen}\n'
        )
        self.daemon.start()

    @property
    def standing(self) -> str:
        """As `annexd status` has it."""
        [said] = [text for text in self.daemon.status()["listeners"] if text.startswith("tor:")]
        found = re.search(r"\((.*)\)$", said)
        assert found is not None, said
        return found[1]

    def await_published(self) -> float:
        """Seconds that it took."""
        began = time.monotonic()
        until(
            lambda: self.standing.startswith(("published since", "reachable since")),
            "the service is published",
            _PUBLISHED_S,
        )
        return time.monotonic() - began

    def annexd(self, *argv: str, ok: bool = True) -> str:
        said = run(
            annexd_program("annexd"),
            *argv,
            *("--config", self.config, *self.daemon.socket_option),
            cwd=self.directory,
            env=self.daemon.env,
            ok=ok,
        )
        return said.decode()

    def invite(self, name: str, mode: str = "read-write", repository: Path | None = None) -> str:
        """An address with a token."""
        said = self.annexd("invite", name, "--tor", "--mode", mode, "--repo", str(repository or self.served))
        [line] = [line for line in said.splitlines() if line.startswith("tor-annex::")]
        return line

    # --- clients -------------------------------------------------------

    def link(self, remote: str, address: str, ok: bool = True) -> bytes:
        """At the client."""
        if ok:
            return self.link_at(self.client, self.work, remote, address)
        code, said = _try_to_link(self.client, self.work, remote, address)
        self.assertNotEqual(code, 0, said)
        return said

    def link_at(self, machine: Machine, repository: Path, remote: str, address: str) -> bytes:
        """Its tor may take a moment to find the way."""
        said = b""

        def linked() -> bool:
            nonlocal said
            code, said = _try_to_link(machine, repository, remote, address)
            return code == 0

        until(linked, f"{remote} is linked", REACHED_S)
        return said

    def annex(self, *argv: str | bytes, ok: bool = True) -> bytes:
        return self.client.annex(self.work, *argv, seconds=REACHED_S, ok=ok)

    def add_file(self, name: str, content: bytes) -> bytes:
        """Its key."""
        (self.work / name).write_bytes(content)
        self.client.annex(self.work, "add", "-q", name)
        self.client.git(self.work, "commit", "-q", "-m", name)
        return self.client.key(self.work, name)

    def reaches(self, remote: str, key: bytes) -> bool:
        """Whether the client is told, and soon, that the key is there."""
        argv = (*self.client.prefix, "git-annex", "checkpresentkey", key, remote)
        try:
            return run_code(*argv, cwd=self.work, env=self.client.env, seconds=_ANSWER_S)[0] == 0
        except Failed:
            return False  # its tor is still looking for a way

    def await_reached(self, remote: str, key: bytes) -> float:
        """
        Seconds that it took.  In so small a network a client's tor may have
        no way left for minutes, as its guard is in the way; then another one
        is asked.
        """
        began = time.monotonic()
        if not self.reaches(remote, key):
            self.other_client()
            until(lambda: self.reaches(remote, key), "the client reaches the service", REACHED_S)
        return time.monotonic() - began

    def other_client(self) -> Path:
        """Another tor for the client, one that knows of nothing yet; where it looks for keys."""
        home = Path(tempfile.mkdtemp(prefix="client-", dir=self.network.directory))
        keys = home / "keys"
        keys.mkdir(mode=0o700)
        self.network.boot(home.name, f"SocksPort unix:{home}/socks\nClientOnionAuthDir {keys}\n")
        self.addCleanup(self.network.stop, home.name)
        namespace = Namespace(home / "socks", sys.executable, CHECKOUT)
        self.addCleanup(namespace.close)
        self.client.prefix = namespace.prefix
        return keys

    def assert_told(self, pattern: str) -> None:
        """In the log, now or soon."""
        until(lambda: re.search(pattern, self.daemon.said()), f"the log says {pattern}")

    def dial(self, user: str, hostname: str, *lines: bytes) -> socket.socket:
        """By circuits of its own; ``lines`` are said at once."""
        sock = connect(self.network.socks, hostname, 7001, user)
        self.addCleanup(sock.close)
        sock.sendall(b"".join(line + b"\n" for line in lines))
        return sock


def _try_to_link(machine: Machine, repository: Path, remote: str, address: str) -> tuple[int, bytes]:
    """The exit code of git-annex, and what it said."""
    return run_code(
        *(*machine.prefix, "git-annex", "p2p", "--link", "--name", remote),
        cwd=repository,
        env=machine.env,
        stdin=address.encode() + b"\n",
        seconds=REACHED_S,
    )
