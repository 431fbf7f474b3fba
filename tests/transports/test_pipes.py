"""The transport over two descriptors, with real pipes and a reactor turned by hand."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import Refused
from annexd.transports.lookout import Lookout
from annexd.transports.pipes import PipeTransport, check_pollable
from tests.support.hand_reactor import HandReactor


class Producer:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


class Listener:
    """Keeps what a transport tells its protocol."""

    def __init__(self) -> None:
        self.data = b""
        self.events: list[str] = []

    def makeConnection(self, transport: Any) -> None:
        self.events.append("made")

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def readConnectionLost(self) -> None:
        self.events.append("input over")

    def writeConnectionLost(self) -> None:
        self.events.append("output over")

    def connectionLost(self, reason: Any) -> None:
        self.events.append("lost")


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = HandReactor()
        inlet, self.feed = os.pipe()
        self.drain, outlet = os.pipe()
        os.set_blocking(self.drain, False)
        self.own = [self.feed, self.drain]
        self.addCleanup(lambda: [os.close(fd) for fd in self.own])
        self.protocol = self.make_protocol()
        self.transport = self.make_transport(inlet, outlet)
        self.addCleanup(self.transport.abortConnection)
        # IHalfCloseableProtocol is asked for by adaptation
        from twisted.internet.interfaces import IHalfCloseableProtocol
        from zope.interface import directlyProvides

        directlyProvides(self.protocol, IHalfCloseableProtocol)
        self.transport.connect(self.protocol)  # type: ignore[arg-type]

    def make_protocol(self) -> Listener:
        return Listener()

    def make_transport(self, inlet: int, outlet: int) -> PipeTransport:
        return PipeTransport(self.reactor, inlet, outlet)

    def close(self, fd: int) -> None:
        self.own.remove(fd)
        os.close(fd)

    def take(self) -> bytes:
        got = b""
        while True:
            try:
                piece = os.read(self.drain, 1 << 20)
            except BlockingIOError:
                return got
            if not piece:
                return got
            got += piece


class Reading(Case):
    def test_delivers(self) -> None:
        os.write(self.feed, b"abc")
        self.reactor.turn()
        self.assertEqual(self.protocol.data, b"abc")

    def test_pausing_leaves_the_bytes_in_the_pipe(self) -> None:
        self.transport.pauseProducing()
        os.write(self.feed, b"abc")
        self.reactor.turns()
        self.assertEqual(self.protocol.data, b"")
        self.transport.resumeProducing()
        self.reactor.turn()
        self.assertEqual(self.protocol.data, b"abc")

    def test_the_end_of_input_leaves_the_output_open(self) -> None:
        os.write(self.feed, b"abc")
        self.close(self.feed)
        self.reactor.turns()
        self.assertEqual(self.protocol.events, ["made", "input over"])
        self.assertEqual(self.protocol.data, b"abc")
        self.transport.write(b"late")
        self.assertEqual(self.take(), b"late")


class Watcher:
    """A lookout that sees what the test says is to be seen."""

    def __init__(self) -> None:
        self.coming: list[Callable[[], object]] = []
        self.looks = 0

    def begin(self, peer: object) -> None:
        self.looks = 0

    def sees_more(self, fd: int) -> bool:
        self.looks += 1
        if not self.coming:
            return False
        self.coming.pop(0)()
        return True


class Answering(Listener):
    """Says the same as the peer, to a ``.`` nothing; and does what it was told."""

    transport: Any = None

    def makeConnection(self, transport: Any) -> None:
        super().makeConnection(transport)
        self.transport = transport

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        if data == b"pause":
            self.transport.pauseProducing()
        if data != b".":
            self.transport.write(data)
        if data == b"lend":
            self.transport.lend_input().give_back()
        if data == b"end":
            self.transport.loseConnection()


class LookingOut(Case):
    def setUp(self) -> None:
        self.watcher = Watcher()
        super().setUp()

    def make_protocol(self) -> Listener:
        return Answering()

    def make_transport(self, inlet: int, outlet: int) -> PipeTransport:
        return PipeTransport(self.reactor, inlet, outlet, cast(Lookout, self.watcher))

    def come(self, *lines: bytes) -> None:
        """One after the other, as they are looked out for; the first one before."""
        self.watcher.coming = [partial(os.write, self.feed, line) for line in lines[1:]]
        os.write(self.feed, lines[0])
        self.reactor.turn()

    def test_answers_all_that_is_in_sight(self) -> None:
        self.come(b"a", b"b", b"c")
        self.assertEqual(self.take(), b"abc")
        self.assertEqual(self.watcher.looks, 3)

    def test_not_without_an_answer(self) -> None:
        self.come(b".", b"b")
        self.assertEqual((self.protocol.data, self.watcher.looks), (b".", 0))

    def test_a_verdict_that_needs_none(self) -> None:
        self.come(b"a", b".", b"b", b".")
        self.assertEqual(self.protocol.data, b"a.b.")

    def test_two_of_them(self) -> None:
        self.come(b"a", b".", b".", b"b")
        self.assertEqual(self.protocol.data, b"a..")

    def test_not_while_paused(self) -> None:
        self.come(b"pause", b"a")
        self.assertEqual((self.protocol.data, self.watcher.looks), (b"pause", 0))
        self.transport.resumeProducing()
        self.come(b"b")
        self.assertEqual((self.protocol.data, self.watcher.looks), (b"pauseb", 1))

    def test_not_while_lent(self) -> None:
        self.come(b"lend", b"b")
        self.assertEqual(self.watcher.looks, 0)

    def test_not_when_it_is_over(self) -> None:
        self.come(b"end", b"b")
        self.assertEqual((self.take(), self.watcher.looks), (b"end", 0))

    def test_the_end_in_sight(self) -> None:
        self.watcher.coming = [lambda: self.close(self.feed)]
        os.write(self.feed, b"a")
        self.reactor.turns()
        self.assertEqual(self.protocol.events, ["made", "input over"])
        self.assertEqual(self.take(), b"a")


class Writing(Case):
    def test_writes_at_once(self) -> None:
        self.transport.write(b"abc")
        self.assertEqual(self.take(), b"abc")

    def test_what_does_not_fit_follows(self) -> None:
        data = bytes(range(256)) * 2000
        self.transport.write(data)
        self.transport.write(b"!")
        got = self.take()
        while self.reactor.writers:
            self.reactor.turn()
            got += self.take()
        self.assertEqual(got, data + b"!")

    def test_a_producer_is_paused_and_resumed(self) -> None:
        producer = Producer()
        self.transport.registerProducer(producer, True)  # type: ignore[arg-type]
        self.transport.write(bytes(500_000))
        self.transport.write(bytes(500_000))
        self.assertEqual(producer.calls, ["pause"])
        while self.reactor.writers:
            self.take()
            self.reactor.turn()
        self.assertEqual(producer.calls, ["pause", "resume"])

    def test_a_reader_that_went_away_ends_the_connection(self) -> None:
        self.close(self.drain)
        self.transport.write(b"abc")
        self.reactor.turn()
        self.assertEqual(self.protocol.events, ["made", "lost"])
        self.transport.write(b"more")

    def test_closing_waits_for_what_was_written(self) -> None:
        self.transport.write(bytes(300_000))
        self.transport.loseConnection()
        self.assertEqual(self.protocol.events, ["made"])
        got = self.take()
        while self.reactor.writers:
            self.reactor.turn()
            got += self.take()
        self.assertEqual(len(got), 300_000)
        self.assertEqual(self.protocol.events, ["made", "lost"])

    def test_closing_closes_both_descriptors(self) -> None:
        before = len(os.listdir("/proc/self/fd"))
        self.transport.loseConnection()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before - 2)
        self.assertEqual(self.reactor.getReaders(), [])


class Lending(Case):
    def test_the_borrower_reads_and_is_called_when_there_is_something(self) -> None:
        lent = self.transport.lend_input()
        self.addCleanup(lent.give_back)
        calls: list[str] = []
        self.transport.call_when_readable(lambda: calls.append("readable"))
        self.reactor.turns()
        self.assertEqual(calls, [])
        os.write(self.feed, b"abc")
        self.reactor.turns()
        self.assertEqual((calls, self.protocol.data), (["readable"], b""))
        self.assertEqual(os.read(lent.fd, 10), b"abc")

    def test_the_end_is_told_when_the_input_is_given_back(self) -> None:
        lent = self.transport.lend_input()
        self.addCleanup(lent.give_back)
        calls: list[str] = []
        self.transport.call_when_readable(lambda: calls.append("readable"))
        self.close(self.feed)
        self.reactor.turns()
        self.assertEqual(calls, ["readable"])
        self.assertEqual(self.protocol.events, ["made"])
        self.transport.resumeProducing()
        self.reactor.turns()
        self.assertEqual(self.protocol.events, ["made", "input over"])

    def test_writable_comes_behind_what_was_written(self) -> None:
        self.transport.write(bytes(200_000))
        calls: list[str] = []
        self.transport.call_when_writable(lambda: calls.append("writable"))
        self.reactor.turns()
        self.assertEqual(calls, [])
        got = 0
        while not calls:
            got += len(self.take())
            self.reactor.turn()
        self.assertEqual(got + len(self.take()), 200_000)

    def test_losing_the_connection_wakes_the_borrower(self) -> None:
        self.transport.pauseProducing()
        calls: list[str] = []
        self.transport.call_when_readable(lambda: calls.append("readable"))
        self.transport.abortConnection()
        self.assertEqual(calls, ["readable"])


class Pollable(SynchronousTestCase):
    def test_files_are_refused(self) -> None:
        with open(__file__, "rb") as file:
            self.assertRaises(Refused, check_pollable, file.fileno())
        with open("/dev/null", "rb") as file:
            self.assertRaises(Refused, check_pollable, file.fileno())

    def test_pipes_and_sockets_are_fine(self) -> None:
        ends = socket.socketpair()
        check_pollable(ends[0].fileno())
        for end in ends:
            end.close()
