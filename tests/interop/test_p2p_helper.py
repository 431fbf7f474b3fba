"""git-annex-p2p-annexd moves bytes, at the pace of the slower side, and ends as it should."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

from tests.support.p2p_programs import PROGRAM, SECONDS, Programs
from tests.support.processes import until
from tests.support.tls_peer import receive, receive_all, say_goodbye


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


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
