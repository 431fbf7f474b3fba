"""The transport over two descriptors, with real pipes and a reactor turned by hand."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import Refused
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
        self.protocol = Listener()
        self.transport = PipeTransport(self.reactor, inlet, outlet)
        self.addCleanup(self.transport.abortConnection)
        # IHalfCloseableProtocol is asked for by adaptation
        from twisted.internet.interfaces import IHalfCloseableProtocol
        from zope.interface import directlyProvides

        directlyProvides(self.protocol, IHalfCloseableProtocol)
        self.transport.connect(self.protocol)  # type: ignore[arg-type]

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
