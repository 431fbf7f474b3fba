"""A socket that plays the daemon for annexd-shell, and the program started against it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

SECONDS = 60  # for what takes milliseconds


class Asked:
    """What the daemon's side of one connection sees."""

    def __init__(self, connection: socket.socket, frame: bytes, fds: list[int]) -> None:
        self.connection = connection
        self.frame = frame
        self.fields = frame[4:].split(b"\0")
        self.fds = fds

    def close_fds(self) -> None:
        for fd in self.fds:
            os.close(fd)
        self.fds = []


class WithDaemon(SynchronousTestCase):
    """``program`` is asked as sshd would, and ``socket`` is where it looks for the daemon."""

    program: Path

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="annexd-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.socket = self.directory / "s"

    def listener(self) -> socket.socket:
        self.socket.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(str(self.socket))
        listener.settimeout(SECONDS)
        return listener

    def daemon(self, answer: Callable[[Asked], None]) -> None:
        """Answer one connection in a thread."""
        listener = self.listener()
        listener.listen(1)
        self.thread = threading.Thread(target=serve, args=(listener, answer))
        self.thread.start()
        self.addCleanup(self.thread.join)

    def daemon_for_all(self, answer: bytes) -> list[bytes]:
        """Answer every connection until the test ends; the frames that came."""
        frames: list[bytes] = []
        listener = self.listener()
        listener.settimeout(None)  # else it does not notice that it is shut down
        listener.listen(8)

        def record(asked: Asked) -> None:
            frames.append(asked.frame)
            asked.close_fds()
            asked.connection.sendall(answer)

        def serve_all() -> None:
            while True:
                try:
                    serve(listener, record)
                except OSError:  # it was shut down
                    return

        thread = threading.Thread(target=serve_all)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(listener.shutdown, socket.SHUT_RDWR)
        return frames

    def start(self, *arguments: str, program: Path | None = None, **environ: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [program or self.program, *arguments],
            env={"PATH": "/usr/bin:/bin", "ANNEXD_SOCKET": str(self.socket), **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.addCleanup(process.__exit__, None, None, None)  # closes the pipes
        self.addCleanup(process.kill)
        return process

    def run_shim(
        self, *arguments: str, program: Path | None = None, **environ: str
    ) -> tuple[int, bytes, bytes]:
        process = self.start(*arguments, program=program, **environ)
        out, error = process.communicate(b"input", SECONDS)
        return process.returncode, out, error


def serve(listener: socket.socket, answer: Callable[[Asked], None]) -> None:
    """Answer one connection."""
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(SECONDS)
        data, fds, _, _ = socket.recv_fds(connection, 65536, 3)
        while len(data) < 4 + int.from_bytes(data[:4], "big"):
            more = connection.recv(65536)
            assert more, "the frame was cut off"
            data += more
        asked = Asked(connection, data, fds)
        try:
            answer(asked)
        finally:
            asked.close_fds()


def to_run(*argv: bytes) -> bytes:
    """The answer that has the program become another one."""
    joined = b"\0".join(argv)
    return b"r" + len(joined).to_bytes(4, "big") + joined
