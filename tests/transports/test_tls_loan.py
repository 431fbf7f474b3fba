"""Bodies over TLS, moved by whoever has the connection on loan."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import ssl
import tempfile
from types import SimpleNamespace

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import PeerLost, Refused, Stalled
from annexd.flow import loan
from annexd.flow.body import FileSink, FileSource, NoDigest
from annexd.flow.loan import Turn
from annexd.flow.pour import pour
from annexd.flow.workers import InlineWorkers
from annexd.sessions.deadlines import Deadlines
from annexd.sessions.wire import Wire
from annexd.transports.secured import secured
from annexd.transports.tls import TlsTransport
from annexd.transports.tls_loan import TlsLoan
from tests.support.hand_reactor import HandReactor
from tests.support.tls_in_memory import OWN, SYSTEM, Peer, server

BLOB = os.urandom(600_000)


class Case(SynchronousTestCase):
    """``wire`` on one side, ``peer`` on the other; bodies move while the reactor is turned."""

    openssl = SYSTEM

    def setUp(self) -> None:
        self.reactor = HandReactor()
        self.workers = InlineWorkers()
        self.moved = 0
        near, far = socket.socketpair()
        near.setblocking(False)
        self.addCleanup(far.close)
        self.peer = Peer(far)
        done = Deferred.fromCoroutine(secured(self.reactor, near, server(self.openssl)))
        while not (self.peer.shake() and done.called):
            self.reactor.turn()
        self.connection = self.successResultOf(done)
        self.addCleanup(self.connection.close)
        self.wire = Wire(self.reactor, Deadlines(stall=10))
        self.transport = TlsTransport(self.reactor, self.connection)
        self.transport.connect(self.wire)
        self.addCleanup(self.reactor.advance, 2)  # whatever lingers goes
        self.addCleanup(self.transport.abortConnection)

    def count(self, count: int) -> None:
        self.moved += count

    def file(self, content: bytes = b"") -> int:
        handle = tempfile.TemporaryFile()
        self.addCleanup(handle.close)
        handle.write(content)
        handle.flush()
        return handle.fileno()

    def start(self, source: object, sink: object) -> Deferred[None]:
        done = Deferred.fromCoroutine(pour(source, sink, self.count))  # type: ignore[arg-type]
        self.addCleanup(done.addErrback, lambda _: None)
        return done

    def receive(self) -> tuple[Deferred[None], int, FileSink]:
        fd = self.file()
        sink = FileSink(self.workers, fd, 0, hashlib.sha256())
        return self.start(self.wire.body(len(BLOB)), sink), fd, sink

    def give(self, raw: bytes) -> bytes:
        try:
            return raw[self.peer.socket.send(raw[:300_001]) :]
        except BlockingIOError:
            return raw


class In(Case):
    def test_into_a_file(self) -> None:
        self.peer.say(BLOB[:1000])
        self.reactor.turn()
        done, fd, sink = self.receive()
        raw = self.peer.said(BLOB[1000:] + b"CHECK")
        while raw:
            raw = self.give(raw)
            self.reactor.turn()
        self.reactor.turns(3)
        self.successResultOf(done)
        self.assertEqual(os.pread(fd, 1 << 30, 0), BLOB)
        self.assertEqual((self.moved, sink.digest.digest()), (len(BLOB), hashlib.sha256(BLOB).digest()))  # type: ignore[attr-defined]
        # what follows the body is read by the wire again
        follow = Deferred.fromCoroutine(self.wire.read(5))
        self.reactor.turns()
        self.assertEqual(self.successResultOf(follow), b"CHECK")

    def test_drop_by_drop(self) -> None:
        """Records come in pieces, and the borrower goes on where it was."""
        done, fd, _ = self.receive()
        raw = self.peer.said(BLOB[:40_000])
        for start in range(0, len(raw), 9_973):
            self.peer.socket.send(raw[start : start + 9_973])
            self.reactor.turn()
        self.assertEqual(os.pread(fd, 1 << 30, 0), BLOB[:40_000])
        self.assertNoResult(done)
        self.wire.abort(PeerLost("enough"))
        self.failureResultOf(done, PeerLost)

    def test_the_input_ends_half_way(self) -> None:
        for farewell in (True, False):
            with self.subTest(farewell):
                done, fd, _ = self.receive()
                self.peer.say(bytes(5000))
                self.reactor.turns(2)
                self.peer.bid_farewell() if farewell else self.peer.socket.close()
                self.reactor.turns(3)
                self.failureResultOf(done, PeerLost)
                self.assertEqual(os.pread(fd, 1 << 30, 0), bytes(5000))
                after = Deferred.fromCoroutine(self.wire.receive())
                self.reactor.turns()
                self.failureResultOf(after, PeerLost)
                self.setUp()

    def test_a_silent_sender_is_given_up(self) -> None:
        done, _, _ = self.receive()
        self.reactor.turns(3)
        self.reactor.advance(11)
        self.failureResultOf(done, Stalled)

    def test_what_is_written_goes_while_the_borrower_waits(self) -> None:
        done, _, _ = self.receive()
        self.wire._put(b"meanwhile\n")
        self.wire._put(BLOB[:400_000])
        got = b""
        while len(got) < 400_000:
            got += self.peer.take()
            self.reactor.turn()
        self.assertEqual(got, b"meanwhile\n" + BLOB[:400_000])
        self.assertNoResult(done)

    def test_the_end_of_a_record_behind_the_body(self) -> None:
        """Nothing more comes from the socket: OpenSSL has it."""
        done, _, _ = self.receive()
        raw = self.peer.said(BLOB + b"GET 0  x\n")
        while raw:
            raw = self.give(raw)
            self.reactor.turn()
        self.reactor.turns(3)
        self.successResultOf(done)
        follow = Deferred.fromCoroutine(self.wire.read(100))
        self.reactor.turns()
        self.assertEqual(self.successResultOf(follow), b"GET 0  x\n")


class Out(Case):
    def take_until(self, done: Deferred[None]) -> bytes:
        got = b""
        for _ in range(2000):
            got += self.peer.take()
            if done.called and not self.transport._output:
                break
            self.reactor.turn()
        return got + self.peer.take()

    def test_out_of_a_file(self) -> None:
        source = FileSource(self.workers, self.file(BLOB), 7, len(BLOB) - 7, BLOB[7:1000])
        self.wire._put(b"DATA\n")
        done = self.start(source, self.wire)
        got = self.take_until(done)
        self.successResultOf(done)
        self.assertEqual(got, b"DATA\n" + BLOB[7:])

    def test_behind_what_was_written(self) -> None:
        """Also where the peer has not taken that yet."""
        self.wire._put(BLOB)
        done = self.start(FileSource(self.workers, self.file(BLOB), 0, len(BLOB)), self.wire)
        self.assertEqual(self.take_until(done), BLOB + BLOB)
        self.successResultOf(done)

    def test_what_is_written_meanwhile_comes_behind(self) -> None:
        """OpenSSL has begun with a part of the body and must be given the same again."""
        done = self.start(FileSource(self.workers, self.file(BLOB), 0, len(BLOB)), self.wire)
        self.reactor.turns(2)
        self.assertNoResult(done)
        self.assertTrue(self.transport._loan is not None and self.transport._loan.unfinished)
        self.wire._put(b"meanwhile\n")
        self.assertEqual(self.take_until(done), BLOB + b"meanwhile\n")
        self.successResultOf(done)

    def test_a_file_that_shrank(self) -> None:
        done = self.start(FileSource(self.workers, self.file(BLOB), 0, len(BLOB) + 1), self.wire)
        self.take_until(done)
        self.failureResultOf(done, Refused)

    def test_a_disk_that_fails_half_way(self) -> None:
        """All that has gone is counted: whoever goes on from elsewhere must not send it again."""
        whole, reads = os.preadv, [100_000]

        def preadv(fd: int, buffers: list[memoryview], offset: int) -> int:
            if not reads:
                raise OSError(errno.EIO, "broken")
            return whole(fd, [buffers[0][: reads.pop()]], offset)

        self.patch(os, "preadv", preadv)
        source = FileSource(self.workers, self.file(BLOB), 0, len(BLOB))
        done = self.start(source, self.wire)
        got = self.take_until(done)
        self.failureResultOf(done, OSError)
        self.assertEqual((got, source.remaining), (BLOB[:100_000], len(BLOB) - 100_000))

    def test_a_reader_that_takes_nothing_is_given_up(self) -> None:
        """What OpenSSL has begun with cannot be finished: nothing else can be said either."""
        done = self.start(FileSource(self.workers, self.file(BLOB), 0, len(BLOB)), self.wire)
        self.reactor.turns(3)
        self.reactor.advance(11)
        self.failureResultOf(done, Stalled)
        self.assertEqual((self.wire.lost, self.reactor.removeAll()), (True, []))

    def test_a_reader_that_goes_away(self) -> None:
        done = self.start(FileSource(self.workers, self.file(BLOB), 0, len(BLOB)), self.wire)
        self.reactor.turns(3)
        self.peer.socket.close()
        self.reactor.turns(3)
        self.failureResultOf(done, PeerLost)

    def test_reading_goes_on_afterwards(self) -> None:
        done = self.start(FileSource(self.workers, self.file(BLOB), 0, len(BLOB)), self.wire)
        self.peer.say(b"SUCCESS\n")
        self.take_until(done)
        follow = Deferred.fromCoroutine(self.wire.read(100))
        self.reactor.turns(2)
        self.assertEqual(self.successResultOf(follow), b"SUCCESS\n")


class Exclusive(Case):
    """OpenSSL is called by the borrower alone."""

    def setUp(self) -> None:
        super().setUp()
        self.lent = self.transport.lend_input()

    def test_the_reactor_keeps_off(self) -> None:
        self.transport.write(BLOB)
        self.transport.resumeProducing()
        self.peer.say(b"for the borrower")
        self.assertEqual((self.reactor.readers, self.reactor.writers), ([], []))
        self.transport.doRead()
        self.transport.doWrite()
        self.assertEqual((self.peer.take(), self.connection.recv(100)), (b"", b"for the borrower"))

    def test_it_is_told_and_then_alone_again(self) -> None:
        """Room to write and bytes to read may be told in one turn; the second comes too late."""
        calls: list[str] = []
        self.transport.write(b"meanwhile")
        self.transport.call_when_readable(lambda: calls.append("readable"))
        self.peer.say(b"x")
        self.transport.doRead()
        self.transport.doWrite()
        self.assertEqual((calls, self.peer.take()), (["readable"], b""))
        self.assertEqual((self.reactor.readers, self.reactor.writers), ([], []))

    def test_closing_is_left_to_the_borrower(self) -> None:
        """It may be inside OpenSSL; it learns of the end there."""
        self.transport.abortConnection()
        self.assertTrue(self.wire.lost)
        self.assertGreaterEqual(self.connection.fileno(), 0)
        self.assertRaises(ssl.SSLEOFError, self.connection.recv, 1)
        self.lent.give_back()
        self.assertEqual(self.connection.fileno(), -1)

    def test_farewell_waits_for_the_borrower(self) -> None:
        self.transport.write(b"last words")
        self.transport.loseConnection()
        self.reactor.turns()
        self.assertEqual((self.peer.take(), self.peer.ended), (b"", False))
        self.lent.give_back()
        self.reactor.turns()
        self.assertEqual((self.peer.take(), self.peer.ended), (b"last words", True))


class Turns(SynchronousTestCase):
    """Of a sender that never stops, and when they are long enough at once."""

    def setUp(self) -> None:
        self.patch(loan, "TURN_S", -1.0)
        self.workers = InlineWorkers()

    def receive(self) -> tuple[int, Turn]:
        connection = SimpleNamespace(recv_into=len)
        lent = TlsLoan(connection, False, lambda: None)  # type: ignore[arg-type]
        with tempfile.TemporaryFile() as file:
            return lent.receive(FileSink(self.workers, file.fileno(), 0, NoDigest()), len(BLOB))

    def test_one_goes_on_while_nobody_waits_for_its_thread(self) -> None:
        self.assertEqual(self.receive(), (len(BLOB), Turn.OVER))

    def test_one_ends_when_somebody_waits_for_its_thread(self) -> None:
        self.patch(self.workers.bulk, "crowded", True)
        moved, turn = self.receive()
        self.assertEqual(turn, Turn.OVER)
        self.assertTrue(0 < moved < len(BLOB))


class InByOwn(In):
    openssl = OWN


class OutByOwn(Out):
    openssl = OWN


class ExclusiveByOwn(Exclusive):
    openssl = OWN
