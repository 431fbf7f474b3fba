"""The same content is uploaded to a cluster and removed from it at the same time."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from annexd.store import Outcome
from tests.support.clusters import CLUSTER, KEY, ClusterCase, send, upload
from tests.support.nodes import FakeNode


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

    def test_a_removal_that_began_before_the_upload(self) -> None:
        """Another one had its turn, so the upload did not wait for this one."""
        other = self.scene.uploads.claim(CLUSTER, KEY)
        assert other is not None
        asked = self.hold_back(self.one, "remove")
        removal = self.start(self.removing.remove(KEY))
        other.end()
        committed = self.hold_back(self.one, "committed")
        running = self.start(upload(self.uploading))
        self.let_go(asked)
        self.assertTrue(removal.turn().value().ok)
        self.let_go(committed)
        self.assertEqual(running.turn().value(), Outcome(True, also=(b"n2",)))
        self.assertEqual(self.known(), {b"n2"})
        self.assert_released(self.uploading, self.removing)

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
