"""`annexd ...` as typed, up to the daemon."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import struct
import tempfile
import threading

from twisted.trial.unittest import SynchronousTestCase

from annexd import __version__
from annexd.app import tables
from annexd.app.cli import main

STATUS = {
    "version": "1.2",
    "pid": 77,
    "uptime": 3700.0,
    "listeners": ["unix:/run/annexd/annexd.sock"],
    "repositories": [{"path": "/srv/x", "uses": 2}],
    "sessions": [
        {
            "id": 1,
            "principal": "alice",
            "repository": "/srv/x",
            "transport": "ssh",
            "since": 70.0,
            "requests": 12,
            "verb": "PUT",
            "key": "K",
            "bytes": 1500000,
            "total": 3000000000,
            "seconds": 2.0,
            "rate": 750000,
        },
        {
            "id": 2,
            "principal": "",
            "repository": "/srv/x",
            "transport": "ssh",
            "since": 3.0,
            "requests": 0,
            "verb": "",
            "key": "",
            "bytes": 0,
            "total": None,
            "seconds": 0.0,
            "rate": 0,
        },
    ],
}


class Typed(SynchronousTestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.socket = os.path.join(scratch.name, "s")
        self.out = io.StringIO()
        self.err = io.StringIO()

    def run_annexd(self, *arguments: str) -> int:
        with contextlib.redirect_stdout(self.out), contextlib.redirect_stderr(self.err):
            try:
                return main(arguments)
            except SystemExit as ending:
                return int(ending.code or 0)

    def answer(self, reply: bytes) -> list[bytes]:
        """Be a daemon for one question; what it was."""
        asked: list[bytes] = []
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self.socket)
        listening.listen()

        def once() -> None:
            connection, _ = listening.accept()
            with connection, listening:
                (length,) = struct.unpack(">I", connection.recv(4))
                asked.append(connection.recv(length))
                connection.sendall(reply)

        thread = threading.Thread(target=once)
        thread.start()
        self.addCleanup(thread.join, 10)
        return asked


class Asking(Typed):
    def test_status(self) -> None:
        asked = self.answer(json.dumps(STATUS).encode())
        self.assertEqual(0, self.run_annexd("status", "--socket", self.socket))
        self.assertEqual(tables.status(STATUS), self.out.getvalue())
        self.assertEqual([b"status"], asked)

    def test_status_as_json(self) -> None:
        self.answer(json.dumps(STATUS).encode())
        self.assertEqual(0, self.run_annexd("status", "--json", "--socket", self.socket))
        self.assertEqual(STATUS, json.loads(self.out.getvalue()))

    def test_reload(self) -> None:
        asked = self.answer(b'{"reloaded": "f is in effect"}')
        self.assertEqual(0, self.run_annexd("reload", "--socket", self.socket))
        self.assertEqual(("f is in effect\n", [b"reload"]), (self.out.getvalue(), asked))

    def test_reload_that_fails(self) -> None:
        self.answer(b'{"error": "f:3: wrong"}')
        self.assertEqual(1, self.run_annexd("reload", "--socket", self.socket))
        self.assertEqual("annexd: f:3: wrong\n", self.err.getvalue())

    def test_nobody_there(self) -> None:
        self.assertEqual(1, self.run_annexd("status", "--socket", self.socket))
        self.assertEqual(f"annexd: annexd does not run at {self.socket}\n", self.err.getvalue())

    def test_no_answer(self) -> None:
        self.answer(b"")
        self.assertEqual(1, self.run_annexd("status", "--socket", self.socket))
        self.assertIn("gave no answer", self.err.getvalue())


class Configurations(Typed):
    def write(self, text: str) -> str:
        path = self.mktemp()
        with open(path, "w") as file:
            file.write(text)
        return path

    def test_good(self) -> None:
        path = self.write('[[repository]]\npath = "/nonexistent"\n[[repositories]]\ndirectory = "/"\n')
        self.assertEqual(0, self.run_annexd("check-config", "--config", path))
        self.assertEqual(f"{path}: 1 repositories, 1 directories, 0 rules\n", self.out.getvalue())
        self.assertEqual("annexd: note: /nonexistent is not there now\n", self.err.getvalue())

    def test_nothing_to_serve(self) -> None:
        """As in the sample: the daemon would not start with it."""
        path = self.write("")
        self.assertEqual(0, self.run_annexd("check-config", "--config", path))
        self.assertIn("names nothing to serve", self.err.getvalue())

    def test_bad(self) -> None:
        path = self.write("[deadlines]\nidle = 0\nstall = 0\n")
        self.assertEqual(2, self.run_annexd("check-config", "--config", path))
        self.assertEqual(
            f"annexd: {path}:2: deadlines.idle: must be more than 0 seconds\n"
            f"annexd: {path}:3: deadlines.stall: must be more than 0 seconds\n",
            self.err.getvalue(),
        )

    def test_files(self) -> None:
        """Keys and certificates are looked into, too."""
        tls = '[listen.tls]\naddress = "[::]:7001"\ncertificate = "/nonexistent"\nkey = "/nonexistent"\n'
        ssh = '[listen.ssh]\naddress = "[::]:2222"\nauthorized-keys = "/nonexistent"\n'
        self.assertEqual(2, self.run_annexd("check-config", "--config", self.write(tls + ssh)))
        self.assertEqual("annexd: /nonexistent: No such file or directory\n", self.err.getvalue())
        self.assertEqual(0, self.run_annexd("check-config", "--config", self.write(ssh)))
        self.assertIn("annexd: note: /nonexistent does not exist, so nobody can log in", self.err.getvalue())


class Help(Typed):
    def test_version(self) -> None:
        self.assertEqual(0, self.run_annexd("--version"))
        self.assertEqual(f"annexd {__version__}\n", self.out.getvalue())

    def test_everywhere(self) -> None:
        for command in ((), ("serve",), ("status",), ("reload",), ("check-config",), ("build-shell",)):
            self.assertEqual(0, self.run_annexd(*command, "--help"))
        self.assertIn("$ANNEXD_SOCKET", self.out.getvalue())

    def test_nonsense(self) -> None:
        self.assertEqual(2, self.run_annexd("dance"))
        self.assertEqual(2, self.run_annexd())


class Tables(SynchronousTestCase):
    def test_status(self) -> None:
        self.assertEqual(
            "annexd 1.2, process 77, up 1h01m\n"
            "listens on unix:/run/annexd/annexd.sock\n"
            "\n"
            "REPOSITORY  USES\n"
            "/srv/x      2\n"
            "\n"
            "SESSION  USER   REPOSITORY  BY   SINCE  REQUESTS  NOW\n"
            "#1       alice  /srv/x      ssh  1m10s  12        PUT K 1.5 MB of 3.0 GB, 750.0 kB/s for 2s\n"
            "#2       -      /srv/x      ssh  3s     0         idle\n",
            tables.status(STATUS),
        )

    def test_empty(self) -> None:
        empty = {**STATUS, "sessions": [], "repositories": []}
        self.assertIn("no repository is open\n\nno session is open\n", tables.status(empty))

    def test_sizes(self) -> None:
        self.assertEqual(
            ["0 B", "999 B", "1.0 kB", "12.3 MB", "2000.0 TB"],
            [tables.size(count) for count in (0, 999, 1000, 12_345_678, 2e15)],
        )

    def test_durations(self) -> None:
        self.assertEqual(
            ["0s", "59s", "1m00s", "2h05m", "3d04h"],
            [tables.duration(seconds) for seconds in (0, 59.9 - 0.5, 60, 7500, 3 * 86400 + 4 * 3600)],
        )
