"""What tests of clusters have in common."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from annexd.protocol.keys import Key
from annexd.router.cluster import Cluster
from annexd.router.limits import Limits
from annexd.router.ports import Way
from annexd.router.uploads import Uploads
from annexd.store import Caller, Outcome, Store, Writer
from tests.support.nodes import FakeNode, FixedWishes, MemoryLog, Running
from tests.support.store_contract import CONTENT, key_of

CLUSTER = b"ac808f00-0000-8000-8000-000000000000"
KEY = key_of(CONTENT)


class Scene:
    """A gateway with some nodes; `session` is another client's view of the cluster."""

    def __init__(self, *nodes: FakeNode, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.nodes = list(nodes)
        self.ways: list[Way] | None = None
        self.bypasses: list[tuple[bytes, ...]] = []
        self.log = MemoryLog()
        self.wishes = FixedWishes()
        self.uploads = Uploads(self.clock)
        self.boot = 5000.0

    def session(self, **limits: Any) -> Cluster:
        return Cluster(
            CLUSTER,
            self._ways,
            self.log,
            self.wishes,
            Caller(b"client", "someone"),
            self.clock,
            uploads=self.uploads,
            boot=lambda: self.boot + self.clock.seconds(),
            limits=Limits(**limits),
        )

    def _ways(self, bypass: tuple[bytes, ...]) -> list[Way]:
        self.bypasses.append(bypass)
        return [node.way() for node in self.nodes] if self.ways is None else self.ways

    def knows(self, *nodes: FakeNode, key: Key = KEY) -> None:
        """The location log has these as holders."""
        self.log.known[key] = {node.uuid for node in nodes}


class ClusterCase(SynchronousTestCase):
    def make(self, count: int = 3, is_local: bool = True) -> Scene:
        nodes = [FakeNode(f"n{number}", is_local=is_local) for number in range(1, count + 1)]
        self.scene = Scene(*nodes)
        return self.scene

    def start(self, work: Coroutine[Any, Any, Any]) -> Running:
        return Running(self.scene.clock, work)

    def result(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.start(work).value()

    def hold(self, *nodes: FakeNode, key: Key = KEY, content: bytes = CONTENT) -> None:
        for node in nodes:
            node.shelf.content[key] = content

    def put(self, cluster: Cluster, key: Key = KEY, content: bytes = CONTENT, piece: int = 600) -> Outcome:
        outcome = self.result(upload(cluster, key, content, piece))
        assert isinstance(outcome, Outcome)
        return outcome

    def get(self, cluster: Cluster, offset: int = 0, key: Key = KEY) -> tuple[bytes, bool]:
        got = self.result(download(cluster, key, offset))
        assert isinstance(got, tuple)
        return got

    def assert_released(self, *clusters: Cluster) -> None:
        """Nothing is open or waited for any more."""
        for cluster in clusters:
            self.result(cluster.close())
        for node in self.scene.nodes:
            self.assertTrue(node.closed, node.name)
        self.assertEqual(self.scene.clock.getDelayedCalls(), [])
        self.assertEqual(self.scene.uploads._queues, {})


async def upload(cluster: Store, key: Key = KEY, content: bytes = CONTENT, piece: int = 600) -> Outcome:
    writer = await cluster.write(key, b"file.txt")
    if isinstance(writer, Outcome):
        return writer
    try:
        await send(writer, content, piece)
        return await writer.commit(True)
    finally:
        await writer.close()


async def send(writer: Writer, content: bytes = CONTENT, piece: int = 600) -> None:
    rest = content[writer.offset :]
    writer.announce(len(rest))
    for at in range(0, len(rest), piece):
        await writer.sink.write(rest[at : at + piece])


async def download(cluster: Store, key: Key = KEY, offset: int = 0, piece: int = 300) -> tuple[bytes, bool]:
    """What came, and whether it was said to be valid."""
    reader = await cluster.read(key, offset, b"file.txt")
    try:
        parts = []
        while reader.source.remaining:
            parts.append(bytes(await reader.source.read(piece)))
        return b"".join(parts), await reader.valid()
    finally:
        await reader.close(True)
