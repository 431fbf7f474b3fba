"""git-annex-p2p-annexd as a program, against TLS servers of several kinds."""

from __future__ import annotations

import atexit
import hashlib
import os
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from annexd.client import p2p_annexd
from annexd.client.p2p_address import Address
from tests.support.certificates import Authority, pin
from tests.support.processes import until
from tests.support.programs import SYSTEM_PATH
from tests.support.tls_peer import Session, TlsPeer, receive, receive_all, say_goodbye

PROGRAM = Path(p2p_annexd.__file__).with_name("git-annex-p2p-annexd")
SECONDS = 20  # for what takes milliseconds


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


class ConnectingTests(Programs):
    def test_a_pinned_certificate(self) -> None:
        peer = self.peer()
        self.assertEqual(self.run_with(b"hello\n\n", self.pinned(peer)), (0, b"hello\n\n", ""))
        self.assertEqual(peer.names, [None])
        self.assertEqual(peer.failures, [])

    def test_a_pinned_certificate_is_trusted_whatever_it_says(self) -> None:
        expired = self.authority.sign("other", expired=True)
        peer = self.peer(certificate=expired)
        address = Address("localhost", peer.port, sha256=pin(expired))
        self.assertEqual(self.run_with(b"\n\n", address), (0, b"\n\n", ""))
        self.assertEqual(peer.names, ["localhost"])

    def test_ipv6(self) -> None:
        peer = self.peer(host="::1")
        self.assertEqual(self.run_with(b"6\n\n", self.pinned(peer, "::1")), (0, b"6\n\n", ""))

    def test_all_addresses_of_a_host_are_tried(self) -> None:
        """localhost is ::1 first, where nobody listens, and 127.0.0.1."""
        if len({found[4][0] for found in socket.getaddrinfo("localhost", 1)}) < 2:
            hosts = Path("/etc/hosts").read_text()
            self.assertNotIn("::1 localhost", hosts)
        peer = self.peer()
        self.assertEqual(self.run_with(b"\n\n", self.pinned(peer, "localhost"))[0], 0)

    def test_authorities(self) -> None:
        peer = self.peer()
        trust = {"SSL_CERT_FILE": str(self.authority.file)}
        for address in (
            Address("localhost", peer.port),
            Address("127.0.0.1", peer.port),
            Address("127.0.0.1", peer.port, name="peer.example"),
        ):
            self.assertEqual(self.run_with(b"\n\n", address, **trust), (0, b"\n\n", ""))
        self.assertEqual(peer.names, ["localhost", None, "peer.example"])

    def test_authorities_of_git_config(self) -> None:
        peer = self.peer()
        subprocess.run(
            ["git", "config", "--global", "annexd.caFile", self.authority.file],
            env=self.environ(),
            check=True,
        )
        self.assertEqual(self.run_with(b"\n\n", Address("localhost", peer.port)), (0, b"\n\n", ""))

    def test_a_client_certificate(self) -> None:
        own = str(self.authority.sign("me"))
        seen = []

        def serve(stream: ssl.SSLSocket) -> None:
            seen.append(stream.getpeercert())
            echo(stream)

        peer = self.peer(serve)
        peer.context.verify_mode = ssl.CERT_REQUIRED
        peer.context.load_verify_locations(self.authority.file)
        code, _, said = self.run_with(b"\n\n", self.pinned(peer), ANNEXD_CLIENT_CERTIFICATE=own)
        self.assertEqual((code, said), (0, ""))
        self.assertIn((("commonName", "me"),), seen[0]["subject"])
        self.assertIn("demands a client certificate", self.refused(self.pinned(peer)))

        stranger = Authority(self.directory / "stranger").sign("me")
        said = self.refused(self.pinned(peer), ANNEXD_CLIENT_CERTIFICATE=str(stranger))
        self.assertIn("does not accept the client certificate", said)
        missing = self.refused(self.pinned(peer), ANNEXD_CLIENT_CERTIFICATE="/nowhere.pem")
        self.assertIn("/nowhere.pem cannot be used: No such file", missing)


class RefusingTests(Programs):
    def test_another_certificate(self) -> None:
        heard = []
        peer = self.peer(lambda stream: heard.append(receive_all(stream)))
        code, came, said = self.run_with(b"secret", Address("127.0.0.1", peer.port, sha256="0" * 64))
        self.assertEqual((code, came), (1, b""))
        self.assertIn(f"sha256={self.pin}", said)
        self.assertIn(f"sha256={'0' * 64}", said)
        peer.stop()
        self.assertNotIn(b"secret", heard)

    def test_what_authorities_say(self) -> None:
        expired = self.peer(certificate=self.authority.sign("localhost", expired=True))
        other = self.peer(certificate=self.authority.sign("somebody.else"))
        good = self.peer()
        trust = {"SSL_CERT_FILE": str(self.authority.file)}
        self.assertIn("has expired", self.refused(f"localhost:{expired.port}", **trust))
        said = self.refused(f"localhost:{other.port}", **trust)
        self.assertIn("is for another name than localhost", said)
        said = self.refused(f"127.0.0.1:{good.port},name=x.example", **trust)
        self.assertIn("is for another name than x.example", said)
        said = self.refused(f"localhost:{good.port}")
        self.assertIn("is not trusted", said)

    def test_nobody_there(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        said = self.refused(f"127.0.0.1:{port}")
        self.assertIn(f"nothing listens on port {port} (connection refused)", said)
        self.assertIn("no host nobody.invalid", self.refused("nobody.invalid:1"))

    def test_no_tls(self) -> None:
        def answer(data: bytes) -> int:
            listener = socket.create_server(("127.0.0.1", 0))
            listener.settimeout(SECONDS)
            self.addCleanup(listener.close)

            def serve() -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1)
                    connection.sendall(data)
                    connection.shutdown(socket.SHUT_WR)
                    try:
                        while connection.recv(65536):
                            pass
                    except ConnectionResetError:
                        pass

            thread = threading.Thread(target=serve)
            thread.start()
            self.addCleanup(thread.join)
            return int(listener.getsockname()[1])

        http = b"HTTP/1.1 400 Bad Request\r\n\r\n"
        self.assertIn("is no TLS server", self.refused(f"127.0.0.1:{answer(http)}"))
        said = self.refused(f"127.0.0.1:{answer(b'')}")
        self.assertIn("closed the connection during the handshake", said)

    def test_silence(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = f"127.0.0.1:{listener.getsockname()[1]}"
            said = self.refused(address, ANNEXD_CONNECT_SECONDS="0.2")
        self.assertIn("speaks no TLS within 0.2 seconds", said)

    def test_no_answer_at_all(self) -> None:
        """A full queue of connections is as good as a machine that is off."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            place = listener.getsockname()
            with socket.create_connection(place):
                said = self.refused(f"127.0.0.1:{place[1]}", ANNEXD_CONNECT_SECONDS="0.2")
        self.assertIn(f"no answer from port {place[1]} within 0.2 seconds", said)

    def test_old_tls(self) -> None:
        peer = self.peer()
        peer.context.set_ciphers("ALL:@SECLEVEL=0")
        peer.context.minimum_version = ssl.TLSVersion.TLSv1
        peer.context.maximum_version = ssl.TLSVersion.TLSv1_1
        self.assertIn("no version of TLS in common", self.refused(self.pinned(peer)))

    def test_wrong_calls(self) -> None:
        self.assertIn("needs a port", self.refused("localhost"))
        self.assertIn("is no number", self.refused("localhost:1", ANNEXD_CONNECT_SECONDS="soon"))
        for arguments in ([], ["a", "b", "c"], ["--what"], ["-x", "y"]):
            done = subprocess.run(
                [PROGRAM, *arguments], env=self.environ(), capture_output=True, timeout=SECONDS
            )
            self.assertEqual(done.returncode, 2)
            self.assertTrue(done.stderr.startswith(b"usage: "))


class EndingTests(Programs):
    def test_the_peer_closes(self) -> None:
        """What it sent before is delivered, and nobody waits for the end of stdin."""

        def serve(stream: ssl.SSLSocket) -> None:
            stream.sendall(b"x" * 1_000_000)
            say_goodbye(stream)

        process = self.start(self.pinned(self.peer(serve)))
        assert process.stdout is not None
        self.assertEqual(len(process.stdout.read()), 1_000_000)
        self.assertEqual(process.wait(SECONDS), 0)

    def test_the_peer_breaks_off(self) -> None:
        def serve(stream: ssl.SSLSocket) -> None:
            stream.sendall(b"x" * 1000)
            stream.shutdown(socket.SHUT_RDWR)

        process = self.start(self.pinned(self.peer(serve)))
        assert process.stdout is not None and process.stderr is not None
        self.assertEqual(len(process.stdout.read()), 1000)
        self.assertEqual(process.wait(SECONDS), 1)
        self.assertIn(b"was lost", process.stderr.read())

    def test_stdin_ends_first(self) -> None:
        answered = b"y" * 300_000

        def serve(stream: ssl.SSLSocket) -> None:
            receive(stream, 100_000)
            stream.sendall(answered)
            say_goodbye(stream)

        code, came, said = self.run_with(b"x" * 100_000, self.pinned(self.peer(serve)))
        self.assertEqual((code, came == answered, said), (0, True, ""))

    def test_who_called_is_gone(self) -> None:
        """All that it said is sent, the peer hears of the end, and nothing stays behind."""
        heard = []

        def serve(stream: ssl.SSLSocket) -> None:
            stream.sendall(b"x")
            heard.append(receive_all(stream))

        peer = self.peer(serve)
        process = self.start(self.pinned(peer))
        assert process.stdin is not None and process.stdout is not None
        self.assertEqual(process.stdout.read(1), b"x")
        process.stdin.write(b"last words")
        process.stdin.close()
        process.stdout.close()
        self.assertEqual(process.wait(SECONDS), 0)
        peer.stop()
        self.assertEqual((heard, peer.failures), ([b"last words"], []))

    def test_nobody_reads_any_more(self) -> None:
        def serve(stream: ssl.SSLSocket) -> None:
            while True:
                stream.sendall(b"x" * 65536)

        process = self.start(self.pinned(self.peer(serve)))
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        process.stdin.close()
        self.assertEqual(process.wait(SECONDS), 0)
        self.assertEqual(process.stderr.read(), b"")

    def test_terminated(self) -> None:
        process = self.start(
            self.pinned(self.peer(lambda stream: (stream.sendall(b"x"), receive_all(stream))))
        )
        assert process.stdout is not None
        process.stdout.read(1)
        process.terminate()
        self.assertEqual(process.wait(SECONDS), -signal.SIGTERM)

    def test_closed_descriptors(self) -> None:
        def serve(stream: ssl.SSLSocket) -> None:
            stream.sendall(b"x")
            say_goodbye(stream)

        peer = self.peer(serve)
        for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
            line = f"exec {PROGRAM} {self.pinned(peer)} {closed}"
            done = subprocess.run(
                ["sh", "-c", line], capture_output=True, timeout=SECONDS, env=self.environ()
            )
            self.assertEqual((done.returncode, done.stderr), (0, b""))
            self.assertEqual(done.stdout, b"" if ">&-" in closed.replace("2>&-", "") else b"x")
        peer.stop()
        self.assertEqual(peer.failures, [])


class PaceTests(Programs):
    def test_a_peer_that_does_not_read(self) -> None:
        goes_on = threading.Event()
        digests = []

        def serve(stream: ssl.SSLSocket) -> None:
            goes_on.wait(SECONDS)
            digests.append(hashlib.sha256(receive_all(stream)).digest())

        peer = self.peer(serve)
        process = self.start(self.pinned(peer))
        assert process.stdin is not None and process.stdout is not None
        os.set_blocking(process.stdin.fileno(), False)
        sent = hashlib.sha256()
        count = 0
        chunk = os.urandom(65536)
        end = time.monotonic() + 1
        while time.monotonic() < end:
            try:
                taken = os.write(process.stdin.fileno(), chunk)
            except BlockingIOError:
                time.sleep(0.01)
                continue
            sent.update(chunk[:taken])
            count += taken
            end = time.monotonic() + 0.3
        self.assertLess(count, 30_000_000)  # what the kernel keeps for both sockets, and little more
        self.assertLess(resident_bytes(process.pid), 40_000_000)
        goes_on.set()
        process.stdin.close()
        process.stdout.close()
        process.wait(SECONDS)
        peer.stop()
        self.assertEqual(digests, [sent.digest()])

    def test_a_caller_that_does_not_read(self) -> None:
        sent = [0]

        def serve(stream: ssl.SSLSocket) -> None:
            chunk = bytes(65536)
            while sent[0] < 200_000_000:
                stream.sendall(chunk)
                sent[0] += len(chunk)
            say_goodbye(stream)

        process = self.start(self.pinned(self.peer(serve)))
        assert process.stdout is not None
        until(lambda: sent[0], "something is sent")
        before = -1
        while before != sent[0]:
            before = sent[0]
            time.sleep(0.3)
        self.assertLess(before, 30_000_000)
        self.assertLess(resident_bytes(process.pid), 40_000_000)
        came = 0
        while data := process.stdout.read(1 << 20):
            came += len(data)
        self.assertEqual(came, sent[0])

    def test_while_one_way_is_blocked_the_other_goes_on(self) -> None:
        """The peer reads nothing before all that it sends was taken."""

        def serve(stream: ssl.SSLSocket) -> None:
            stream.sendall(bytes(20_000_000))
            receive(stream, 20_000_000)
            say_goodbye(stream)

        process = self.start(self.pinned(self.peer(serve)))
        came, _ = process.communicate(bytes(20_000_000), timeout=SECONDS)
        self.assertEqual((process.returncode, len(came)), (0, 20_000_000))


class StartingTests(Programs):
    def test_little_is_imported(self) -> None:
        """Each of these would take as long as all that it does import."""
        modules = "dial, git_settings, p2p_annexd, relay, tls"
        code = f"import sys; sys.path.append(sys.argv[1]); from annexd.client import {modules}"
        heavy = "{'ssl', 'socket', 're', 'typing', 'subprocess', 'enum', 'dataclasses', 'twisted', 'site'}"
        checkout = PROGRAM.parents[2]
        done = subprocess.run(
            [*("python3 -I -S -c".split()), f"{code}; print(*{heavy} & set(sys.modules))", checkout],
            capture_output=True,
            timeout=SECONDS,
            check=True,
        )
        self.assertEqual(done.stdout.strip(), b"")

    def test_through_a_link(self) -> None:
        link = self.directory / "git-annex-p2p-annexd"
        link.symlink_to(PROGRAM)
        done = subprocess.run([link, "--version"], env=self.environ(), capture_output=True, timeout=SECONDS)
        self.assertTrue(done.stdout.startswith(b"git-annex-p2p-annexd "), done.stderr)


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
