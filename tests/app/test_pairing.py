"""An invitation's way through a wormhole, with a pretended one."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from wormhole.errors import LonelyError, WrongPasswordError

from annexd.app.pairing import deliver
from annexd.errors import Refused, Unavailable


class Hole:
    """As much of a wormhole as is used."""

    def __init__(self) -> None:
        self.code: Deferred[str] = Deferred()
        self.verifier: Deferred[bytes] = Deferred()
        self.messages: list[Deferred[bytes]] = [Deferred() for _ in range(3)]
        self.sent: list[Any] = []
        self.closing: Deferred[None] = Deferred()
        self.closed = False
        self._taken = iter(self.messages)

    def allocate_code(self) -> None:
        self.sent.append("allocate")

    def get_code(self) -> Deferred[str]:
        return self.code

    def get_verifier(self) -> Deferred[bytes]:
        return self.verifier

    def send_message(self, message: bytes) -> None:
        self.sent.append(json.loads(message))

    def get_message(self) -> Deferred[bytes]:
        return next(self._taken)

    def close(self) -> Deferred[None]:
        self.closed = True
        return self.closing


class Pairing(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.hole = Hole()
        self.shown: list[str] = []
        self.made = 0
        self.done = Deferred.fromCoroutine(
            deliver(self.clock, self.hole, self.invitation, 600, self.shown.append)
        )

    def invitation(self) -> str:
        self.made += 1
        return "the line"

    def until_sent(self) -> None:
        self.hole.code.callback("7-foo-bar")
        self.hole.verifier.callback(b"v")

    def problem(self, kind: type[Exception]) -> str:
        self.assertTrue(self.hole.closed)
        self.assertNoResult(self.done)
        self.hole.closing.callback(None)
        self.assertEqual([], self.clock.getDelayedCalls())
        return str(self.failureResultOf(self.done, kind).value)

    def test_all_goes_well(self) -> None:
        self.hole.code.callback("7-foo-bar")
        self.assertEqual((["7-foo-bar"], 0), (self.shown, self.made), "made for whom has the code")
        self.hole.verifier.callback(b"v")
        self.assertEqual(["allocate", {"offer": {"message": "the line"}}], self.hole.sent)
        self.hole.messages[0].callback(b'{"transit": {}}')
        self.hole.messages[1].callback(b'{"answer": {"message_ack": "ok"}}')
        self.hole.closing.callback(None)
        self.successResultOf(self.done)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_nobody_comes(self) -> None:
        self.hole.code.callback("7-foo-bar")
        self.clock.advance(600)
        self.assertEqual("nobody took the invitation within 600 seconds", self.problem(Unavailable))
        self.assertEqual(0, self.made)

    def test_no_mailbox_server(self) -> None:
        self.clock.advance(600)
        self.assertIn("nobody", self.problem(Unavailable))

    def test_another_code(self) -> None:
        self.hole.code.callback("7-foo-bar")
        self.hole.verifier.errback(WrongPasswordError())
        self.assertIn("somebody typed another code", self.problem(Refused))
        self.assertEqual(0, self.made)

    def test_others_problems(self) -> None:
        self.hole.code.errback(LonelyError())
        self.assertTrue(self.problem(Unavailable).startswith("magic-wormhole: "))

    def test_the_other_side_does_not_want_it(self) -> None:
        self.until_sent()
        self.hole.messages[0].callback(b'{"error": "I wanted a file"}')
        self.assertEqual("the other side did not take it: I wanted a file", self.problem(Refused))

    def test_the_other_side_talks_nonsense(self) -> None:
        self.until_sent()
        self.hole.messages[0].callback(b"[1]")
        self.assertIn("something else", self.problem(Refused))

    def test_no_answer(self) -> None:
        self.until_sent()
        self.clock.advance(60)
        self.problem(Unavailable)

    def test_a_wormhole_that_does_not_close(self) -> None:
        self.until_sent()
        self.hole.messages[0].callback(b'{"answer": {"message_ack": "ok"}}')
        self.assertNoResult(self.done)
        self.clock.advance(5)
        self.successResultOf(self.done)
