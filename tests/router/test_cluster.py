"""A cluster keeps the promises of a store; and what SUCCESS-PLUS says is true, whatever the nodes do."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from annexd.errors import PeerLost, Refused, Unavailable
from annexd.router.cluster import Cluster
from annexd.store import Outcome, Store
from tests.support.clusters import KEY, Scene, download, upload
from tests.support.nodes import FakeNode, Running
from tests.support.store_contract import CONTENT, StoreContract


class _Contract(StoreContract):
    one_upload_at_a_time = False  # the second one waits instead
    count = 1

    def setUp(self) -> None:
        self.scene = Scene(*(FakeNode(f"n{number}") for number in range(self.count)))

    async def make_store(self) -> Store:
        return self.scene.session()

    # A cluster's content is locked at its nodes.

    async def test_what_is_locked_stays(self) -> None:
        store = await self.make_store()
        await super().test_put_then_get()
        node = self.scene.nodes[-1]
        lease = await node.store(None).lock(KEY)  # type: ignore[arg-type]
        await self.assert_not_done(store.remove(KEY))
        self.assertTrue(await store.present(KEY))
        await lease.release()
        self.assertTrue((await store.remove(KEY)).ok)

    async def test_locks_are_shared(self) -> None:
        await self.assert_refused((await self.make_store()).lock(KEY))


class OfOneNode(_Contract, TestCase):
    count = 1


class OfThreeNodes(_Contract, TestCase):
    count = 3


_ERRORS = {"down": Unavailable("down"), "lost": PeerLost("lost"), "no": Refused("no")}


@dataclass(frozen=True)
class Fate:
    """Of one node: what it has, what the log says of it, and how it fails."""

    partial: int
    partial_is_right: bool
    has_it: bool
    logged: bool
    fault: str
    """A method, ``sink`` with ``point``, or nothing."""
    error: str
    """Or ``frozen``."""
    point: int


_fates = st.builds(
    Fate,
    partial=st.integers(0, len(CONTENT)),
    partial_is_right=st.booleans(),
    has_it=st.booleans(),
    logged=st.booleans(),
    fault=st.sampled_from(["", "write", "sink", "commit", "read", "source", "present", "remove", "close"]),
    error=st.sampled_from(["frozen", *_ERRORS]),
    point=st.integers(0, len(CONTENT)),
)


def suffer(node: FakeNode, fate: Fate) -> None:
    if fate.has_it:
        node.shelf.content[KEY] = CONTENT
    elif fate.partial:
        filler = CONTENT if fate.partial_is_right else b"?" * len(CONTENT)
        node.shelf.partial[KEY] = filler[: fate.partial]
    if not fate.fault:
        return
    if fate.fault == "sink":
        node.faults.takes = fate.point
    if fate.fault == "source":
        node.faults.gives = fate.point
    if fate.error == "frozen":
        node.faults.frozen.add(fate.fault)
    else:
        node.faults.refusing[fate.fault] = _ERRORS[fate.error]


class Whatever(SynchronousTestCase):
    """Nodes of random fates; nothing takes longer than the deadlines, and nothing is told wrongly."""

    def make(self, fates: list[Fate]) -> Scene:
        nodes = [FakeNode(f"n{number}", is_local=False) for number in range(len(fates))]
        scene = Scene(*nodes, clock=Clock())
        scene.log.known[KEY] = set()
        for node, fate in zip(nodes, fates, strict=True):
            suffer(node, fate)
            if fate.logged:
                scene.log.known[KEY].add(node.uuid)
        return scene

    def end(self, scene: Scene, running: Running) -> object:
        for _ in range(200):
            if running.over:
                break
            running.turn(5)
        try:
            return running.value()
        except (Refused, Unavailable) as error:
            self.assertTrue(str(error))
            return None

    def close(self, scene: Scene, *clusters: object) -> None:
        for cluster in clusters:
            closing = Running(scene.clock, cluster.close())  # type: ignore[attr-defined]
            closing.turn(5).turn(5)
            closing.value()
        self.assertEqual([node.shelf.open for node in scene.nodes], [[] for _ in scene.nodes])
        self.assertEqual(scene.clock.getDelayedCalls(), [])
        self.assertEqual(scene.uploads._queues, {})

    def assert_recorded_truly(self, scene: Scene) -> None:
        """Whatever was recorded, is so; and what was stale may have stayed so."""
        for node in scene.nodes:
            here = KEY in node.shelf.content
            news = [present for uuid, present in scene.log.news if uuid == node.uuid]
            if news:
                self.assertEqual(news[-1], here, node.name)

    @given(st.lists(_fates, min_size=1, max_size=5), st.integers(1, 400), st.integers(0, 2000))
    def test_upload(self, fates: list[Fate], piece: int, backlog: int) -> None:
        scene = self.make(fates)
        lacking = {node.uuid: len(CONTENT) - len(node.shelf.partial.get(KEY, b"")) for node in scene.nodes}
        cluster = scene.session(backlog=backlog, commit=50)
        outcome = self.end(scene, Running(scene.clock, upload(cluster, piece=piece)))
        self.close(scene, cluster)
        self.assert_recorded_truly(scene)
        for node, fate in zip(scene.nodes, fates, strict=True):
            self.assertLessEqual(node.sent, 0 if fate.has_it else lacking[node.uuid])
        if isinstance(outcome, Outcome):
            holding = [node.uuid for node in scene.nodes if KEY in node.shelf.content and self.told(node)]
            self.assertEqual(outcome.also, tuple(holding))
            self.assertEqual(outcome.ok, bool(holding))
            for node in scene.nodes:
                if node.uuid in outcome.also and "write" in node.asked and node.sent:
                    self.assertEqual(node.sent, lacking[node.uuid])

    def told(self, node: FakeNode) -> bool:
        """Whether it could say that it has the content."""
        return "write" not in node.faults.frozen and "write" not in node.faults.refusing

    @given(
        st.lists(_fates, min_size=1, max_size=4),
        st.sets(st.integers(0, 3)),
        st.lists(st.sampled_from(["upload", "download", "question", "removal"]), min_size=2, max_size=2),
        st.lists(st.sampled_from([0.2, 1, 3, 10]), max_size=12),
    )
    def test_called_off(self, fates: list[Fate], slow: set[int], what: list[str], waits: list[float]) -> None:
        scene = self.make(fates)
        for number in slow & set(range(len(fates))):
            scene.nodes[number].faults.slow = scene.clock
        cluster, other = scene.session(backlog=300), scene.session(backlog=300)
        first, second = (Running(scene.clock, self.work(session, what)) for session in (cluster, other))
        for wait in waits:
            first.turn(wait)
        first.cancel().turn(5)
        if not second.over:
            second.cancel().turn(5)
        self.close(scene, cluster, other)
        self.assert_recorded_truly(scene)

    def work(self, cluster: Cluster, what: str) -> Coroutine[Any, Any, object]:
        match what:
            case "upload":
                return upload(cluster, piece=100)
            case "download":
                return download(cluster)
            case "question":
                return cluster.present(KEY)
            case _:
                return cluster.remove(KEY)

    @given(st.lists(_fates, min_size=1, max_size=5), st.integers(1, 400))
    def test_download(self, fates: list[Fate], piece: int) -> None:
        scene = self.make(fates)
        cluster = scene.session()
        got = self.end(scene, Running(scene.clock, download(cluster, piece=piece)))
        self.close(scene, cluster)
        self.assert_recorded_truly(scene)
        able = [fate for fate in fates if fate.has_it and fate.fault in ("", "write", "sink", "commit")]
        if able:
            self.assertIsNotNone(got)
        if got is not None:
            assert isinstance(got, tuple)
            self.assertEqual(got[0], CONTENT)

    @given(st.lists(_fates, min_size=1, max_size=5))
    def test_question(self, fates: list[Fate]) -> None:
        scene = self.make(fates)
        cluster = scene.session()
        answer = self.end(scene, Running(scene.clock, cluster.present(KEY)))
        self.close(scene, cluster)
        self.assert_recorded_truly(scene)
        if answer is None:
            self.assertTrue(any(fate.fault == "present" for fate in fates))
        else:
            self.assertEqual(answer, any(fate.has_it and fate.fault != "present" for fate in fates))

    @given(st.lists(_fates, min_size=1, max_size=5))
    def test_removal(self, fates: list[Fate]) -> None:
        scene = self.make(fates)
        cluster = scene.session()
        outcome = self.end(scene, Running(scene.clock, cluster.remove(KEY)))
        self.close(scene, cluster)
        self.assert_recorded_truly(scene)
        if isinstance(outcome, Outcome):
            gone = [fate.fault != "remove" for fate in fates]
            self.assertEqual(
                outcome.also, tuple(f"n{number}".encode() for number, one in enumerate(gone) if one)
            )
            if outcome.ok:
                for node, fate in zip(scene.nodes, fates, strict=True):
                    if fate.logged:
                        self.assertNotIn(KEY, node.shelf.content)
