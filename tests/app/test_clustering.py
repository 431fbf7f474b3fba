"""`annexd cluster ...` and `annexd route ...` as typed, up to the daemon."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from typing import Any

from annexd.app import clustering
from tests.app.test_cli import Typed

PROGRESS: dict[str, Any] = {
    "state": "running",
    "trouble": "",
    "dry_run": False,
    "keys": 5,
    "lacking": 1,
    "copies": 1,
    "bytes": 9,
    "seconds": 1.0,
    "nodes": [{"name": "n1", "copies": 1, "bytes": 9}],
    "failures": 0,
    "reasons": [],
    "examples": [],
}
DONE = {**PROGRESS, "state": "done"}


class Daemon(Typed):
    """``answers`` are given, one after the other; ``asked`` is what they were given for."""

    def serve(self, *answers: dict[str, Any]) -> list[list[bytes]]:
        asked: list[list[bytes]] = []
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self.socket)
        listening.listen()

        def answer_all() -> None:
            with listening:
                for answer in answers:
                    connection, _ = listening.accept()
                    with connection:
                        (length,) = struct.unpack(">I", connection.recv(4))
                        asked.append(connection.recv(length).split(b"\0"))
                        connection.sendall(json.dumps(answer).encode())

        thread = threading.Thread(target=answer_all)
        thread.start()
        self.addCleanup(thread.join, 10)
        return asked

    def run_to(self, *words: str) -> int:
        self.patch(clustering, "_PAUSE_S", 0.0)
        return self.run_annexd(*words, "--socket", self.socket)


class Commands(Daemon):
    def test_status(self) -> None:
        asked = self.serve({"gateways": []})
        self.assertEqual(self.run_to("cluster", "status", "here", "--cluster", "c", "--count"), 0)
        path = os.fsencode(os.path.abspath("here"))
        self.assertEqual(asked, [[b"cluster status", b"repository=" + path, b"cluster=c", b"count="]])
        self.assertEqual(self.out.getvalue(), "no gateway is served\n")

    def test_status_of_all_as_json(self) -> None:
        asked = self.serve({"gateways": []})
        self.assertEqual(self.run_to("cluster", "status", "--json"), 0)
        self.assertEqual(asked, [[b"cluster status"]])
        self.assertEqual(json.loads(self.out.getvalue()), {"gateways": []})

    def test_update(self) -> None:
        self.serve({"changes": [], "warnings": ["n1 is odd"]})
        self.assertEqual(self.run_to("cluster", "update", "/g"), 0)
        self.assertEqual(self.out.getvalue(), "nothing to do\n")
        self.assertEqual(self.err.getvalue(), "annexd: warning: n1 is odd\n")

    def test_an_error(self) -> None:
        self.serve({"error": "it is no gateway"})
        self.assertEqual(self.run_to("route", "explain", "/g", "K"), 1)
        self.assertEqual(self.err.getvalue(), "annexd: it is no gateway\n")


class Repairing(Daemon):
    def test_until_its_end(self) -> None:
        asked = self.serve(PROGRESS, PROGRESS, DONE)
        self.assertEqual(self.run_to("cluster", "repair", "/g", "--jobs", "3", "--ask"), 0)
        self.assertEqual(asked[0], [b"cluster repair", b"repository=/g", b"jobs=3", b"ask-all=", b"do=start"])
        self.assertEqual([one[-1] for one in asked], [b"do=start", b"do=look", b"do=look"])
        self.assertIn("n1 got 1 keys", self.out.getvalue())

    def test_failures_are_an_exit_code(self) -> None:
        self.serve({**DONE, "failures": 1, "reasons": [{"reason": "n2: down", "count": 1}]})
        self.assertEqual(self.run_to("cluster", "repair", "/g"), 1)

    def test_one_that_is_under_way_already(self) -> None:
        self.serve({**PROGRESS, "joined": True}, DONE)
        self.assertEqual(self.run_to("cluster", "repair", "/g"), 0)
        self.assertIn("under way already", self.err.getvalue())

    def test_interrupted(self) -> None:
        def interrupt(seconds: float) -> None:
            raise KeyboardInterrupt

        self.serve(PROGRESS)
        self.patch(clustering.time, "sleep", interrupt)
        self.assertEqual(self.run_to("cluster", "repair", "/g"), 130)
        self.assertIn("goes on in the daemon; --stop ends it", self.err.getvalue())

    def test_stopped(self) -> None:
        asked = self.serve({**PROGRESS, "state": "stopped"})
        self.assertEqual(self.run_to("cluster", "repair", "/g", "--stop", "--json"), 0)
        self.assertEqual(asked[0][-1], b"do=stop")
        self.assertEqual(json.loads(self.out.getvalue())["state"], "stopped")

    def test_too_many_jobs(self) -> None:
        for jobs in ("0", "65", "x", "-1"):
            self.assertEqual(self.run_to("cluster", "repair", "/g", "--jobs", jobs), 2, jobs)
