"""A served repository behind a TLS listener, and those who come there."""

from __future__ import annotations

import re
import socket
import ssl
import sys
import time
from pathlib import Path

from annexd.app.access import Rights
from annexd.app.certificates import own_fingerprint
from annexd.app.state import private_directory
from annexd.app.token_file import Token, TokenFile, digest_of, fresh_secret
from tests.support import over_tls
from tests.support.daemon import Daemon
from tests.support.p2p import Dialogue
from tests.support.processes import until
from tests.support.scenes import Scene
from tests.support.servers import Annexd, Server

_SECONDS = 60.0
OVER_TLS = Path(over_tls.__file__)


class TlsScene(Scene):
    """
    ``secret`` opens the served repository; ``where``, ``listen`` and ``more``
    are put into the configuration.
    """

    handshake_s = 30.0
    drain_s = 5.0
    where = "127.0.0.1:0"
    listen = ""
    daemon_settings = ""
    more = ""

    def setUp(self) -> None:
        super().setUp()
        self.port = self.port_of("tls")

    def make_server(self) -> Server:
        home, directory = Path(self.host.env["HOME"]), self.directory / "daemon"
        self.state = self.directory / "state"
        self.config = self.directory / "annexd.toml"
        self.configure()
        self.secret = self._write_token("bob", Rights.READ_WRITE, self.served, None)
        server = Annexd(home, directory)
        server.daemon = Daemon(directory, home, options=("--config", str(self.config)))
        return server

    def configure(self) -> None:
        """Write the file."""
        self.config.write_text(
            f'[daemon]\nstate-directory = "{self.state}"\n{self.daemon_settings}\n'
            f"[deadlines]\nhandshake = {self.handshake_s}\ndrain = {self.drain_s}\n"
            f'[[repository]]\npath = "{self.served}"\n'
            f'[listen.tls]\naddress = "{self.where}"\n{self.listen}\n{self.more}\n'
        )

    def port_of(self, transport: str) -> int:
        for text in self.annexd().daemon.status()["listeners"]:
            found = re.fullmatch(transport + r":.*:(\d+)", text)
            if found:
                return int(found[1])
        raise AssertionError(f"nothing listens for {transport}")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port},sha256={own_fingerprint(str(self.state))},label=served"

    def add_token(
        self,
        name: str,
        rights: Rights = Rights.READ_WRITE,
        repository: Path | None = None,
        expires: float | None = None,
    ) -> str:
        """Its secret."""
        secret = self._write_token(name, rights, repository or self.served, expires)
        self.annexd().daemon.ask("tokens")
        return secret

    def _write_token(self, name: str, rights: Rights, repository: Path, expires: float | None) -> str:
        secret, now = fresh_secret(), time.time()
        until = None if expires is None else int(now + expires)
        token = Token(name, str(repository).encode(), rights, digest_of(secret), int(now), until)
        TokenFile(private_directory(str(self.state))).add([token], now)
        return secret.decode()

    # --- those who come ------------------------------------------------

    def connect(self, port: int | None = None) -> socket.socket:
        """No more than that; closed when the test is over."""
        sock = socket.create_connection(("127.0.0.1", port or self.port), timeout=_SECONDS)
        self.addCleanup(sock.close)
        return sock

    def secure(self, certificate: Path | None = None, version: ssl.TLSVersion | None = None) -> ssl.SSLSocket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if version is not None:
            context.minimum_version = context.maximum_version = version
        if certificate is not None:
            context.load_cert_chain(certificate)
        secure = context.wrap_socket(self.connect())
        self.addCleanup(secure.close)
        return secure

    def over_tls(self, secret: str | None = None) -> Dialogue:
        """A session; AUTH has been said."""
        env = {**self.host.env, "ANNEXD_TEST_TOKEN": self.secret if secret is None else secret}
        dialogue = Dialogue([sys.executable, str(OVER_TLS), self.address], env, "")
        self.addCleanup(dialogue.close)
        return dialogue

    # --- what becomes of it --------------------------------------------

    def assert_told(self, *words: str) -> None:
        """The log has, or soon will have, a line with all of these."""

        def told() -> bool:
            lines = self.annexd().daemon.said().splitlines()
            return any(all(word in line for word in words) for line in lines)

        until(told, f"the log says {words}")

    def assert_closed(self, sock: socket.socket) -> None:
        """By the other side, within its deadline."""
        sock.settimeout(self.handshake_s + _SECONDS)
        try:
            while sock.recv(1 << 16):
                pass
        except ConnectionResetError:
            pass
