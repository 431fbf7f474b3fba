"""git-annex-p2p-annexd as a program, with servers and certificates to try it on."""

from __future__ import annotations

import atexit
import ssl
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from annexd.client import p2p_annexd
from annexd.client.p2p_address import Address, parse
from tests.support.certificates import Authority, pin
from tests.support.programs import SYSTEM_PATH
from tests.support.tls_peer import Session, TlsPeer, say_goodbye

PROGRAM = Path(p2p_annexd.__file__).with_name("git-annex-p2p-annexd")
SECONDS = 60  # for what takes milliseconds


def echo(stream: ssl.SSLSocket) -> None:
    """Until an empty line has come."""
    while data := stream.recv(65536):
        stream.sendall(data)
        if data.endswith(b"\n\n"):
            break
    say_goodbye(stream)


@cache
def certificates() -> tuple[Authority, Path]:
    """One for all tests, as making keys takes time; gone with the process."""
    scratch = tempfile.TemporaryDirectory()
    atexit.register(scratch.cleanup)
    authority = Authority(Path(scratch.name) / "authority")
    return authority, authority.sign("peer.example", "DNS:peer.example", "DNS:localhost", "IP:127.0.0.1")


class Programs(SynchronousTestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = Path(scratch.name)
        self.authority, self.trusted = certificates()
        self.pin = pin(self.trusted)

    def peer(
        self, serve: Session = echo, certificate: Path | None = None, host: str = "127.0.0.1"
    ) -> TlsPeer:
        peer = TlsPeer(certificate or self.trusted, serve, host)
        self.addCleanup(peer.stop)
        return peer

    def environ(self, **more: str) -> dict[str, str]:
        return {"PATH": SYSTEM_PATH, "HOME": str(self.directory), "GIT_CONFIG_NOSYSTEM": "1", **more}

    def start(
        self, address: Address | str, stderr: int = subprocess.PIPE, **more: str
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [PROGRAM, str(address)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=self.environ(**more),
            cwd=self.directory,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                self.addCleanup(pipe.close)
        return process

    def run_with(self, data: bytes, address: Address | str, **more: str) -> tuple[int, bytes, str]:
        """Exit code, what came, and what it said."""
        process = self.start(address, **more)
        came, said = process.communicate(data, timeout=SECONDS)
        return process.returncode, came, said.decode()

    def refused(self, address: Address | str, **more: str) -> str:
        """The sentence that it says when it cannot connect."""
        code, came, said = self.run_with(b"", address, **more)
        self.assertEqual((code, came), (1, b""), said)
        [line] = said.splitlines()
        self.assertTrue(line.startswith("git-annex-p2p-annexd: "), line)
        return line

    def pinned(self, peer: TlsPeer, host: str = "127.0.0.1") -> Address:
        return Address(host, peer.port, sha256=self.pin)


class Repository(SynchronousTestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = Path(scratch.name)
        self.env = {"PATH": SYSTEM_PATH, "HOME": str(self.directory), "GIT_CONFIG_NOSYSTEM": "1"}
        self.repo = self.directory / "repo"
        self.git("init", "-q", str(self.repo), cwd=self.directory)

    def git(self, *argv: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            ["git", *argv],
            cwd=cwd or self.repo,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        return done.stdout.strip()

    def print_address(self, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, "address"],
            cwd=self.repo,
            env={**self.env, **more},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    def address(self) -> Address:
        return parse(self.print_address().stdout.strip())

    @property
    def pem(self) -> Path:
        return self.repo / ".git" / "annexd" / "tls.pem"
