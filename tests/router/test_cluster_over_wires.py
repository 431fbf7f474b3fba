"""A cluster whose nodes are at the other ends of connections, and whose client is, too."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from annexd.errors import PeerLost
from annexd.protocol.keys import Key
from annexd.protocol.messages import Version
from annexd.router.proxied import ProxiedNode
from annexd.sessions.activity import Activity
from annexd.sessions.ask import Peer
from annexd.sessions.deadlines import Deadlines
from annexd.sessions.handshake import greet, introduce
from annexd.sessions.serve import Server
from annexd.sessions.wire import Wire
from annexd.store import Caller, Outcome, Store
from tests.support.clusters import CLUSTER, KEY, Scene
from tests.support.duplex import duplex
from tests.support.fresh_peers import FreshPeers
from tests.support.memory_store import MemoryStore
from tests.support.nodes import FakeNode, MemoryLog
from tests.support.store_contract import CONTENT, StoreContract, get, key_of, put, send

_DEADLINES = Deadlines(handshake=5, idle=100, stall=10)


async def connected(store: Store, uuid: bytes, version: int = 4) -> Peer:
    """``store``, served at the other end of a connection with a small window."""
    clock = Clock()
    near, far = Wire(clock, _DEADLINES), Wire(clock, _DEADLINES)
    duplex(near, far, window=1000)
    greet(far, uuid)
    server = Server(far, store, Activity(clock, 1, "", b""))
    serving = Deferred.fromCoroutine(server.run()).addErrback(lambda failure: failure.trap(PeerLost))
    serving.addBoth(lambda _: far.abort(PeerLost("the server has ended")))
    await introduce(near, uuid)
    near.send(Version(version))
    await near.receive()
    near.version = version
    return Peer(near, uuid)


_CALLER = Caller(b"gateway", "gateway")


class _Peers(FreshPeers):
    def present_now(self, key: Key) -> None:
        return None


class RemoteNode(FakeNode):
    def __init__(self, name: str, version: int = 4) -> None:
        super().__init__(name, is_local=False)
        self.version = version
        self.peers: list[Peer] = []

    def store(self, caller: Caller) -> Store:
        return cast(Store, _Peers(self.dial))

    async def dial(self) -> Peer:
        self.peers.append(await connected(super().store(_CALLER), self.uuid, self.version))
        return self.peers[-1]


class _Contract(StoreContract):
    one_upload_at_a_time = False
    versions: tuple[int, ...] = (4,)
    client = 4

    def setUp(self) -> None:
        from twisted.internet import reactor

        nodes = [RemoteNode(f"n{number}", version) for number, version in enumerate(self.versions)]
        self.scene = Scene(*nodes, clock=cast(Any, reactor))

    async def make_store(self) -> Store:
        return cast(Store, FreshPeers(self.dial))

    async def dial(self) -> Peer:
        cluster = self.scene.session()
        self.addCleanup(lambda: Deferred.fromCoroutine(cluster.close()))
        return await connected(cluster, CLUSTER, self.client)

    async def test_what_is_locked_stays(self) -> None:
        store = await self.make_store()
        await put(store, KEY, CONTENT)
        lease = await MemoryStore(self.scene.nodes[0].shelf).lock(KEY)
        await self.assert_not_done(store.remove(KEY))
        await lease.release()
        self.assertTrue((await store.remove(KEY)).ok)

    async def test_locks_are_shared(self) -> None:
        await self.assert_refused((await self.make_store()).lock(KEY))

    async def test_the_nodes_are_named(self) -> None:
        outcome = await put(await self.make_store(), KEY, CONTENT)
        self.assertEqual(outcome, Outcome(True, also=tuple(n.uuid for n in self.scene.nodes)))


class OfOneNode(_Contract, TestCase):
    pass


class OfThreeNodes(_Contract, TestCase):
    versions = (4, 3, 4)


class Proxied(StoreContract, TestCase):
    """A proxied node, likewise."""

    def setUp(self) -> None:
        self.node = RemoteNode("n1")
        self.log = MemoryLog()

    async def make_store(self) -> Store:
        return cast(Store, FreshPeers(self.dial))

    async def dial(self) -> Peer:
        from twisted.internet import reactor

        caller = Caller(b"c", "c")
        proxied = ProxiedNode(self.node, self.log, caller, cast(Any, reactor))
        self.addCleanup(lambda: Deferred.fromCoroutine(proxied.close()))
        return await connected(proxied, b"n1")


class Broken(TestCase):
    """Connections to nodes that break in the middle; the client's stays."""

    timeout = 120

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.one, self.two = RemoteNode("n1"), RemoteNode("n2")
        self.scene = Scene(self.one, self.two, clock=cast(Any, reactor))

    async def client(self) -> Peer:
        cluster = self.scene.session()
        self.addCleanup(lambda: Deferred.fromCoroutine(cluster.close()))
        return await connected(cluster, CLUSTER)

    async def test_upload(self) -> None:
        client = await self.client()
        writer = await client.write(KEY, b"")
        assert not isinstance(writer, Outcome)
        writer.announce(len(CONTENT))
        await writer.sink.write(CONTENT[:1000])
        self.one.peers[-1]._wire.abort(PeerLost("cut"))
        await writer.sink.write(CONTENT[1000:])
        self.assertEqual(await writer.commit(True), Outcome(True, also=(b"n2",)))
        # The same session completes it, with what the first node lacks.
        writer = await client.write(KEY, b"")
        assert not isinstance(writer, Outcome)
        self.assertEqual(writer.offset, len(self.one.shelf.partial[KEY]))
        self.assertGreater(writer.offset, 0)
        await send(writer, CONTENT[writer.offset :])
        self.assertEqual(await writer.commit(True), Outcome(True, also=(b"n1", b"n2")))
        self.assertEqual(self.scene.log.known[KEY], {b"n1", b"n2"})

    async def test_download(self) -> None:
        client = await self.client()
        content = CONTENT * 60  # less than a wire keeps unread
        key = key_of(content)
        for node in self.scene.nodes:
            node.shelf.content[key] = content
        self.scene.knows(self.one, key=key)
        self.one.faults.gives = 70_000
        reader = await client.read(key, 0, b"")
        got = b""
        while reader.source.remaining:
            got += bytes(await reader.source.read(1 << 16))
        self.assertTrue(got == content)
        self.assertFalse(await reader.valid())
        await reader.close(True)
        self.one.faults.gives = None
        self.assertEqual(await get(client, key), content)
        self.assertIn("read", self.two.asked)
