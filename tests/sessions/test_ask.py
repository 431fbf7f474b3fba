"""The asking half: a store behind a connection keeps all that a store promises."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from annexd.errors import Absent, PeerLost, Refused, Unavailable
from annexd.protocol.keys import Key
from annexd.protocol.messages import Auth, Version
from annexd.sessions.activity import Activity
from annexd.sessions.ask import Peer
from annexd.sessions.deadlines import Deadlines, Patience
from annexd.sessions.handshake import greet, introduce
from annexd.sessions.serve import Server
from annexd.sessions.wire import Wire
from annexd.store import Store
from tests.support.duplex import Script, duplex
from tests.support.fresh_peers import FreshPeers
from tests.support.memory_store import MemoryStore, Shelf
from tests.support.store_contract import StoreContract

DEADLINES = Deadlines(handshake=5, idle=100, stall=10)
KEY = Key.parse(b"WORM-s3--x")


class PeerContract(StoreContract, TestCase):
    """A `Peer` and a `Server`, each testing the other, over a store in memory."""

    version = 4
    timeout = 120

    def setUp(self) -> None:
        self.shelf = Shelf(uuid=b"memory")

    async def make_store(self) -> Store:
        return FreshPeers(self.dial)  # type: ignore[return-value]

    async def dial(self) -> Peer:
        clock = Clock()
        near, far = Wire(clock, DEADLINES), Wire(clock, DEADLINES)
        duplex(near, far, window=1000)
        greet(far, b"memory")
        server = Server(far, MemoryStore(self.shelf), Activity(clock, 1, "", b""))
        Deferred.fromCoroutine(server.run()).addErrback(lambda failure: failure.trap(PeerLost))
        uuid = await introduce(near, b"memory")
        near.send(Version(self.version))
        await near.receive()
        near.version = self.version
        return Peer(near, uuid)


class Version3Contract(PeerContract):
    version = 3


class AgainstAScript(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.script = Script()
        self.wire = Wire(self.clock, DEADLINES)
        duplex(self.wire, self.script)

    def introduced(self, version: int) -> Peer:
        self.wire.version = version
        return Peer(self.wire, b"u")

    def test_introduction(self) -> None:
        done = Deferred.fromCoroutine(introduce(self.wire, b"u", Auth(b"me", b"secret")))
        self.assertEqual(self.script.hear(), b"AUTH me secret\n")
        self.assertEqual(self.script.say(b"AUTH-SUCCESS u\n"), b"VERSION 4\n")
        self.script.say(b"VERSION 1\n")
        self.assertEqual(self.successResultOf(done), b"u")
        self.assertEqual(self.wire.version, 1)

    def test_a_server_that_knows_no_versions(self) -> None:
        done = Deferred.fromCoroutine(introduce(self.wire, None))
        self.script.say(b"AUTH-SUCCESS u\nERROR unknown command\n")
        self.assertEqual(self.successResultOf(done), b"u")
        self.assertEqual(self.wire.version, 0)

    def test_strangers(self) -> None:
        other, odd = b"AUTH-SUCCESS other\n", b"AUTH-SUCCESS u\nSUCCESS\n"
        for said in other, b"AUTH-FAILURE\n", b"SSH-2.0-OpenSSH\n", odd:
            self.setUp()
            done = Deferred.fromCoroutine(introduce(self.wire, b"u"))
            self.script.say(said)
            self.failureResultOf(done, Unavailable)

    def test_one_request_at_a_time(self) -> None:
        peer = self.introduced(4)
        first = Deferred.fromCoroutine(peer.present(KEY))
        second = Deferred.fromCoroutine(peer.timestamp())
        self.assertEqual(self.script.hear(), b"CHECKPRESENT WORM-s3--x\n")
        self.assertEqual(self.script.say(b"SUCCESS\n"), b"GETTIMESTAMP\n")
        self.script.say(b"TIMESTAMP 5\n")
        self.assertEqual((self.successResultOf(first), self.successResultOf(second)), (True, 5))

    def test_an_error_refuses_and_the_connection_stays(self) -> None:
        peer = self.introduced(4)
        asked = Deferred.fromCoroutine(peer.present(KEY))
        self.script.say(b"ERROR not\x1b]0; today\xc2\x9b\n")
        self.assertEqual(str(self.failureResultOf(asked, Refused).value), "not]0; today")
        again = Deferred.fromCoroutine(peer.present(KEY))
        self.script.say(b"FAILURE\n")
        self.assertIs(self.successResultOf(again), False)

    def test_silence_nonsense_and_hanging_up_make_it_unavailable(self) -> None:
        def silence() -> None:
            self.clock.advance(11)

        def nonsense() -> None:
            self.script.say(b"TIMESTAMP 3\n")

        def hanging_up() -> None:
            self.script.transport.loseConnection()

        for trouble in silence, nonsense, hanging_up:
            self.setUp()
            peer = self.introduced(4)
            first = Deferred.fromCoroutine(peer.present(KEY))
            second = Deferred.fromCoroutine(peer.present(KEY))
            trouble()
            self.failureResultOf(first, Unavailable)
            self.failureResultOf(second, Unavailable)
            self.assertTrue(self.script.lost)

    def test_old_peers_are_not_asked_what_they_do_not_know(self) -> None:
        peer = self.introduced(1)
        self.failureResultOf(Deferred.fromCoroutine(peer.timestamp()), Refused)
        self.failureResultOf(Deferred.fromCoroutine(peer.remove(KEY, 5)), Refused)
        self.assertEqual(self.script.hear(), b"")

    def test_a_reader_that_is_closed_early_hangs_up(self) -> None:
        peer = self.introduced(1)
        opening = Deferred.fromCoroutine(peer.read(KEY, 0, b"f"))
        self.assertEqual(self.script.say(b"DATA 3\n"), b"GET 0 f WORM-s3--x\n")
        reader = self.successResultOf(opening)
        self.successResultOf(Deferred.fromCoroutine(reader.close(False)))
        self.assertTrue(self.script.lost)

    def test_other_repositories_are_reported(self) -> None:
        peer = self.introduced(4)
        removal = Deferred.fromCoroutine(peer.remove(KEY))
        self.script.say(b"FAILURE-PLUS a b\n")
        outcome = self.successResultOf(removal)
        self.assertEqual((outcome.ok, outcome.also), (False, (b"a", b"b")))
        writing = Deferred.fromCoroutine(peer.write(KEY, b""))
        self.script.say(b"ALREADY-HAVE-PLUS a\n")
        self.assertEqual(self.successResultOf(writing).also, (b"a",))

    def test_a_version_0_peer_is_asked_whether_nothing_means_absent(self) -> None:
        for answer, absent in (b"SUCCESS\n", False), (b"FAILURE\n", True):
            self.setUp()
            peer = self.introduced(0)
            opening = Deferred.fromCoroutine(peer.read(KEY, 3, b""))
            self.script.hear()
            self.assertEqual(self.script.say(b"DATA 0\n"), b"SUCCESS\nCHECKPRESENT WORM-s3--x\n")
            self.script.say(answer)
            if absent:
                self.failureResultOf(opening, Absent)
            else:
                self.successResultOf(Deferred.fromCoroutine(self.successResultOf(opening).close(True)))
            self.assertFalse(self.script.lost)
            self.assertEqual(self.script.hear(), b"")

    def test_a_verdict_that_nobody_waits_for_any_more_ends_the_connection(self) -> None:
        peer = self.introduced(4)
        opening = Deferred.fromCoroutine(peer.read(KEY, 0, b""))
        self.script.say(b"DATA 3\nabc")
        reader = self.successResultOf(opening)
        self.successResultOf(Deferred.fromCoroutine(reader.source.read(3)))
        verdict = Deferred.fromCoroutine(reader.valid())
        verdict.cancel()
        self.failureResultOf(verdict, CancelledError)
        self.assertTrue(self.script.lost)
        self.successResultOf(Deferred.fromCoroutine(reader.close(False)))

    def test_patience(self) -> None:
        self.wire.version = 4
        peer = Peer(self.wire, b"u", Patience(answer=3, hashing=10))
        opening = Deferred.fromCoroutine(peer.write(KEY, b""))
        self.script.say(b"PUT-FROM 70\n")
        writer = self.successResultOf(opening)
        writer.announce(30)
        commit = Deferred.fromCoroutine(writer.commit(True))
        self.clock.advance(12)
        self.assertNoResult(commit)
        self.clock.advance(2)
        self.failureResultOf(commit, Unavailable)
