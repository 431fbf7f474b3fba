"""The transport over TLS: a real pair of sockets, a reactor turned by hand, a peer in memory."""

from __future__ import annotations

import os
import socket
import ssl
import tempfile
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from annexd.errors import Refused
from annexd.flow.body import FileSink, NoDigest
from annexd.flow.loan import Turn
from annexd.flow.workers import InlineWorkers
from annexd.transports.secured import TlsConnection, secured
from annexd.transports.tls import TlsTransport
from tests.support.hand_reactor import HandReactor
from tests.support.tls_in_memory import OWN, SYSTEM, Peer, client_context, server
from tests.transports.test_pipes import Listener, Producer

BLOB = os.urandom(1 << 20)


class Pair(SynchronousTestCase):
    """``peer`` and what serves it, not yet acquainted."""

    openssl = SYSTEM

    def setUp(self) -> None:
        self.reactor = HandReactor()
        self.near, far = socket.socketpair()
        self.near.setblocking(False)
        self.addCleanup(far.close)
        self.addCleanup(self.near.close)
        self.peer = Peer(far)

    def secure(self, oldest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> Deferred[TlsConnection]:
        return Deferred.fromCoroutine(secured(self.reactor, self.near, server(self.openssl, oldest)))

    def shaken(self, oldest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> TlsConnection:
        done = self.secure(oldest)
        while not (self.peer.shake() and done.called):
            self.reactor.turn()
        return self.successResultOf(done)


class Handshake(Pair):
    def test_done(self) -> None:
        connection = self.shaken()
        self.addCleanup(connection.close)
        self.assertEqual((self.peer.tls.version(), self.reactor.removeAll()), ("TLSv1.3", []))

    def test_byte_by_byte(self) -> None:
        done = self.secure()
        self.peer.flush = lambda: None  # type: ignore[method-assign]
        while not done.called:
            self.peer.shake()
            for byte in self.peer._outgoing.read():
                self.assertFalse(done.called)
                self.peer.socket.send(bytes([byte]))
                self.reactor.turn()
        self.addCleanup(self.successResultOf(done).close)

    def test_nothing_is_made_for_a_peer_that_is_silent(self) -> None:
        self.secure().addErrback(lambda _: None)
        self.reactor.turns()
        self.assertGreaterEqual(self.near.fileno(), 0)  # OpenSSL would have taken the descriptor over
        self.assertEqual(len(self.reactor.getReaders()), 1)

    def test_giving_up(self) -> None:
        """At the beginning, and in the middle: the socket is closed and forgotten."""
        for said in (b"", b"\x16\x03\x01\x02"):
            with self.subTest(said):
                self.setUp()
                done = self.secure()
                self.peer.socket.send(said)
                self.reactor.turns(3)
                done.cancel()
                self.failureResultOf(done)
                self.assertEqual((self.reactor.removeAll(), self.peer.socket.recv(1)), ([], b""))

    def test_why_not(self) -> None:
        """The log is to say what was wrong with the peer."""
        for said, reason in (
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "it sent a plain HTTP request"),
            (b"CONNECT x:1 HTTP/1.1\r\n\r\n", "it sent a request for an HTTP proxy"),
            (b"AUTH x y\n", "it does not speak TLS"),
            (bytes(100), "it does not speak TLS"),
            (b"\x16\x03\x01\x02", "it hung up during the handshake"),
        ):
            with self.subTest(said):
                self.setUp()
                done = self.secure()
                self.peer.socket.send(said)
                self.peer.socket.shutdown(socket.SHUT_WR)
                self.reactor.turns(4)
                self.assertEqual(str(self.failureResultOf(done, Refused).value), reason)

    def test_old_versions(self) -> None:
        context = client_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.peer = Peer(self.peer.socket, context)
        done = self.secure()
        self.peer.shake()
        self.reactor.turns()
        reason = "it speaks no version of TLS that is allowed here"
        self.assertEqual(str(self.failureResultOf(done, Refused).value), reason)
        self.assertRaises(ssl.SSLError, self.peer.shake)

    def test_old_version_allowed(self) -> None:
        context = client_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.peer = Peer(self.peer.socket, context)
        connection = self.shaken(ssl.TLSVersion.TLSv1_2)
        self.addCleanup(connection.close)
        self.assertEqual(self.peer.tls.version(), "TLSv1.2")


class Case(Pair):
    """``transport`` and ``protocol`` on one side, ``peer`` on the other."""

    def setUp(self) -> None:
        super().setUp()
        self.connect()

    def connect(self) -> None:
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            for sock in (self.near, self.peer.socket):
                sock.setsockopt(socket.SOL_SOCKET, option, 64 * 1024)
        connection = self.shaken()
        self.protocol = Listener()
        directlyProvides(self.protocol, IHalfCloseableProtocol)
        self.transport = TlsTransport(self.reactor, connection)
        self.addCleanup(self.reactor.advance, 2)  # whatever lingers goes
        self.addCleanup(self.transport.abortConnection)
        self.transport.connect(self.protocol)  # type: ignore[arg-type]

    def give(self, raw: bytes, step: int = 1 << 16) -> None:
        """So much of the wire at a time."""
        for start in range(0, len(raw), step):
            self.peer.socket.send(raw[start : start + step])
            self.reactor.turn()

    def take_all(self, length: int) -> bytes:
        got = b""
        for _ in range(1000):
            got += self.peer.take()
            if len(got) >= length:
                break
            self.reactor.turn()
        return got


class Reading(Case):
    def test_delivers(self) -> None:
        self.peer.say(b"abc")
        self.reactor.turn()
        self.assertEqual(self.protocol.data, b"abc")

    def test_however_it_is_cut(self) -> None:
        raw = self.peer.said(b"abc") + self.peer.said(b"defg")
        self.give(raw, 1)
        self.assertEqual(self.protocol.data, b"abcdefg")

    def test_many_records(self) -> None:
        self.give(self.peer.said(BLOB), 10_007)
        self.reactor.turns(20)
        self.assertEqual(self.protocol.data, BLOB)

    def test_pausing_leaves_the_bytes_outside(self) -> None:
        self.transport.pauseProducing()
        raw = self.peer.said(BLOB)
        sent = self.peer.socket.send(raw)
        self.reactor.turns()
        self.assertEqual(self.protocol.data, b"")
        self.assertLess(sent, len(raw))
        self.transport.resumeProducing()
        self.reactor.turns()
        self.give(raw[sent:])
        self.reactor.turns(20)
        self.assertEqual(self.protocol.data, BLOB)

    def test_the_end_of_input_leaves_the_output_open(self) -> None:
        self.peer.say(b"abc")
        self.peer.bid_farewell()
        self.reactor.turns()
        self.assertEqual((self.protocol.data, self.protocol.events), (b"abc", ["made", "input over"]))
        self.transport.write(b"late")
        self.transport.loseConnection()
        # A Python peer does not listen any more, but the bytes have gone.
        self.assertGreater(len(self.peer.socket.recv(1000)), 4)
        self.assertEqual(self.protocol.events, ["made", "input over", "lost"])

    def test_an_end_without_farewell(self) -> None:
        self.peer.say(b"abc")
        self.peer.socket.close()
        self.reactor.turns()
        self.assertEqual((self.protocol.data, self.protocol.events), (b"abc", ["made", "lost"]))

    def test_garbage(self) -> None:
        self.peer.say(b"abc")
        self.peer.socket.send(b"these are no records")
        self.reactor.turns()
        self.assertEqual((self.protocol.data, self.protocol.events), (b"abc", ["made", "lost"]))


class Writing(Case):
    def test_at_once(self) -> None:
        self.transport.write(b"abc")
        self.assertEqual(self.peer.take(), b"abc")

    def test_one_record_for_one_write(self) -> None:
        self.transport.write(b"x" * 10_000)
        raw = self.peer.socket.recv(1 << 16)
        self.assertEqual(len(raw), 5 + 10_000 + 1 + 16)

    def test_what_does_not_fit_follows(self) -> None:
        self.transport.write(BLOB)
        self.transport.write(b"!")
        self.assertEqual(self.take_all(len(BLOB) + 1), BLOB + b"!")
        self.reactor.turn()
        self.assertEqual(self.reactor.writers, [])

    def test_small_ones_behind_one_that_waits(self) -> None:
        """What OpenSSL has begun with is given to it again, whatever has come behind it."""
        wanted = BLOB[:100_000]
        for start in range(100_000, 400_000, 777):
            piece = BLOB[start : start + 777]
            self.transport.write(wanted if start == 100_000 else b"")
            self.transport.write(piece)
            wanted += piece
            if start % 3:
                self.reactor.turn()
        self.assertEqual(self.take_all(len(wanted)), wanted)

    def test_a_producer_is_paused_and_resumed(self) -> None:
        producer = Producer()
        self.transport.registerProducer(producer, True)  # type: ignore[arg-type]
        self.transport.write(BLOB)
        self.assertEqual(producer.calls, ["pause"])
        self.take_all(len(BLOB))
        self.reactor.turns(3)
        self.assertEqual(producer.calls, ["pause", "resume"])

    def test_both_directions_at_once(self) -> None:
        raw = self.peer.said(BLOB)
        self.transport.write(BLOB[::-1])
        got = b""
        while len(got) < len(BLOB) or len(self.protocol.data) < len(BLOB):
            try:
                raw = raw[self.peer.socket.send(raw) :]
            except BlockingIOError:
                pass
            self.reactor.turn()
            got += self.peer.take()
        self.assertEqual((got, self.protocol.data), (BLOB[::-1], BLOB))

    def test_a_reader_that_went_away(self) -> None:
        self.peer.socket.close()
        self.transport.write(b"abc")
        self.transport.write(b"abc")
        self.reactor.turn()
        self.assertEqual(self.protocol.events, ["made", "lost"])
        self.transport.write(b"more")


class Ending(Case):
    def test_farewell(self) -> None:
        """The peer is told, and its own word for it is not waited for."""
        self.transport.loseConnection()
        self.assertEqual(self.protocol.events, ["made", "lost"])
        self.assertEqual((self.peer.take(), self.peer.ended), (b"", True))
        self.reactor.turns()
        self.assertEqual(self.peer.socket.recv(1), b"")

    def test_what_was_written_goes_first(self) -> None:
        self.transport.write(BLOB)
        self.transport.loseConnection()
        self.assertEqual(self.protocol.events, ["made"])
        self.assertEqual(self.take_all(len(BLOB)), BLOB)
        self.reactor.turns()
        self.peer.take()
        self.assertEqual((self.peer.ended, self.protocol.events), (True, ["made", "lost"]))

    def test_a_peer_that_takes_nothing(self) -> None:
        self.transport.write(BLOB)
        self.transport.loseConnection()
        self.reactor.turns()
        self.reactor.advance(11)
        self.assertEqual(self.protocol.events, ["made", "lost"])
        self.assertEqual((self.reactor.removeAll(), self.reactor.getDelayedCalls()), ([], []))

    def test_what_the_peer_still_says_does_not_reset_the_connection(self) -> None:
        self.peer.say(b"unread")
        self.transport.write(b"last words")
        self.transport.loseConnection()
        self.reactor.turns()
        self.assertEqual(self.peer.take(), b"last words")

    def test_the_socket_is_closed_in_the_end(self) -> None:
        """When the peer has closed, or a moment later."""
        for closes in (True, False):
            with self.subTest(closes):
                self.setUp()
                self.transport.loseConnection()
                self.reactor.turns()
                self.assertEqual(len(self.reactor.getReaders()), 1)
                if closes:
                    self.peer.socket.close()
                    self.reactor.turns()
                else:
                    self.reactor.advance(1.1)
                self.assertEqual((self.reactor.removeAll(), self.reactor.getDelayedCalls()), ([], []))

    def test_nothing_lingers_when_the_peer_was_first(self) -> None:
        self.peer.bid_farewell()
        self.reactor.turns()
        self.transport.loseConnection()
        self.assertEqual((self.reactor.removeAll(), self.reactor.getDelayedCalls()), ([], []))

    def test_now(self) -> None:
        self.transport.write(BLOB)
        self.transport.abortConnection()
        self.assertEqual(self.protocol.events, ["made", "lost"])
        self.assertEqual((self.reactor.removeAll(), self.reactor.getDelayedCalls()), ([], []))
        self.transport.abortConnection()
        self.transport.loseConnection()


class HandshakeByOwn(Handshake):
    openssl = OWN

    def test_the_fastest_cipher(self) -> None:
        connection = self.shaken()
        self.addCleanup(connection.close)
        self.assertEqual((self.peer.tls.cipher() or ("none",))[0], "TLS_AES_128_GCM_SHA256")


class ReadingByOwn(Reading):
    openssl = OWN


class WritingByOwn(Writing):
    openssl = OWN


class EndingByOwn(Ending):
    openssl = OWN


class Moody:
    """A connection that wants the other thing first, as OpenSSL may at any time."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.moods: list[Exception] = []
        self.fileno = sock.fileno
        self.close = sock.close

    def send(self, data: bytes) -> int:
        self._mood()
        return self.socket.send(data)

    def recv(self, size: int) -> bytes:
        self._mood()
        return self._again(self.socket.recv, size)

    def recv_into(self, buffer: memoryview) -> int:
        self._mood()
        return self._again(self.socket.recv_into, buffer)

    def unwrap(self) -> None:
        self._mood()

    def detach(self) -> int:
        return self.socket.detach()

    def _again(self, act: Any, argument: Any) -> Any:
        try:
            return act(argument)
        except BlockingIOError:
            raise ssl.SSLWantReadError from None

    def _mood(self) -> None:
        if self.moods:
            raise self.moods.pop(0)


class OtherWayRound(SynchronousTestCase):
    """OpenSSL has to read before it can write, or to write before it can read."""

    def setUp(self) -> None:
        self.reactor = HandReactor()
        near, self.peer = socket.socketpair()
        near.setblocking(False)
        self.peer.setblocking(False)
        self.addCleanup(self.peer.close)
        self.connection = Moody(near)
        self.protocol = Listener()
        directlyProvides(self.protocol, IHalfCloseableProtocol)
        self.transport = TlsTransport(self.reactor, self.connection)  # type: ignore[arg-type]
        self.addCleanup(self.reactor.advance, 2)  # whatever lingers goes
        self.addCleanup(self.transport.abortConnection)
        self.transport.connect(self.protocol)  # type: ignore[arg-type]

    def heard(self) -> bytes:
        try:
            return self.peer.recv(1000)
        except BlockingIOError:
            return b""

    def test_writing_waits_to_read(self) -> None:
        self.transport.pauseProducing()
        self.connection.moods = [ssl.SSLWantReadError()]
        self.transport.write(b"abc")
        self.transport.write(b"def")
        self.reactor.turns(2)
        self.assertEqual((self.heard(), self.reactor.writers), (b"", []))
        self.peer.send(b"there")
        self.reactor.turn()
        self.assertEqual((self.heard(), self.reactor.readers), (b"abcdef", []))

    def test_reading_waits_to_write(self) -> None:
        self.connection.moods = [ssl.SSLWantWriteError()]
        self.peer.send(b"abc")
        self.transport.doRead()
        self.assertEqual((self.protocol.data, self.reactor.writers), (b"", [self.transport]))
        self.transport.doWrite()
        self.assertEqual((self.protocol.data, self.reactor.writers), (b"abc", []))

    def test_farewell_waits_to_write(self) -> None:
        self.connection.moods = [ssl.SSLWantWriteError()]
        self.transport.loseConnection()
        self.assertEqual(self.protocol.events, ["made"])
        self.reactor.turn()
        self.assertEqual(self.protocol.events, ["made", "lost"])

    def test_a_borrower_waits_to_write(self) -> None:
        with tempfile.TemporaryFile() as file:
            sink = FileSink(InlineWorkers(), file.fileno(), 0, NoDigest())
            lent = self.transport.lend_input()
            self.addCleanup(lent.give_back)
            self.connection.moods = [ssl.SSLWantWriteError()]
            self.peer.send(b"abc")
            self.assertEqual(lent.receive(sink, 10), (0, Turn.IDLE))
            self.assertTrue(lent.waits_to_write)
            self.assertEqual(lent.receive(sink, 10), (3, Turn.IDLE))
            self.assertFalse(lent.waits_to_write)
            self.fill()
            self.connection.moods = [ssl.SSLWantWriteError()]
            self.assertEqual(lent.receive(sink, 10), (0, Turn.IDLE))
            self.transport.call_when_readable(lambda: self.protocol.events.append("ready"))
            self.peer.send(b"defg")
            self.reactor.turns(2)
            self.assertEqual(self.protocol.events, ["made"])
            self.peer.recv(1 << 20)
            self.reactor.turns(2)
            self.assertEqual(self.protocol.events, ["made", "ready"])
            self.assertEqual(lent.receive(sink, 10), (4, Turn.IDLE))

    def test_a_borrower_waits_to_read(self) -> None:
        with tempfile.TemporaryFile() as file:
            file.write(b"abc")
            file.flush()
            lent = self.transport.lend_output()
            self.addCleanup(lent.give_back)
            self.connection.moods = [ssl.SSLWantReadError()]
            self.assertEqual(lent.send(file.fileno(), 0, 3), (0, Turn.IDLE))
            self.transport.call_when_writable(lambda: self.protocol.events.append("ready"))
            self.reactor.turns(2)
            self.assertEqual(self.protocol.events, ["made"])
            self.peer.send(b"there")
            self.reactor.turn()
            self.assertEqual(self.protocol.events, ["made", "ready"])
            self.assertEqual((lent.send(file.fileno(), 0, 3), self.heard()), ((3, Turn.OVER), b"abc"))

    def fill(self) -> None:
        try:
            while True:
                self.connection.socket.send(bytes(1 << 16))
        except BlockingIOError:
            pass
