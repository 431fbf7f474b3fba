"""What a wire does that no dialogue shows."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from annexd.protocol.messages import Error
from annexd.sessions.deadlines import Deadlines
from annexd.sessions.wire import Wire
from tests.support.duplex import Script, duplex


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
