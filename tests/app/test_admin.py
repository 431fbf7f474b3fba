"""The registry of sessions, and what the daemon answers about itself."""

from __future__ import annotations

import json
import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from annexd import __version__
from annexd.app.admin import Control, Fields, Sessions
from annexd.errors import ConfigError, Refused, Unavailable


class Registry(SynchronousTestCase):
    def setUp(self) -> None:
        self.sessions = Sessions(Clock(), most=2)

    def test_comes_and_goes(self) -> None:
        first = self.sessions.open("alice", b"/srv/x", "ssh")
        second = self.sessions.open("bob", b"/srv/x", "ssh")
        self.assertEqual([first, second], list(self.sessions))
        self.sessions.close(first)
        self.sessions.close(first)
        self.assertEqual([second], list(self.sessions))
        self.assertNotEqual(first.id, second.id)

    def test_too_many(self) -> None:
        first = self.sessions.open("alice", b"/srv/x", "ssh")
        self.sessions.open("alice", b"/srv/x", "ssh")
        error = self.assertRaises(Unavailable, self.sessions.open, "alice", b"/srv/x", "ssh")
        self.assertIn("2 sessions already", str(error))
        self.sessions.close(first)
        self.sessions.open("alice", b"/srv/x", "ssh")

    def test_a_request_ends_with_its_session(self) -> None:
        activity = self.sessions.open("alice", b"/srv/x", "ssh")
        activity.begin("PUT", b"K")
        with capturedLogs() as events:
            self.sessions.close(activity, "the peer vanished")
        lost = [event for event in events if event.get("result") == "lost"]
        self.assertEqual(["the peer vanished"], [event["reason"] for event in lost])

    def test_stopping_a_principal(self) -> None:
        sessions = Sessions(Clock(), most=9)
        stopped: list[tuple[str, str]] = []
        for name, principal, repository in (
            ("a", "token:x", b"/srv/x"),
            ("b", "token:x", b"/srv/y"),
            ("c", "token:y", b"/srv/x"),
        ):
            sessions.open(
                principal, repository, "tls", lambda reason, name=name: stopped.append((name, reason))
            )
        sessions.open("token:x", b"/srv/x", "tls")
        self.assertEqual(
            {("token:x", b"/srv/x", None), ("token:x", b"/srv/y", None), ("token:y", b"/srv/x", None)},
            sessions.visits(),
        )
        self.assertEqual(1, sessions.stop("token:x", "revoked", b"/srv/x"))
        self.assertEqual([("a", "revoked")], stopped)
        self.assertEqual(2, sessions.stop("token:x", "gone"))
        self.assertEqual(0, sessions.stop("token:z", "gone"))


class Answers(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.sessions = Sessions(self.clock, most=10)
        self.reload_error = ""
        self.checks = 0
        self.control = Control(
            self.clock,
            self.sessions,
            lambda: ["unix:/run/annexd/annexd.sock"],
            lambda: {b"/srv/y\x1b": 0, b"/srv/x": 2},
            self.reload,
            self.check_tokens,
            lambda: {"state": "/var/lib/annexd", "config": None},
            {b"more than that": self.more, b"something refused": self.refuse},
            lambda: [{"name": "n1", "health": "down"}],
        )

    async def more(self, fields: Fields) -> dict[str, Any]:
        return {"asked": "more", **fields}

    async def refuse(self, fields: Fields) -> dict[str, Any]:
        raise Refused("not now")

    def reload(self) -> str:
        if self.reload_error:
            raise ConfigError(self.reload_error)
        return "/etc/annexd.toml"

    async def check_tokens(self) -> None:
        self.checks += 1

    def ask(self, kind: bytes, **fields: bytes) -> dict[str, object]:
        named = {name.encode(): value for name, value in fields.items()}
        answer = self.successResultOf(Deferred.fromCoroutine(self.control.answer(kind, named)))
        self.assertTrue(answer.endswith(b"}\n"))
        document: dict[str, object] = json.loads(answer)
        return document

    def test_status(self) -> None:
        self.clock.advance(5)
        activity = self.sessions.open("al\x1bice", b"/srv/x", "ssh")
        activity.begin("PUT", b"K\n", 100)
        activity.moved(60)
        self.clock.advance(2)
        self.assertEqual(
            {
                "version": __version__,
                "pid": os.getpid(),
                "uptime": 7.0,
                "listeners": ["unix:/run/annexd/annexd.sock"],
                "repositories": [{"path": "/srv/x", "uses": 2}, {"path": "/srv/y\\x1b", "uses": 0}],
                "sessions": [
                    {
                        "id": 1,
                        "principal": "al\\x1bice",
                        "repository": "/srv/x",
                        "transport": "ssh",
                        "since": 2.0,
                        "requests": 0,
                        "verb": "PUT",
                        "key": "K\\n",
                        "bytes": 60,
                        "total": 100,
                        "seconds": 2.0,
                        "rate": 30,
                    }
                ],
                "nodes": [{"name": "n1", "health": "down"}],
            },
            self.ask(b"status"),
        )

    def test_what_else_can_be_asked(self) -> None:
        self.assertEqual({"asked": "more"}, self.ask(b"more than that"))
        self.assertEqual({"error": "not now"}, self.ask(b"something refused"))

    def test_reload(self) -> None:
        self.assertEqual({"reloaded": "/etc/annexd.toml"}, self.ask(b"reload"))

    def test_reload_that_fails(self) -> None:
        self.reload_error = "f:3: wrong"
        self.assertEqual({"error": "f:3: wrong"}, self.ask(b"reload"))

    def test_tokens(self) -> None:
        self.ask(b"tokens")
        self.assertEqual(1, self.checks)

    def test_where(self) -> None:
        self.assertEqual({"state": "/var/lib/annexd", "config": None}, self.ask(b"where"))

    def test_unknown(self) -> None:
        self.assertIn("does not know the request dance", str(self.ask(b"dance")["error"]))
