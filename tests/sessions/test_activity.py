"""What a session says of itself."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from annexd.sessions.activity import Activity


class Requests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.activity = Activity(self.clock, 1, "alice", b"/srv/x")

    def put(self) -> None:
        self.activity.begin("PUT", b"K", 100)
        self.clock.advance(2)
        self.activity.moved(30)
        self.activity.moved(20)

    def test_rate(self) -> None:
        self.put()
        self.assertEqual((50, 25.0), (self.activity.moved_bytes, self.activity.rate()))

    def test_nothing_moves_between_requests(self) -> None:
        self.put()
        self.activity.end("done")
        self.assertEqual(("", b"", None, 0.0), self.state())

    def state(self) -> tuple[str, bytes, int | None, float]:
        return (self.activity.verb, self.activity.key, self.activity.total, self.activity.rate())

    def logged(self, *what: Any) -> list[dict[str, Any]]:
        with capturedLogs() as events:
            for do, *args in what:
                do(*args)
        return [dict(event) for event in events]

    def test_one_event_for_each(self) -> None:
        [event] = self.logged((self.put,), (self.activity.end, "refused", "no room"))
        wanted = {
            "log_level": LogLevel.warn,
            "session": 1,
            "principal": "alice",
            "repository": b"/srv/x",
            "verb": "PUT",
            "key": b"K",
            "bytes": 50,
            "duration": 2.0,
            "result": "refused",
            "reason": "no room",
        }
        self.assertEqual(wanted, {name: event[name] for name in wanted})
        self.assertEqual(1, self.activity.requests)

    def test_an_end_without_a_beginning(self) -> None:
        self.assertEqual([], self.logged((self.activity.end, "done")))

    def test_a_beginning_without_an_end(self) -> None:
        first, second = self.logged((self.put,), (self.put,), (self.activity.end, "done"))
        self.assertEqual(("lost", "done"), (first["result"], second["result"]))
