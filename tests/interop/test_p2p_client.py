"""Stock git-annex over TLS, by what a client has installed."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from annexd.client import tls
from annexd.client.p2p_address import Address
from annexd.client.relay import Cut, Relay
from tests.support.annex import Machine
from tests.support.certificates import pin
from tests.support.p2p import shell_command
from tests.support.p2p_programs import PROGRAM, certificates
from tests.support.ports import free_port
from tests.support.processes import descendants, run_code, running, until
from tests.support.scenes import Scene

_TOKEN = "0123456789abcdef"
_SECONDS = 60  # for what takes milliseconds
_PROGRAMS = ("git-annex-p2p-annexd", "git-remote-p2p-annex")


def client(directory: Path) -> Machine:
    """A machine with git, git-annex, and the client's programs."""
    machine = Machine(directory)
    for name in _PROGRAMS:
        (directory / "tools" / name).symlink_to(PROGRAM.with_name(name))
    return machine


def link(machine: Machine, repo: Path, url: str, token: str) -> None:
    code, said = run_code(
        *("git-annex", "p2p", "--link", "--name", "peer"),
        cwd=repo,
        env=machine.env,
        stdin=f"{url}:{token}\n".encode(),
    )
    assert code == 0, said


class Exchange:
    """What two repositories do with each other; ``here`` has the other one as ``peer``."""

    def exchange(self, machine: Machine, here: Path, files: int = 25) -> list[bytes]:
        """Contents go there, are fetched again, and moved back; the keys."""
        keys = machine.files(here, "mine", files)
        (here / "large").write_bytes(os.urandom(5_000_000))
        machine.annex(here, "add", "-q", "large")
        machine.git(here, "commit", "-q", "-m", "large")
        machine.annex(here, "copy", "-q", "-J10", "--to", "peer", ".")
        machine.annex(here, "drop", "-q", ".")
        machine.annex(here, "get", "-q", "-J4", ".")
        machine.annex(here, "fsck", "-q")
        machine.annex(here, "fsck", "-q", "--fast", "--from", "peer")
        machine.annex(here, "drop", "-q", "--from", "peer", "large")
        machine.annex(here, "move", "-q", "--from", "peer", "mine")
        machine.annex(here, "checkpresentkey", keys[0], "peer", ok=False)
        machine.annex(here, "move", "-q", "--to", "peer", "mine", "large")
        return keys


class WithAServer(Scene, Exchange):
    """A TLS listener, as small as can be, before annexd's sessions."""

    def setUp(self) -> None:
        super().setUp()
        _, certificate = certificates()
        self.context = tls.server_context(str(certificate))
        self.listener = socket.create_server(("127.0.0.1", free_port()))
        self.threads = [threading.Thread(target=self.accept)]
        self.threads[0].start()
        self.addCleanup(self.stop_listening)
        self.machine = client(self.directory / "client")
        port = self.listener.getsockname()[1]
        self.address = Address("localhost", port, sha256=pin(certificate), label="served")
        self.here = self.machine.new("here")
        link(self.machine, self.here, self.address.url, _TOKEN)

    def stop_listening(self) -> None:
        if self.listener.fileno() >= 0:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
        for thread in self.threads:
            thread.join(_SECONDS)

    def accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.threads.append(threading.Thread(target=self.serve, args=(connection,), daemon=True))
            self.threads[-1].start()

    def serve(self, connection: socket.socket) -> None:
        """AUTH is answered by the session that begins; what that needs has come before it."""
        try:
            with connection:
                stream = tls.shake_hands(connection, self.context, None, _SECONDS, server_side=True)
                connection.settimeout(_SECONDS)
                line = memoryview(bytearray(1000))
                line = line[: stream.read(1000, line)]
                connection.settimeout(0)
                if bytes(line).endswith(b" " + _TOKEN.encode() + b"\n"):
                    self.relay(connection, stream)
                else:
                    stream.write(memoryview(b"AUTH-FAILURE\n"))
        except (OSError, Cut):
            pass  # a client may go as it likes

    def relay(self, connection: socket.socket, stream: tls.Stream) -> None:
        server = self.annexd()
        session = subprocess.Popen(
            [*server.command(), "-c", shell_command(self.served, self.uuid.decode())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(server.env()),
        )
        assert session.stdin is not None and session.stdout is not None
        with session, session.stdin, session.stdout:
            Relay(stream, connection, session.stdout.fileno(), session.stdin.fileno()).run()

    def test_content(self) -> None:
        self.exchange(self.machine, self.here)
        self.machine.git(self.here, "push", "-q", "peer", "git-annex:synced/git-annex")
        self.host.annex(self.served, "merge", "-q")
        self.assert_sound()

    def test_git(self) -> None:
        self.machine.files(self.here, "mine", 3)
        self.machine.git(self.here, "push", "-q", "peer", "main")
        self.machine.git(self.machine.directory, "clone", "-q", self.address.url, "clone", ok=False)
        self.machine.env["GIT_ANNEX_P2P_AUTHTOKEN"] = _TOKEN
        self.machine.git(self.machine.directory, "clone", "-q", "-b", "main", self.address.url, "clone")
        del self.machine.env["GIT_ANNEX_P2P_AUTHTOKEN"]
        clone = self.machine.directory / "clone"
        self.machine.annex(clone, "init", "-q", "clone")
        self.machine.git(clone, "remote", "rm", "origin")
        link(self.machine, clone, self.address.url, _TOKEN)
        self.machine.annex(clone, "pull", "-q", "--no-content")
        self.machine.files(clone, "theirs", 3)
        self.machine.annex(clone, "sync", "-q", "--content")
        self.machine.annex(self.here, "sync", "-q", "--content")
        self.assertEqual(len(os.listdir(self.here / "theirs")), 3)
        self.machine.annex(self.here, "find", "-q", "--in", "here", "theirs")
        self.machine.annex(self.here, "fsck", "-q")
        self.assert_sound()

    def test_a_wrong_token(self) -> None:
        [file] = (self.here / ".git" / "annex" / "creds").iterdir()
        file.write_text("wr0ng")
        said = self.machine.git(self.here, "ls-remote", "peer", ok=False)
        self.assertIn(b"does not accept the token", said)
        key = self.machine.files(self.here, "mine", 1)[0]
        code, said = self.machine.tries(self.here, "copy", "-q", "--key", key, "--to", "peer")
        self.assertEqual(code, 1)
        self.assertIn(b"Unable to authenticate", said)

    def test_a_server_that_is_away(self) -> None:
        self.stop_listening()
        key = self.machine.files(self.here, "mine", 1)[0]
        _, said = self.machine.tries(self.here, "copy", "-q", "--key", key, "--to", "peer")
        self.assertIn(b"(connection refused)", said)
        said = self.machine.git(self.here, "ls-remote", "peer", ok=False)
        self.assertIn(b"(connection refused)", said)


class WithoutAServer(SynchronousTestCase, Exchange):
    """Two ordinary repositories, of which one has git-annex's remotedaemon running."""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory(prefix="annexd-p2p-", ignore_cleanup_errors=True)
        self.addCleanup(scratch.cleanup)
        directory = Path(scratch.name)
        self.host = client(directory / "host")
        self.there = self.host.new("there", settings=(f"annexd.address=localhost:{free_port()}",))
        self.host.annex(self.there, "p2p", "--enable", "annexd")
        self.machine = client(directory / "client")
        self.here = self.machine.new("here")

    def start_daemon(self) -> subprocess.Popen[bytes]:
        daemon = subprocess.Popen(
            ["git-annex", "remotedaemon", "--foreground"],
            cwd=self.there,
            env=self.host.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.addCleanup(self.stop_daemon, daemon)
        log = self.there / ".git" / "annexd" / "p2p.log"
        until(lambda: log.exists() and "listening" in log.read_text(), "peers may come")
        return daemon

    def stop_daemon(self, daemon: subprocess.Popen[bytes]) -> None:
        """It ends when nobody speaks to it any more, and says nothing to its helpers."""
        left = descendants(daemon.pid)
        with daemon:
            daemon.communicate(timeout=_SECONDS)
        until(lambda: not any(map(running, left)), "its helpers end")

    def own_url(self) -> str:
        """With the token."""
        [url] = re.findall(rb"p2p-annex::annexd:\S+", self.host.annex(self.there, "p2p", "--gen-addresses"))
        return str(url.decode())

    def link(self) -> None:
        url, _, token = self.own_url().rpartition(":")
        link(self.machine, self.here, url, token)

    def test_content_and_git(self) -> None:
        self.start_daemon()
        self.link()
        self.exchange(self.machine, self.here)
        said = self.machine.git(self.here, "ls-remote", "peer")
        self.assertIn(b"refs/heads/git-annex", said)
        self.persistently("push", "-q", "peer", "main:refs/heads/theirs")
        self.persistently("fetch", "-q", "peer")
        refs = self.machine.git(self.here, "rev-parse", "main", "peer/theirs").split()
        self.assertEqual(refs[0], refs[1])

    def persistently(self, *argv: str) -> None:
        """git-annex as a server often enough loses the end of what git says there."""
        for _ in range(20):
            code, said = run_code("git", *argv, cwd=self.here, env=self.machine.env)
            if code == 0:
                return
            self.assertIn(b"unexpected disconnect", said)
        self.fail(f"git {argv[0]} never worked")

    def test_after_a_restart(self) -> None:
        first = self.start_daemon()
        self.link()
        self.stop_daemon(first)
        key = self.machine.files(self.here, "mine", 1)[0]
        code, said = self.machine.tries(self.here, "copy", "-q", "--key", key, "--to", "peer")
        self.assertEqual((code, b"connection refused" in said), (1, True), said)
        (self.there / ".git" / "annexd" / "p2p.log").unlink()
        self.start_daemon()
        self.machine.annex(self.here, "copy", "-q", "--key", key, "--to", "peer")
