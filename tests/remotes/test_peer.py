"""A repository elsewhere: what a store promises, in every version of the protocol."""

from __future__ import annotations

from random import Random

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from annexd.errors import Absent, Refused, Unavailable
from annexd.node import Health
from annexd.protocol.keys import Key
from annexd.remotes.link import Link
from annexd.remotes.peer import PeerNode
from annexd.store import Caller, Outcome, Store
from tests.support.far_peer import FarPeer, Scripted
from tests.support.memory_store import Shelf
from tests.support.store_contract import CONTENT, StoreContract, get, key_of, put

KEY = Key.parse(b"WORM-s3--x")
CALLER = Caller(b"client", "alice")


def node_of(dialer: FarPeer | Scripted, uuid: bytes, clock: Clock, most: int = 8) -> PeerNode:
    link = Link(
        "far", uuid, dialer, clock, most=most, random=Random(1), time_of_day=lambda: 1e9 + clock.seconds()
    )
    return PeerNode(link, 200.0, lambda: 5000.5 + clock.seconds())


class PeerNodeContract(StoreContract, TestCase):
    newest = 4
    timeout = 120

    def setUp(self) -> None:
        self.clock = Clock()
        self.shelf = Shelf(uuid=b"memory")
        self.far = FarPeer(self.clock, self.shelf, self.newest)
        self.node = node_of(self.far, b"memory", self.clock)

    async def make_store(self) -> Store:
        return self.node.store(CALLER)

    async def test_connections_are_used_again(self) -> None:
        store, other = await self.make_store(), await self.make_store()
        await put(store, key_of(CONTENT), CONTENT)
        await get(other, key_of(CONTENT))
        lease = await store.lock(key_of(CONTENT))
        await lease.release()
        self.assertTrue(await other.present(key_of(CONTENT)))
        self.assertEqual(self.far.dials, 1)

    async def test_nothing_stays_open(self) -> None:
        store = await self.make_store()
        await put(store, key_of(CONTENT), CONTENT)
        reader = await store.read(key_of(CONTENT), 0, b"")
        self.assertEqual(self.node.condition.busy, 1)
        await reader.close(False)
        self.assertEqual((self.node.condition.busy, self.shelf.open, self.shelf.leases), (0, [], []))
        self.node.close()
        self.assertTrue(all(end.closed for end in self.far.ends))
        await self.assert_raises(Unavailable, store.present(KEY))


class Version3Contract(PeerNodeContract):
    newest = 3


class Version2Contract(PeerNodeContract):
    newest = 2


class Version1Contract(PeerNodeContract):
    newest = 1


class Version0Contract(PeerNodeContract):
    newest = 0
    keeps_partials = False  # what was announced has come whole, and nobody says what it is worth

    async def test_absent_and_exhausted_content_are_told_apart(self) -> None:
        store = await self.make_store()
        await self.assert_raises(Absent, store.read(key_of(CONTENT), len(CONTENT), b""))
        await put(store, key_of(CONTENT), CONTENT)
        self.assertEqual(await get(store, key_of(CONTENT), len(CONTENT)), b"")
        self.assertTrue(await store.present(key_of(CONTENT)))
        self.assertEqual(self.far.dials, 1)


class AgainstScripts(SynchronousTestCase):
    """What is said to peers of other versions, and what becomes of their answers."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.nodes: list[PeerNode] = []
        self.asked: list[Deferred[object]] = []

    def tearDown(self) -> None:
        """Nothing is left for the garbage collector to end."""
        for node in self.nodes:
            node.close()
        for deferred in self.asked:
            deferred.addErrback(lambda failure: failure.trap(Unavailable))

    def begin(self, version: int, caller: Caller = CALLER) -> None:
        self.dialer = Scripted(version)
        self.node = node_of(self.dialer, b"u", self.clock)
        self.store = self.node.store(caller)
        self.nodes.append(self.node)

    def ask(self, coroutine: object) -> Deferred[object]:
        self.asked.append(Deferred.fromCoroutine(coroutine))  # type: ignore[arg-type]
        return self.asked[-1]

    def hear(self) -> bytes:
        return self.dialer.script.hear()

    def say(self, line: bytes) -> bytes:
        return self.dialer.script.say(line)

    def test_gateways_are_told_where_a_request_has_been(self) -> None:
        self.begin(2, Caller(b"client", "alice", (b"g1", b"g2")))
        for _ in range(2):
            asked = self.ask(self.store.present(KEY))
            heard = self.hear()
            self.say(b"SUCCESS\n")
            self.assertIs(self.successResultOf(asked), True)
        self.assertEqual(heard, b"CHECKPRESENT WORM-s3--x\n")
        self.assertEqual(len(self.dialer.scripts), 1)

    def test_once_and_only_who_understands_it(self) -> None:
        said = b"BYPASS g1\nCHECKPRESENT WORM-s3--x\n"
        for version, heard in (4, said), (2, said), (1, said[10:]), (0, said[10:]):
            self.begin(version, Caller(b"client", "alice", (b"g1",)))
            self.ask(self.store.present(KEY))
            self.assertEqual(self.hear(), heard)

    def test_the_time_is_the_peers_where_it_has_one(self) -> None:
        self.begin(3)
        asked = self.ask(self.store.timestamp())
        self.assertEqual(self.hear(), b"GETTIMESTAMP\n")
        self.say(b"TIMESTAMP 77\n")
        self.assertEqual(self.successResultOf(asked), 77)
        self.ask(self.store.remove(KEY, 80))
        self.assertEqual(self.hear(), b"REMOVE-BEFORE 80 WORM-s3--x\n")

    def test_else_it_is_ours(self) -> None:
        self.begin(2)
        self.assertEqual(self.successResultOf(self.ask(self.store.timestamp())), 5000)
        removal = self.ask(self.store.remove(KEY, 5010))
        self.assertEqual(self.hear(), b"REMOVE WORM-s3--x\n")
        self.say(b"SUCCESS\n")
        self.assertEqual(self.successResultOf(removal), Outcome(True))

    def test_an_answer_that_comes_too_late_is_none(self) -> None:
        self.begin(2)
        removal = self.ask(self.store.remove(KEY, 5010))
        self.clock.advance(9.4)
        self.assertNoResult(removal)
        self.clock.advance(0.2)
        self.failureResultOf(removal, Unavailable)
        self.assertTrue(self.dialer.script.lost)
        self.assertEqual(self.node.condition.health, Health.UP, "ten seconds are not all that it may take")

    def test_a_moment_that_has_passed(self) -> None:
        self.begin(1)
        for answer, ok in (b"SUCCESS\n", False), (b"FAILURE\n", True):
            removal = self.ask(self.store.remove(KEY, 5000))
            self.assertEqual(self.hear(), b"CHECKPRESENT WORM-s3--x\n")
            self.say(answer)
            self.assertIs(self.successResultOf(removal).ok, ok)  # type: ignore[attr-defined]

    def test_clocks_are_not_mixed_up(self) -> None:
        for before, after in (2, 4), (4, 2):
            self.begin(before)
            asked = self.ask(self.store.timestamp())
            if before == 4:
                self.say(b"TIMESTAMP 77\n")
            self.successResultOf(asked)
            self.dialer.version = after
            self.dialer.script.transport.loseConnection()
            self.failureResultOf(self.ask(self.store.remove(KEY, 90000)), Refused)
            self.assertEqual(self.hear(), b"")

    def test_what_the_peer_refuses(self) -> None:
        self.begin(4)
        asked = self.ask(self.store.write(KEY, b""))
        self.say(b"ERROR not today\n")
        self.assertEqual(str(self.failureResultOf(asked, Refused).value), "not today")
        again = self.ask(self.store.present(KEY))
        self.say(b"SUCCESS\n")
        self.assertIs(self.successResultOf(again), True)
        self.assertEqual(len(self.dialer.scripts), 1)

    def test_what_is_said_beside_the_protocol_explains_a_loss(self) -> None:
        self.begin(4)
        self.dialer.said = "git-annex: content is locked"
        removal = self.ask(self.store.remove(KEY))
        self.dialer.script.transport.loseConnection()
        error = self.failureResultOf(removal, Unavailable).value
        self.assertEqual(str(error), "far: git-annex: content is locked")
        self.assertEqual(self.node.condition.health, Health.UP)

    def test_a_large_upload_may_be_hashed_for_longer(self) -> None:
        self.begin(4)
        opening = self.ask(self.store.write(KEY, b""))
        self.say(b"PUT-FROM 1000000000\n")
        writer: object = self.successResultOf(opening)
        writer.announce(0)  # type: ignore[attr-defined]
        commit = self.ask(writer.commit(True))  # type: ignore[attr-defined]
        self.clock.advance(69)
        self.assertNoResult(commit)
        self.say(b"SUCCESS\n")
        self.assertEqual(self.successResultOf(commit), Outcome(True))

    def test_a_verdict_that_does_not_come_is_waited_for_once(self) -> None:
        self.begin(4)
        opening = self.ask(self.store.read(KEY, 0, b""))
        self.say(b"DATA 3\nabc")
        reader: object = self.successResultOf(opening)
        self.assertEqual(self.successResultOf(self.ask(reader.source.read(9))), b"abc")  # type: ignore[attr-defined]
        verdict = self.ask(reader.valid())  # type: ignore[attr-defined]
        self.clock.advance(31)
        self.failureResultOf(verdict, Unavailable)
        self.successResultOf(self.ask(reader.close(False)))  # type: ignore[attr-defined]
        self.assertEqual(self.node.condition.health, Health.DOWN)

    def test_whoever_waits_for_changes_is_in_nobodys_way(self) -> None:
        self.begin(4)
        waits = [self.ask(self.store.changes()) for _ in range(9)]
        asked = self.ask(self.store.present(KEY))
        self.clock.advance(3600)
        self.say(b"SUCCESS\n")
        self.dialer.scripts[0].say(b"CHANGED abc\n")
        self.assertEqual(self.successResultOf(waits[0]), (b"abc",))
        self.failureResultOf(asked, Unavailable)
