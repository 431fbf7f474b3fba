"""Log events as lines."""

from __future__ import annotations

import io
import json
import os
import tempfile
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.logs import Lines, Printer, clean, printer
from annexd.sessions.activity import Activity

EVENT = {
    "log_time": 0.5,
    "log_level": LogLevel.info,
    "log_namespace": "annexd.x",
    "log_format": "{a} and {b}",
}


class Texts(SynchronousTestCase):
    def test_control_characters_are_spelled_out(self) -> None:
        self.assertEqual("a\\x1b[31m\\n\\r\\x00\\u202e", clean("a\x1b[31m\n\r\0\u202e"))

    def test_bytes(self) -> None:
        self.assertEqual("caf\u00e9 \\xff", clean("caf\u00e9 ".encode() + b"\xff"))


class Formats(SynchronousTestCase):
    def event(self, **fields: Any) -> dict[str, Any]:
        return {**EVENT, "a": "x\ny", "b": 1, **fields}

    def test_human(self) -> None:
        self.assertEqual("1970-01-01T00:00:00.500000Z info  x\\ny and 1\n", Lines("human").line(self.event()))

    def test_journal(self) -> None:
        self.assertEqual("<6>x\\ny and 1\n", Lines("human", journal=True).line(self.event()))

    def test_traceback(self) -> None:
        event = self.event(log_failure=Failure(ValueError("bad\x1b")), log_level=LogLevel.critical)
        lines = Lines("human", journal=True).line(event).splitlines()
        self.assertGreater(len(lines), 1)
        self.assertTrue(all(line.startswith("<2>") for line in lines))
        self.assertIn("bad\\x1b", lines[-1])
        self.assertIn("ValueError", json.loads(Lines("json").line(event))["traceback"])

    def test_json(self) -> None:
        self.assertEqual(
            {
                "time": "1970-01-01T00:00:00.500000Z",
                "level": "info",
                "event": "annexd.x",
                "text": "x\\ny and 1",
            },
            json.loads(Lines("json").line(self.event())),
        )


class Requests(SynchronousTestCase):
    """The one event of each request."""

    def line(self, name: str, key: bytes = b"K\xff", reason: str = "") -> str:
        output = io.StringIO()
        observer = printer(name, "info", {}, output)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        clock = Clock()
        activity = Activity(clock, 3, "ali\nce", b"/srv/x")
        activity.begin("PUT", key, 10)
        activity.moved(7)
        clock.advance(2)
        activity.end("failed" if reason else "done", reason)
        return output.getvalue()

    def test_human(self) -> None:
        line = self.line("human")
        self.assertEqual("info  #3 ali\\nce PUT K\\xff in /srv/x: done, 7 bytes in 2.000 s\n", line[28:])

    def test_human_with_a_reason(self) -> None:
        self.assertTrue(
            self.line("human", reason="disk\nfull").endswith("failed, 7 bytes in 2.000 s: disk\\nfull\n")
        )

    def test_json(self) -> None:
        document = json.loads(self.line("json"))
        del document["time"]
        self.assertEqual(
            {
                "level": "info",
                "event": "request",
                "session": 3,
                "principal": "ali\\nce",
                "repository": "/srv/x",
                "transport": "ssh",
                "address": "",
                "verb": "PUT",
                "key": "K\\xff",
                "bytes": 7,
                "duration": 2.0,
                "result": "done",
                "reason": "",
            },
            document,
        )

    def test_one_line_each(self) -> None:
        self.assertEqual(1, self.line("json").count("\n"))


class Levels(SynchronousTestCase):
    def printed(self, level: str, namespace: str) -> list[str]:
        output = io.StringIO()
        log = Logger(namespace=namespace, observer=Printer(output, "human", level, journal=True))
        log.debug("d")
        log.info("i")
        log.warn("w")
        log.error("e")
        return [line[3] for line in output.getvalue().splitlines()]

    def test_own(self) -> None:
        self.assertEqual(list("diwe"), self.printed("debug", "annexd.x"))
        self.assertEqual(list("iwe"), self.printed("info", "annexd.x"))
        self.assertEqual(list("e"), self.printed("error", "annexd.x"))

    def test_libraries_are_quieter(self) -> None:
        self.assertEqual(list("we"), self.printed("info", "twisted.x"))
        self.assertEqual(list("diwe"), self.printed("debug", "twisted.x"))

    def test_the_journal_is_known_by_its_inode(self) -> None:
        with tempfile.TemporaryFile("w+") as output:
            status = os.fstat(output.fileno())
            for stream, first in ((f"{status.st_dev}:{status.st_ino}", "<6>"), ("1:2", "20")):
                output.seek(0)
                Logger(
                    namespace="annexd", observer=printer("human", "info", {"JOURNAL_STREAM": stream}, output)
                ).info("x")
                output.seek(0)
                self.assertTrue(output.read().startswith(first))

    def test_a_reader_that_left_is_no_matter(self) -> None:
        class Broken(io.StringIO):
            def write(self, text: str) -> int:
                raise BrokenPipeError

        Logger(namespace="annexd", observer=Printer(Broken(), "json")).info("x")
