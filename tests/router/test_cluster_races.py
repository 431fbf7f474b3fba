"""The same content is uploaded to a cluster and removed from it at the same time."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from itertools import cycle
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from annexd.errors import Refused, Unavailable
from annexd.router.cluster import Cluster
from annexd.store import Outcome
from tests.support.clusters import CLUSTER, KEY, ClusterCase, download, send, upload
from tests.support.nodes import FakeNode
from tests.support.store_contract import CONTENT


class Races(ClusterCase):
    def setUp(self) -> None:
        self.scene = self.make(2, is_local=False)
        self.one, self.two = self.scene.nodes
        self.uploading = self.scene.session(parting=5)
        self.removing = self.scene.session(removal=60)

    def hold_back(self, node: FakeNode, what: str) -> Deferred[None]:
        node.faults.held[what] = Deferred()
        return node.faults.held[what]

    def let_go(self, held: Deferred[None]) -> None:
        held.callback(None)
        for node in self.scene.nodes:
            for what in [what for what, one in node.faults.held.items() if one is held]:
                del node.faults.held[what]

    def known(self) -> set[bytes]:
        return self.scene.log.known.get(KEY, set())

    def test_an_upload_waits_for_all_removals(self) -> None:
        first, second = self.hold_back(self.one, "remove"), self.hold_back(self.two, "removed")
        removals = [self.start(self.scene.session().remove(KEY)) for _ in range(2)]
        running = self.start(upload(self.uploading))
        self.let_go(first)
        self.assertFalse(removals[0].turn().over or running.turn().over)
        self.let_go(second)
        self.assertTrue(removals[0].turn().over and removals[1].over)
        self.assertEqual(running.turn().value(), Outcome(True, also=(b"n1", b"n2")))
        self.assertEqual(self.known(), {b"n1", b"n2"})

    def test_a_removal_while_nodes_are_opened(self) -> None:
        """What one had then it may not have any more when all have answered."""
        self.hold(self.two)
        opened = self.hold_back(self.one, "write")
        running = self.start(upload(self.uploading))
        self.result(self.removing.remove(KEY))
        self.let_go(opened)
        self.assertEqual(running.turn().value(), Outcome(True, also=(b"n1", b"n2")))
        self.assertEqual(self.two.sent, len(CONTENT))

    def test_a_removal_while_it_is_looked_who_has_it_still(self) -> None:
        asked = self.hold_back(self.one, "remove")
        writer = self.result(self.uploading.write(KEY, b""))
        removal = self.start(self.removing.remove(KEY))
        self.result(send(writer))
        looked = self.hold_back(self.two, "present")
        running = self.start(writer.commit(True))
        self.assertFalse(running.over)
        self.let_go(asked)
        self.assertTrue(removal.turn().over)
        self.let_go(looked)
        self.assertEqual(running.turn().value(), Outcome(True, also=(b"n2",)))
        self.assertEqual(self.known(), {b"n2"})
        self.result(writer.close())
        self.assert_released(self.uploading, self.removing)

    def test_the_client_goes_before_anybody_has_looked(self) -> None:
        committed = self.hold_back(self.two, "commit")
        running = self.start(upload(self.uploading))
        self.assertTrue(self.result(self.removing.remove(KEY)).ok)
        running.cancel()
        self.assertNotIn(KEY, self.one.shelf.content)
        self.assertEqual(self.known(), set())
        committed.callback(None)
        self.assert_released(self.uploading, self.removing)

    def test_the_client_goes_while_it_is_looked(self) -> None:
        committed = self.hold_back(self.two, "committed")
        running = self.start(upload(self.uploading))
        self.assertTrue(self.result(self.removing.remove(KEY)).ok)
        looked = self.hold_back(self.two, "present")
        self.let_go(committed)
        running.turn().cancel()
        self.assertEqual(self.known(), set())
        self.let_go(looked)
        self.assert_released(self.uploading, self.removing)

    def test_a_removal_that_is_answered_long_after_it_was_given_up(self) -> None:
        removed = self.hold_back(self.one, "removed")
        removal = self.start(self.removing.remove(KEY))
        self.assertTrue(removal.turn(61).value().ok)
        self.assertEqual(self.put(self.uploading).also, (b"n1", b"n2"))
        self.let_go(removed)
        removal.turn()
        self.assertEqual(self.known(), {b"n1", b"n2"})
        self.assert_released(self.uploading, self.removing)

    def test_an_answer_that_an_upload_has_overtaken(self) -> None:
        """Of a question, and of a repair that asks whether what is recorded is true."""
        asking = self.scene.session()
        for ask in (asking.present(KEY), asking.lacking(KEY, frozenset((b"n1",)), ask_all=True)):
            for node in self.scene.nodes:
                node.shelf.content.clear()
            self.scene.knows(self.one)
            looked = self.hold_back(self.one, "looked")
            running = self.start(ask)
            self.assertEqual(self.put(self.uploading).also, (b"n1", b"n2"))
            self.let_go(looked)
            self.assertTrue(running.turn(1).over)
            self.assertEqual(self.known(), {b"n1", b"n2"})
        self.assert_released(asking, self.uploading)

    def test_it_is_seen_that_a_gateway_s_nodes_have_it_still(self) -> None:
        self.two.uuid = CLUSTER
        self.two.answers["commit"] = Outcome(True, also=(b"a",))
        for reaches in ((b"a",), (b"a", b"b")):
            self.scene.ways = [self.two.way(reaches=reaches)]
            writer = self.result(self.uploading.write(KEY, b""))
            self.result(self.removing.remove(KEY))
            self.result(send(writer))
            outcome = self.result(writer.commit(True))
            self.assertEqual(outcome, Outcome(True, also=reaches if len(reaches) == 1 else ()))
            self.result(writer.close())
            self.two.shelf.content.clear()


class Whatever(ClusterCase):
    """Several at once, and every node takes its time before and after what it does."""

    @given(
        st.lists(st.sampled_from([0, 1, 2, 7]), min_size=1, max_size=40),
        st.lists(
            st.tuples(st.sampled_from(["upload", "removal", "question", "download"]), st.integers(0, 9)),
            min_size=2,
            max_size=5,
        ),
        st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=3),
        st.booleans(),
        st.sampled_from([5, 1000]),
    )
    def test_at_once(
        self,
        waits: list[int],
        works: list[tuple[str, int]],
        nodes: list[tuple[bool, bool]],
        is_local: bool,
        patience: int,
    ) -> None:
        self.make(len(nodes), is_local)
        seconds = cycle(waits)
        for node, (has_it, is_logged) in zip(self.scene.nodes, nodes, strict=True):
            if has_it:
                self.hold(node)
            if is_logged:
                self.scene.log.known.setdefault(KEY, set()).add(node.uuid)
            self.take_time(node, seconds)
        sessions, running = [], []
        for what, at in sorted(works, key=lambda work: work[1]):
            self.scene.clock.advance(max(0, at - self.scene.clock.seconds()))
            sessions.append(
                self.scene.session(answer=patience, disk=patience, removal=patience, commit=patience)
            )
            running.append(self.start(work(sessions[-1], what)))
        for _ in range(100):
            running[0].turn(1)
        for one in running:
            self.assertTrue(one.over)
            if isinstance(one.result, Failure):
                one.result.trap(Refused, Unavailable)
        for session in sessions:
            running.append(self.start(session.close()))
        for _ in range(100):
            running[-1].turn(1)
        self.assert_released()
        for node in self.scene.nodes:
            news = [present for uuid, present in self.scene.log.news if uuid == node.uuid]
            here = KEY in node.shelf.content
            if news and (patience > 100 or news[-1]):  # else it may have come without an answer
                self.assertEqual(news[-1], here, node.name)

    def take_time(self, node: FakeNode, seconds: Iterator[int]) -> None:
        async def meet(what: str) -> None:
            await deferLater(self.scene.clock, next(seconds))

        node.faults.meet = node.faults.after = meet  # type: ignore[method-assign]


def work(cluster: Cluster, what: str) -> Coroutine[Any, Any, object]:
    match what:
        case "upload":
            return upload(cluster)
        case "download":
            return download(cluster)
        case "question":
            return cluster.present(KEY)
        case _:
            return cluster.remove(KEY)
