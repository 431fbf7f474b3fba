"""Repairs that go on by themselves."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.progress import Progress
from annexd.app.repairs import Order, Repair, Repairs
from annexd.errors import Refused, Unavailable
from annexd.flow.workers import InlineWorkers
from annexd.repo.local import Repository
from tests.support.branch_scene import Scene as Disk
from tests.support.clusters import CONTENT, KEY, ClusterCase
from tests.support.store_contract import key_of

ORDER = Order(b"/g", b"AC")
OTHER_CONTENT = CONTENT[::-1]
OTHER_KEY = key_of(OTHER_CONTENT)


class FakeDirectory:
    """Whoever looks for a repository waits for one of ``found``."""

    def __init__(self) -> None:
        self.found: list[Deferred[Any]] = []

    async def find(self, path: bytes) -> Any:
        self.found.append(Deferred())
        return await self.found[-1]


class Life(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = FakeDirectory()
        self.repairs = Repairs(Clock(), self.directory, None)  # type: ignore[arg-type]

    def get(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def start(self, order: Order = ORDER) -> Any:
        return self.get(self.repairs.start(b"/g", order, 2))

    def test_there_is_one_for_a_cluster(self) -> None:
        self.assertRaises(Refused, self.repairs.look, ORDER)
        self.assertEqual(self.start()["state"], "running")
        self.assertTrue(self.start()["joined"])
        self.failureResultOf(
            Deferred.fromCoroutine(self.repairs.start(b"/g", Order(b"/g", b"AC", dry_run=True), 2)), Refused
        )
        self.assertNotIn("joined", self.start(Order(b"/g", b"AC2")))

    def test_stopped_by_whoever_asks(self) -> None:
        self.start()
        self.assertEqual(self.get(self.repairs.call_off(ORDER))["state"], "stopped")
        self.assertEqual(self.get(self.repairs.call_off(ORDER))["state"], "stopped")
        self.assertNotIn("joined", self.start())

    def test_stopped_with_the_daemon(self) -> None:
        self.start()
        self.start(Order(b"/g", b"AC2"))
        self.get(self.repairs.stop())
        self.assertEqual(self.repairs.look(ORDER)["state"], "stopped")
        self.failureResultOf(Deferred.fromCoroutine(self.repairs.start(b"/g", ORDER, 2)), Refused)

    def test_it_cannot_begin(self) -> None:
        self.start()
        self.directory.found[0].errback(Refused("no repository is served at /g"))
        found = self.repairs.look(ORDER)
        self.assertEqual((found["state"], found["trouble"]), ("failed", "no repository is served at /g"))
        self.get(self.repairs.stop())

    def test_a_bug(self) -> None:
        self.start()
        self.directory.found[0].errback(ZeroDivisionError())
        self.assertIn("internal error", self.repairs.look(ORDER)["trouble"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class Names:
    """What a repair asks of an estate."""

    @staticmethod
    def describe(uuid: bytes) -> str:
        return uuid.decode()


class Work(ClusterCase):
    """With nodes in memory, and a location log on the disk that has two keys, both at n1."""

    def setUp(self) -> None:
        self.make()
        self.n1, self.n2, self.n3 = self.scene.nodes
        disk = Disk(self.mktemp())
        self.hold(self.n1)
        self.hold(self.n1, key=OTHER_KEY, content=OTHER_CONTENT)
        for key in (KEY, OTHER_KEY):
            self.scene.knows(self.n1, key=key)
            disk.put({key.hash_lower + b"/" + key.file_name + b".log": b"1s 1 n1\n"})
        opening = Repository.open(disk.git_dir, workers=InlineWorkers(), clock=self.scene.clock)
        self.repository = self.successResultOf(Deferred.fromCoroutine(opening))

    def repair(self, dry_run: bool = False) -> dict[str, Any]:
        progress = Progress(self.scene.clock, dry_run)
        order = Order(b"/g", b"AC", dry_run)
        cluster = self.scene.session()
        self.result(Repair(order, self.repository, Names(), cluster, progress).run(3))  # type: ignore[arg-type]
        self.assert_released(cluster)
        return progress.document()

    def test_every_node_is_filled(self) -> None:
        found = self.repair()
        self.assertEqual((found["keys"], found["lacking"], found["copies"], found["failures"]), (2, 2, 4, 0))
        self.assertEqual(found["bytes"], 2 * len(CONTENT))
        for node in (self.n2, self.n3):
            self.assertEqual(node.shelf.content, {KEY: CONTENT, OTHER_KEY: OTHER_CONTENT})

    def test_a_dry_run(self) -> None:
        found = self.repair(dry_run=True)
        self.assertEqual((found["lacking"], found["copies"], found["bytes"]), (2, 4, 0))
        self.assertEqual(self.n2.shelf.content, {})

    def test_a_node_that_is_down(self) -> None:
        self.n3.faults.refusing["write"] = Unavailable("it is down")
        found = self.repair()
        self.assertEqual(found["nodes"], [{"name": "n2", "copies": 2, "bytes": 2 * len(CONTENT)}])
        self.assertEqual(found["failures"], 2)
        self.assertEqual(found["reasons"], [{"reason": "n3: it is down", "count": 2}])

    def test_what_nobody_can_give(self) -> None:
        """Of one key; the other is not worse for that."""
        del self.n1.shelf.content[KEY]
        self.n1.is_local = False
        found = self.repair()
        self.assertEqual((found["copies"], found["failures"]), (2, 1))
        self.assertIn(OTHER_KEY, self.n3.shelf.content)
