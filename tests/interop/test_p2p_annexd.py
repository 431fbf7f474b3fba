"""git-annex-p2p-annexd connects, or says why not."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from pathlib import Path

from annexd.client.p2p_address import Address
from tests.support.certificates import Authority, pin
from tests.support.p2p_programs import PROGRAM, SECONDS, Programs, echo
from tests.support.ports import free_port
from tests.support.tls_peer import receive_all


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
        port = free_port()
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
