"""Content from a cluster's nodes into those that lack it."""

from __future__ import annotations

from annexd.errors import Refused, Unavailable
from annexd.router.ports import Wish
from annexd.store import Outcome
from tests.support.clusters import CONTENT, KEY, ClusterCase


class Lacking(ClusterCase):
    def setUp(self) -> None:
        self.make()
        self.n1, self.n2, self.n3 = self.scene.nodes
        self.cluster = self.scene.session()
        self.hold(self.n1)
        self.scene.knows(self.n1)

    def lacking(self, *holders: bytes, ask_all: bool = False) -> frozenset[bytes]:
        found = self.result(self.cluster.lacking(KEY, frozenset(holders), ask_all))
        assert isinstance(found, frozenset)
        return found

    def test_those_that_want_it(self) -> None:
        self.assertEqual(self.lacking(b"n1"), {b"n2", b"n3"})
        self.scene.wishes.wishes[b"n3"] = Wish.UNWANTED
        self.assertEqual(self.lacking(b"n1"), {b"n2"})
        self.scene.wishes.wishes[b"n2"] = Wish.FULL
        self.assertEqual(self.lacking(b"n1"), frozenset())

    def test_what_no_node_has(self) -> None:
        self.assertEqual(self.lacking(), frozenset())
        self.assertEqual(self.lacking(b"elsewhere"), frozenset())

    def test_an_emptied_disk_is_noticed(self) -> None:
        self.scene.knows(self.n1, self.n2)
        self.assertEqual(self.lacking(b"n1", b"n2"), {b"n2", b"n3"})
        self.assertEqual(self.scene.log.news, [(b"n2", False)])

    def test_others_are_asked_only_if_wanted(self) -> None:
        self.n2.is_local = False
        self.assertEqual(self.lacking(b"n1", b"n2"), {b"n3"})
        self.assertEqual(self.n2.asked, [])
        self.assertEqual(self.lacking(b"n1", b"n2", ask_all=True), {b"n2", b"n3"})

    def test_what_cannot_be_asked_is_believed(self) -> None:
        self.n2.faults.refusing["present"] = Unavailable("down")
        self.assertEqual(self.lacking(b"n1", b"n2"), {b"n3"})
        self.assertEqual(self.scene.log.news, [])

    def test_an_upload_is_not_disturbed(self) -> None:
        self.result(self.scene.uploads.turn(self.cluster.uuid, KEY, 10))
        self.assertEqual(self.lacking(b"n1", b"n2"), {b"n3"})
        self.assertEqual(self.scene.log.news, [])


class Filling(ClusterCase):
    def setUp(self) -> None:
        self.make()
        self.n1, self.n2, self.n3 = self.scene.nodes
        self.cluster = self.scene.session()
        self.hold(self.n1)
        self.scene.knows(self.n1)
        self.bytes = 0

    def moved(self, count: int) -> None:
        self.bytes += count

    def fill(self) -> Outcome:
        outcome = self.result(self.cluster.fill(KEY, self.moved))
        assert isinstance(outcome, Outcome)
        return outcome

    def test_one_pass_for_all(self) -> None:
        outcome = self.fill()
        self.assertEqual((outcome.ok, set(outcome.also)), (True, {b"n2", b"n3"}))
        self.assertEqual((self.n2.shelf.content[KEY], self.n3.shelf.content[KEY]), (CONTENT, CONTENT))
        self.assertEqual(self.scene.log.known[KEY], {b"n1", b"n2", b"n3"})
        self.assertEqual(self.bytes, len(CONTENT))
        self.assertEqual((self.n1.sent, self.n2.sent), (0, len(CONTENT)))
        self.assert_released(self.cluster)

    def test_a_node_that_fails(self) -> None:
        self.n2.faults.refusing["write"] = Unavailable("it is down")
        outcome = self.fill()
        self.assertEqual((outcome.ok, outcome.also), (True, (b"n3",)))
        self.assertIn("n2: it is down", outcome.reason)
        self.assert_released(self.cluster)

    def test_a_source_that_fails(self) -> None:
        """Another one that has it takes its place."""
        self.hold(self.n3)
        self.scene.knows(self.n1, self.n3)
        self.n1.faults.gives = 500
        outcome = self.fill()
        self.assertEqual((outcome.ok, outcome.also), (True, (b"n2",)))
        self.assertEqual(self.n2.shelf.content[KEY], CONTENT)
        self.assert_released(self.cluster)

    def test_nobody_gives_it(self) -> None:
        self.n1.faults.refusing["read"] = Refused("the disk is broken")
        error = self.assertRaises(Unavailable, self.fill)
        self.assertIn("the disk is broken", str(error))
        self.assertNotIn(KEY, self.n2.shelf.content)
        self.assert_released(self.cluster)

    def test_a_source_with_bad_content(self) -> None:
        """It is not known as that before somebody has refused what it has."""
        self.hold(self.n1, content=CONTENT[:-1] + b"?")
        self.hold(self.n3)
        self.scene.knows(self.n1, self.n3)
        outcome = self.fill()
        self.assertEqual((outcome.ok, outcome.also), (True, (b"n2",)))
        self.assertEqual(self.n2.shelf.content[KEY], CONTENT)
        self.assertEqual(self.scene.log.known[KEY], {b"n1", b"n2", b"n3"})
        self.assert_released(self.cluster)

    def test_the_file_is_told(self) -> None:
        self.result(self.cluster.lacking(KEY, frozenset((b"n1",)), False, b"dir/file"))
        self.result(self.cluster.fill(KEY, self.moved, b"dir/file"))
        self.assertEqual(self.scene.wishes.files, [b"dir/file", b"dir/file"])

    def test_bad_content_goes_nowhere(self) -> None:
        self.hold(self.n1, content=CONTENT[:-1] + b"?")
        outcome = self.fill()
        self.assertFalse(outcome.ok)
        self.assertEqual(self.scene.log.known[KEY], {b"n1"})
        self.assert_released(self.cluster)
