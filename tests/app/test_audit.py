"""The audit: what is in it, and that nothing stops for it."""

from __future__ import annotations

import json
import os
import stat
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger, LogPublisher
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.audit import AUDIT, Audit
from annexd.sessions import activity as activities
from annexd.sessions.activity import Activity


class AuditTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.publisher = LogPublisher()
        self.patch(activities, "_log", Logger(namespace="annexd.request", observer=self.publisher))
        self.log = Logger(namespace=AUDIT, observer=self.publisher)
        self.path: str | None = os.path.abspath(self.mktemp())
        self.audit = Audit(self.publisher, lambda: self.path)
        self.said: list[Any] = []
        for level in ("error", "warn"):
            self.patch(
                __import__("annexd.app.audit", fromlist=["_log"])._log,
                level,
                lambda text, level=level, **fields: self.said.append((level, text.format(**fields))),
            )

    def start(self) -> None:
        self.audit.start()
        self.addCleanup(lambda: self.successResultOf(Deferred.fromCoroutine(self.audit.stop())))

    def lines(self, path: str | None = None) -> list[dict[str, Any]]:
        with open(path or self.path or "") as file:
            return [json.loads(line) for line in file]

    def request(
        self, verb: str, result: Any = "done", reason: str = "", key: bytes = b"K\n", bytes: int = 0
    ) -> None:
        activity = Activity(Clock(), 1, "alice", b"/srv/\xff", "tls", "192.0.2.7")
        activity.begin(verb, key)
        activity.moved(bytes)
        activity.end(result, reason)

    def test_changes(self) -> None:
        self.start()
        self.request("PUT", bytes=5)
        self.request("REMOVE", "failed", "the content is locked")
        self.request("REMOVE-BEFORE")
        self.request("PUT", "lost", "the peer went away")
        first, *others = self.lines()
        self.assertRegex(first.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
        self.assertEqual(
            {
                "event": "PUT",
                "principal": "alice",
                "address": "192.0.2.7",
                "transport": "tls",
                "repository": "/srv/\\xff",
                "key": "K\\n",
                "bytes": 5,
                "result": "done",
                "reason": "",
            },
            first,
        )
        self.assertEqual(
            [
                ("REMOVE", "failed", "the content is locked"),
                ("REMOVE-BEFORE", "done", ""),
                ("PUT", "lost", "the peer went away"),
            ],
            [(line["event"], line["result"], line["reason"]) for line in others],
        )

    def test_reading_is_no_matter(self) -> None:
        self.start()
        for verb in ("GET", "CHECKPRESENT", "LOCKCONTENT", "NOTIFYCHANGE"):
            self.request(verb)
            self.request(verb, "failed")
        self.request("CONNECT", key=b"git-upload-pack")
        Logger(namespace="annexd.app.x", observer=self.publisher).info("x", event="y")
        self.assertEqual([], self.lines())

    def test_refusals(self) -> None:
        self.start()
        self.request("GET", "refused", "no")
        self.request("CONNECT", "refused", "no", key=b"git-receive-pack")
        self.assertEqual(
            [("GET", "K\\n"), ("git-receive-pack", "")], [(e["event"], e["key"]) for e in self.lines()]
        )

    def test_pushes(self) -> None:
        self.start()
        self.request("CONNECT", key=b"git-receive-pack")
        self.assertEqual(["git-receive-pack"], [line["event"] for line in self.lines()])

    def test_events_of_its_own(self) -> None:
        """Whatever the level: the log may have another line about it."""
        self.start()
        self.log.debug("{principal}", event="login", principal="token:x", address="::1", transport="tls")
        self.log.warn("", event="refused", command="ls\n", reason="no")
        first, second = self.lines()
        self.assertEqual(
            ("login", "token:x", "::1", "", 0),
            tuple(first[name] for name in ("event", "principal", "address", "key", "bytes")),
        )
        self.assertNotIn("command", first)
        self.assertEqual("ls\\n", second["command"])

    def test_none_wanted(self) -> None:
        self.path = None
        self.start()
        self.request("PUT")

    def test_not_for_everybody(self) -> None:
        self.addCleanup(os.umask, os.umask(0))
        self.start()
        self.assertEqual(0o640, stat.S_IMODE(os.stat(self.path or "").st_mode))

    def test_appends(self) -> None:
        with open(self.path or "", "w") as file:
            file.write('{"event": "former"}\n')
        self.start()
        self.request("PUT")
        self.assertEqual(["former", "PUT"], [line["event"] for line in self.lines()])

    def test_rotation(self) -> None:
        """With the signal, and without."""
        self.start()
        self.request("PUT")
        former = f"{self.path}.1"
        os.rename(self.path or "", former)
        self.audit.reload()
        self.assertTrue(os.path.exists(self.path or ""))
        self.request("REMOVE")
        os.rename(self.path or "", f"{self.path}.2")
        self.request("PUT")
        self.assertEqual(
            [["PUT"], ["REMOVE"], ["PUT"]],
            [[e["event"] for e in self.lines(path)] for path in (former, f"{self.path}.2", self.path)],
        )

    def test_another_file(self) -> None:
        self.start()
        self.request("PUT")
        former, self.path = self.path, os.path.abspath(self.mktemp())
        self.audit.reload()
        self.request("REMOVE")
        self.assertEqual((1, ["REMOVE"]), (len(self.lines(former)), [e["event"] for e in self.lines()]))
        self.path = None
        self.audit.reload()
        self.request("PUT")

    def test_what_cannot_be_written_is_said_once(self) -> None:
        self.path = os.path.join(os.path.abspath(self.mktemp()), "audit")
        self.start()
        self.request("PUT")
        self.request("PUT")
        problem = f"nothing is written to the audit {self.path}: No such file or directory"
        self.assertEqual([("error", problem)], self.said)
        os.mkdir(os.path.dirname(self.path))
        self.request("REMOVE")
        self.assertEqual(("warn", f"the audit {self.path} is written again, without 2 events"), self.said[-1])
        with mock.patch("os.write", side_effect=OSError(28, "No space left on device")):
            self.request("PUT")
            self.request("PUT")
        self.assertEqual(["error", "warn", "error"], [level for level, _ in self.said])
        self.request("PUT")
        self.assertEqual(["REMOVE", "PUT"], [line["event"] for line in self.lines()])

    def test_half_a_line(self) -> None:
        """What follows is on a line of its own."""
        self.start()
        write = os.write
        with mock.patch("os.write", lambda fd, data: write(fd, data[:10])):
            self.request("PUT")
        self.assertEqual(1, len(self.said))
        self.request("REMOVE")
        with open(self.path or "") as file:
            torn, whole = file
        self.assertEqual((10, "REMOVE"), (len(torn) - 1, json.loads(whole)["event"]))

    def test_a_pipe_that_nobody_reads(self) -> None:
        os.mkfifo(self.path or "")
        self.start()
        self.request("PUT")
        self.assertEqual(["error"], [level for level, _ in self.said])

    def test_no_files_stay_open(self) -> None:
        before = len(os.listdir("/proc/self/fd"))
        self.audit.start()
        for _ in range(3):
            os.unlink(self.path or "")
            self.request("PUT")
        self.successResultOf(Deferred.fromCoroutine(self.audit.stop()))
        self.assertEqual(before, len(os.listdir("/proc/self/fd")))
        self.request("PUT")
        self.assertEqual(1, len(self.lines()))
