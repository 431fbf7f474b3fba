"""
annexd and git-annex's remotedaemon behind one onion, at two ports of it, in a
Tor network of their own: so they can be reached by the same circuit.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.client import Unexpected
from bench.place import Place, Repository
from bench.servers import Daemon, program
from bench.tls import TlsSession
from tests.support.socks_client import connect
from tests.support.tor_net import TorNetwork

_THEIR_PORT, _OUR_PORT = 7001, 7002
_PUBLISHED_S = 90.0


class TorSession(TlsSession):
    """As `bench.tls.TlsSession`, by circuits that it shares with those of the same ``user`` only."""

    def __init__(self, service: Service, user: str) -> None:
        sock = connect(service.network.socks, service.hostname, service.port, user)
        sock.settimeout(120)
        self._tls = sock  # type: ignore[assignment]
        self._buffer = b""
        self.say(f"AUTH bench {service.secret}\n".encode())
        if not self.line().startswith(b"AUTH-SUCCESS "):
            raise Unexpected("the token is not accepted")
        self.say(b"VERSION 4\n")
        self.expect(b"VERSION 4")


class Service:
    def __init__(self, network: TorNetwork, hostname: str, port: int, secret: str) -> None:
        self.network = network
        self.hostname = hostname
        self.port = port
        self.secret = secret

    def opened(self, user: str) -> TorSession:
        """Once the service can be found; with circuits that are there."""
        end = time.monotonic() + _PUBLISHED_S
        while True:
            try:
                return TorSession(self, user)
            except (AssertionError, OSError, Unexpected):
                if time.monotonic() > end:
                    raise
                time.sleep(1)


@contextmanager
def services(place: Place, theirs: Repository, ours: Repository) -> Iterator[tuple[Service, Service]]:
    """git-annex's with ``theirs``, and annexd's with ``ours``."""
    with tempfile.TemporaryDirectory(prefix="annexd-tor-") as directory:
        network = TorNetwork(Path(directory))
        network.up()
        try:
            etc = Path(directory) / "etc"
            etc.mkdir()
            daemon = _remotedaemon(place, theirs, network, etc)
            yield daemon, _annexd(place, ours, network, daemon.hostname)
        finally:
            network.down()


def _remotedaemon(place: Place, repository: Repository, network: TorNetwork, etc: Path) -> Service:
    """It looks in /etc/tor for the service of its repository, so it gets one of its own."""
    sockets = network.directory / "tor-annex" / f"0_{repository.uuid}"
    sockets.mkdir(parents=True)
    home = network.directory / "service"
    hidden = home / f"tor-annex_0_{repository.uuid}"
    torrc = f"HiddenServiceDir {hidden}\nHiddenServicePort {_THEIR_PORT} unix:{sockets}/s\n"
    (etc / "torrc").write_text(torrc)
    network.boot("service", f"SocksPort 0\n{torrc}HiddenServicePort {_OUR_PORT} unix:{home}/annexd\n")
    hostname = (hidden / "hostname").read_text().strip()
    creds = repository.path / "annex" / "creds"
    creds.mkdir(exist_ok=True)
    (creds / "p2paddrs").write_text(f"tor-annex::{hostname}:{_THEIR_PORT}\n")
    address = place.run("git-annex", "p2p", "--gen-addresses", cwd=repository.path).split()[-1]
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    script = 'mount --bind "$1" /etc/tor && cd "$2" && exec git-annex remotedaemon --foreground'
    argv = ["unshare", *user, "--mount", "sh", "-c", script, "sh", str(etc), str(repository.path)]
    # It goes on for as long as its standard input does.
    place.processes.start(argv, place.environment, subprocess.PIPE, place.errors, place.errors)
    end = time.monotonic() + 20
    while not (sockets / "s").exists():
        if time.monotonic() > end:
            raise Unexpected("git-annex remotedaemon does not listen")
        time.sleep(0.1)
    return Service(network, hostname, _THEIR_PORT, address.rpartition(":")[2])


def _annexd(place: Place, repository: Repository, network: TorNetwork, hostname: str) -> Service:
    settings = (
        f'[daemon]\nstate-directory = "{place.directory / "tor-state"}"\n'
        f'[listen.tor]\nhidden-service = "{network.directory}/service"\nhostname = "{hostname}"\n'
        f'socket = "{network.directory}/service/annexd"\nport = {_OUR_PORT}\n'
    )
    daemon = Daemon(place, [], [repository], "tor", settings)
    where = ("--config", str(place.directory / "tor.toml"), "--socket", daemon.socket)
    invite = ("invite", "bench", "--tor", "--mode", "read-write", "--repo", str(repository.path))
    line = place.run(*program("annexd"), *invite, *where)
    return Service(network, hostname, _OUR_PORT, line.rpartition(":")[2])
