"""Peers come over TLS to what stands for git-annex."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from annexd.client.p2p_address import Address, fingerprint
from tests.support import pretend_git_annex
from tests.support.p2p_programs import PROGRAM, SECONDS, Repository
from tests.support.ports import free_port
from tests.support.processes import open_files, running, stop_all, until
from tests.support.tls_peer import receive, receive_all

T = TypeVar("T")


class HalfClosing:
    """A TLS client that goes on reading after its own end."""

    def __init__(self, port: int) -> None:
        self._connection = socket.create_connection(("127.0.0.1", port), SECONDS)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._stream = context.wrap_bio(self._incoming, self._outgoing)
        self._until_done(self._stream.do_handshake)

    def send(self, data: bytes) -> None:
        self._stream.write(data)
        self._flush()

    def end(self) -> None:
        try:
            self._stream.unwrap()
        except ssl.SSLWantReadError:
            pass
        self._flush()

    def receive_all(self) -> bytes:
        data = b""
        while True:
            try:
                more = self._until_done(lambda: self._stream.read(65536))
            except ssl.SSLZeroReturnError:
                return data
            if not more:
                return data
            data += more

    def close(self) -> None:
        self._connection.close()

    def _until_done(self, act: Callable[[], T]) -> T:
        while True:
            try:
                return act()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._connection.recv(65536)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()

    def _flush(self) -> None:
        self._connection.sendall(self._outgoing.read())


class ReachTests(Repository):
    def setUp(self) -> None:
        super().setUp()
        self.git("config", "annexd.listen", "127.0.0.1:1")
        self.own = self.address()
        self.port = free_port()
        self.git("config", "annexd.listen", f"127.0.0.1:{self.port}")

    def begin(self, address: Address | None = None) -> int:
        """The process id of the helper."""
        self.git_annex = subprocess.Popen(
            [sys.executable, pretend_git_annex.__file__, PROGRAM, str(address or self.own), "../socket"],
            cwd=self.repo,
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.git_annex.stdin is not None and self.git_annex.stdout is not None
        for pipe in (self.git_annex.stdin, self.git_annex.stdout, self.git_annex.stderr):
            assert pipe is not None
            self.addCleanup(pipe.close)
        self.addCleanup(self.git_annex.wait)
        self.addCleanup(self.git_annex.kill)
        helper = int(self.git_annex.stdout.readline())
        self.addCleanup(stop_all, [helper])
        return helper

    def log(self) -> str:
        path = self.pem.with_name("p2p.log")
        return path.read_text() if path.exists() else ""

    def dial(self) -> ssl.SSLSocket:
        until(lambda: "listening" in self.log(), "it listens")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        plain = socket.create_connection(("127.0.0.1", self.port), SECONDS)
        stream = context.wrap_socket(plain)
        self.addCleanup(stream.close)
        return stream

    def test_sessions(self) -> None:
        self.begin()
        streams = [self.dial() for _ in range(5)]
        for number, stream in enumerate(streams):
            stream.sendall(b"%d" % number * 100_000)
        for number, stream in enumerate(streams):
            self.assertEqual(receive(stream, 100_000), b"%d" % number * 100_000)
            self.assertEqual(fingerprint(stream.getpeercert(True) or b""), self.own.sha256)

    def test_the_helper_itself_as_the_peer(self) -> None:
        self.begin()
        self.dial().close()
        process = self.helper()
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        threading.Thread(target=process.stdin.write, args=(bytes(3_000_000),)).start()
        self.assertEqual(process.stdout.read(2_990_000), bytes(2_990_000))
        process.stdout.close()
        process.stdin.close()
        self.assertEqual((process.wait(SECONDS), process.stderr.read()), (0, b""))

    def test_large_both_ways_at_once(self) -> None:
        self.begin()
        self.dial().close()
        process = self.helper()
        assert process.stdin is not None and process.stdout is not None
        chunk = os.urandom(1_000_003)
        sent, came = hashlib.sha256(), hashlib.sha256()

        def send() -> None:
            assert process.stdin is not None
            for _ in range(300):
                process.stdin.write(chunk)
                sent.update(chunk)
            process.stdin.flush()

        sender = threading.Thread(target=send)
        sender.start()
        left = 300 * len(chunk)
        while left:
            data = process.stdout.read1(min(left, 1 << 20))
            self.assertTrue(data)
            came.update(data)
            left -= len(data)
        sender.join()
        self.assertEqual(came.digest(), sent.digest())

    def test_a_peer_that_has_said_all_is_still_answered(self) -> None:
        """In TLS 1.3 one half can be closed, and who does so hears the rest."""
        self.begin()
        self.dial().close()
        stream = HalfClosing(self.port)
        self.addCleanup(stream.close)
        stream.send(b"x" * 1_000_000)
        stream.end()
        self.assertEqual(len(stream.receive_all()), 1_000_000)

    def test_it_ends_with_git_annex(self) -> None:
        helper = self.begin()
        stream = self.dial()
        stream.sendall(b"x")
        self.assertEqual(receive(stream, 1), b"x")
        assert self.git_annex.stdin is not None
        self.git_annex.stdin.close()
        self.git_annex.wait(SECONDS)
        until(lambda: not running(helper), "the helper ends")
        self.assertEqual(receive_all(stream), b"")

    def test_it_ends_when_it_is_told_to(self) -> None:
        helper = self.begin()
        stream = self.dial()
        stream.sendall(b"x")
        receive(stream, 1)
        stop_all([helper])
        self.assertEqual(self.cut(stream), b"")

    def helper(self) -> subprocess.Popen[bytes]:
        """One that connects to the one that listens."""
        process = subprocess.Popen(
            [PROGRAM, f"127.0.0.1:{self.port},sha256={self.own.sha256}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.env,
            cwd=self.repo,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        for pipe in (process.stdin, process.stdout, process.stderr):
            assert pipe is not None
            self.addCleanup(pipe.close)
        return process

    def cut(self, stream: ssl.SSLSocket) -> bytes:
        try:
            return stream.recv(1)
        except OSError:
            return b""

    def test_it_keeps_nothing_of_git_annex(self) -> None:
        helper = self.begin()
        self.dial()

        def sockets() -> int:
            return [name.partition(":")[0] for name in open_files(helper)].count("socket")

        until(lambda: sockets() == 1, "it has the socket where it listens, and no other")

    def test_a_port_that_is_taken_for_now(self) -> None:
        taken = socket.create_server(("127.0.0.1", self.port))
        self.begin()
        until(lambda: "cannot listen" in self.log(), "it says so")
        self.assertEqual(len(self.log().splitlines()), 1)
        taken.close()
        self.dial().close()

    def test_another_certificate(self) -> None:
        helper = self.begin(Address("127.0.0.1", self.port, sha256="0" * 64))
        until(lambda: "is another one now" in self.log(), "it says so")
        until(lambda: not running(helper), "the helper ends")

    def test_who_says_nothing_is_not_shown_to_git_annex(self) -> None:
        self.begin()
        silent = self.dial()
        speaks = self.dial()
        speaks.sendall(b"x")
        self.assertEqual(receive(speaks, 1), b"x")
        assert self.git_annex.stdout is not None
        self.assertEqual(self.git_annex.stdout.readline(), b"a session\n")
        os.set_blocking(self.git_annex.stdout.fileno(), False)
        self.assertEqual(self.git_annex.stdout.read(), None)
        silent.close()

    def test_nonsense_is_no_session(self) -> None:
        self.begin()
        self.dial().close()
        with socket.create_connection(("127.0.0.1", self.port), SECONDS) as plain:
            plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
            try:
                while plain.recv(65536):
                    pass
            except ConnectionResetError:
                pass
        stream = self.dial()
        stream.sendall(b"x")
        self.assertEqual(receive(stream, 1), b"x")
