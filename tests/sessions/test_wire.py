"""What a wire does that no dialogue shows."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import PeerLost
from annexd.protocol.messages import Error
from annexd.sessions.deadlines import Deadlines
from annexd.sessions.wire import Wire
from tests.support.duplex import Script, duplex


class Ticking(Clock):
    """Whoever looks at it has needed some time."""

    def seconds(self) -> float:
        self.rightNow += 0.0001
        return self.rightNow  # type: ignore[no-any-return]


class Turns(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Ticking()
        self.wire = Wire(self.clock, Deadlines())
        self.peer = Script()
        duplex(self.peer, self.wire)
        self.heard = 0
        self.listening = Deferred.fromCoroutine(self.listen())

    async def listen(self) -> None:
        while True:
            await self.wire.receive()
            self.heard += 1

    def test_who_says_much_at_once_lets_others_have_a_word(self) -> None:
        self.peer.say(b"GETTIMESTAMP\n" * 1000)
        self.assertTrue(0 < self.heard < 100, self.heard)
        self.clock.advance(1)
        self.assertEqual(1000, self.heard)
        self.failed()

    def test_who_says_little_is_heard_at_once(self) -> None:
        for count in range(1, 200):
            self.peer.say(b"GETTIMESTAMP\n")
            self.assertEqual(count, self.heard)
        self.failed()

    def test_who_goes_away_meanwhile(self) -> None:
        self.peer.say(b"GETTIMESTAMP\n" * 1000)
        self.listening.cancel()
        self.failureResultOf(self.listening, CancelledError)
        self.wire.abort(PeerLost("gone"))
        self.assertEqual([], self.clock.getDelayedCalls())

    def failed(self) -> None:
        self.wire.abort(PeerLost("gone"))
        self.failureResultOf(self.listening, PeerLost)
        self.assertEqual([], self.clock.getDelayedCalls())


class HangingUp(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.peer = Script()
        self.wire = Wire(self.clock, Deadlines(stall=10))
        _, self.end = duplex(self.peer, self.wire, 1000)

    def test_at_once(self) -> None:
        self.wire.send(Error(b"x"))
        self.wire.hang_up()
        self.assertEqual((b"ERROR x\n", True), (self.peer.hear(), self.end.closed))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_when_the_peer_has_heard_all(self) -> None:
        self.peer.transport.pauseProducing()
        self.wire.send(Error(b"x" * 4000))
        self.wire.hang_up()
        self.clock.advance(9)
        self.assertFalse(self.end.closed)
        self.peer.transport.resumeProducing()
        self.assertEqual((4007, True), (len(self.peer.hear()), self.end.closed))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_not_for_ever(self) -> None:
        self.peer.transport.pauseProducing()
        self.wire.send(Error(b"x" * 4000))
        self.wire.hang_up()
        self.clock.advance(11)
        self.assertTrue(self.end.closed)
        self.assertTrue(self.wire.lost)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_twice(self) -> None:
        self.peer.transport.pauseProducing()
        self.wire.send(Error(b"x" * 4000))
        self.wire.hang_up()
        self.wire.hang_up()
        self.clock.advance(11)
        self.assertTrue(self.end.closed)
        self.assertEqual([], self.clock.getDelayedCalls())
