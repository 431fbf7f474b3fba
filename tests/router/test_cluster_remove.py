"""Removal from a cluster, in time and at any time."""

from __future__ import annotations

from twisted.internet.task import deferLater

from annexd.errors import PeerLost, Refused, Unavailable
from annexd.store import Outcome
from tests.support.clusters import CLUSTER, KEY, ClusterCase, send, upload
from tests.support.nodes import FakeNode


class Case(ClusterCase):
    def setUp(self) -> None:
        self.make(3)
        self.one, self.two, self.three = self.scene.nodes
        self.hold(*self.scene.nodes)
        self.scene.knows(*self.scene.nodes)

    def remove(self, before: int | None = None) -> Outcome:
        outcome = self.result(self.scene.session().remove(KEY, before))
        assert isinstance(outcome, Outcome)
        return outcome


class AtAnyTime(Case):
    def test_from_all(self) -> None:
        self.assertEqual(self.remove(), Outcome(True, also=(b"n1", b"n2", b"n3")))
        self.assertEqual(self.scene.log.known[KEY], set())
        self.assertEqual([node.shelf.content for node in self.scene.nodes], [{}, {}, {}])

    def test_whatever_the_log_says(self) -> None:
        self.scene.log.known.clear()
        self.assertTrue(self.remove().ok)
        self.assertEqual([node.shelf.content for node in self.scene.nodes], [{}, {}, {}])

    def test_what_nobody_has(self) -> None:
        for node in self.scene.nodes:
            node.shelf.content.clear()
        self.assertTrue(self.remove().ok)

    def test_one_is_down(self) -> None:
        self.two.faults.refusing["remove"] = Unavailable("it is down")
        self.assertEqual(self.remove(), Outcome(False, also=(b"n1", b"n3"), reason="n2: it is down"))
        self.assertEqual(self.scene.log.known[KEY], {b"n2"})

    def test_one_is_down_that_never_had_it(self) -> None:
        self.scene.knows(self.one, self.three)
        self.two.faults.refusing["remove"] = PeerLost("it is down")
        self.assertEqual(self.remove(), Outcome(True, also=(b"n1", b"n3")))

    def test_one_is_down_that_may_just_get_it(self) -> None:
        self.scene.knows(self.one, self.three)
        self.two.shelf.content.clear()
        writer = self.result(self.scene.session().write(KEY, b""))
        self.two.faults.refusing["remove"] = PeerLost("it is down")
        self.assertFalse(self.remove().ok)
        self.result(writer.close())

    def test_one_refuses(self) -> None:
        self.scene.knows(self.one, self.three)
        self.two.faults.refusing["remove"] = Refused("it is read-only")
        self.assertEqual(self.remove(), Outcome(False, also=(b"n1", b"n3"), reason="n2: it is read-only"))

    def test_all_refuse(self) -> None:
        for node in self.scene.nodes:
            node.faults.refusing["remove"] = Refused("it is read-only")
        error = self.assertRaises(Refused, self.remove)
        self.assertEqual(str(error), "n1, n2, n3: it is read-only")
        self.assertEqual(self.scene.log.news, [])

    def test_all_are_down(self) -> None:
        self.scene.log.known.clear()
        for node in self.scene.nodes:
            node.faults.refusing["remove"] = Unavailable("it is down")
        self.assertRaises(Unavailable, self.remove)

    def test_one_does_not_answer(self) -> None:
        self.two.is_local = False
        self.two.faults.frozen.add("remove")
        cluster = self.scene.session(removal=60)
        running = self.start(cluster.remove(KEY))
        self.assertFalse(running.turn(59).over)
        self.assertEqual(running.turn(1).value().also, (b"n1", b"n3"))
        self.assertEqual(self.scene.log.known[KEY], {b"n2"})
        self.assert_released(cluster)

    def test_the_client_goes_away(self) -> None:
        self.two.faults.frozen.add("remove")
        cluster = self.scene.session()
        self.start(cluster.remove(KEY)).cancel()
        self.assertEqual(self.scene.log.known[KEY], {b"n2"})
        self.assert_released(cluster)

    def test_so_many_at_once(self) -> None:
        under_way, most = 0, 0

        async def meet(what: str) -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await deferLater(self.scene.clock, 1)
            under_way -= 1

        for node in self.scene.nodes:
            node.faults.meet = meet  # type: ignore[method-assign]
        running = self.start(self.scene.session(jobs=2).remove(KEY))
        self.assertTrue(running.turn(1).turn(1).value().ok)
        self.assertEqual(most, 2)


class Meanwhile(Case):
    """Somebody uploads what somebody else removes."""

    def setUp(self) -> None:
        super().setUp()
        self.uploading = self.scene.session(commit=60)
        self.removing = self.scene.session()

    def test_it_is_removed_where_it_has_come_already(self) -> None:
        self.scene.log.known.clear()
        for node in self.scene.nodes:
            node.shelf.content.clear()
        self.one.faults.frozen.add("commit")
        running = self.start(upload(self.uploading))
        self.assertIn(KEY, self.two.shelf.content)
        self.assertTrue(self.result(self.removing.remove(KEY)).ok)
        self.hold(self.three)
        outcome = running.turn(61).value()
        self.assertEqual((outcome.ok, outcome.also), (True, (b"n3",)))
        self.assertEqual(self.scene.log.known[KEY], {b"n3"})
        self.assert_released(self.uploading, self.removing)

    def test_it_is_removed_everywhere(self) -> None:
        self.scene.log.known.clear()
        for node in self.scene.nodes:
            node.shelf.content.clear()
        self.one.faults.frozen.add("commit")
        running = self.start(upload(self.uploading))
        self.assertTrue(self.result(self.removing.remove(KEY)).ok)
        outcome = running.turn(61).value()
        self.assertEqual((outcome.ok, outcome.also), (False, ()))
        self.assertEqual(self.scene.log.known[KEY], set())

    def test_a_removal_does_not_record_what_is_no_more_so(self) -> None:
        self.two.shelf.content.clear()
        self.scene.knows(self.one, self.three)
        writer = self.result(self.uploading.write(KEY, b""))
        self.one.faults.frozen.add("remove")
        running = self.start(self.removing.remove(KEY))
        self.result(send(writer))
        self.assertEqual(self.result(writer.commit(True)).also, (b"n2",))
        self.result(writer.close())
        self.assertFalse(running.turn(300).value().ok)
        self.assertEqual(self.scene.log.known[KEY], {b"n1", b"n2"})
        self.assert_released(self.uploading, self.removing)

    def test_an_upload_waits_for_a_removal(self) -> None:
        self.one.faults.frozen.add("remove")
        removal = self.start(self.removing.remove(KEY))
        running = self.start(upload(self.uploading))
        self.assertFalse(running.over)
        removal.cancel()
        self.assertEqual(running.turn().value().also, (b"n1", b"n2", b"n3"))
        self.assertEqual(self.scene.log.known[KEY], {b"n1", b"n2", b"n3"})
        self.assert_released(self.uploading, self.removing)


class Gateways(Case):
    def setUp(self) -> None:
        super().setUp()
        self.gw = FakeNode("gw", is_local=False)
        self.gw.uuid = CLUSTER
        self.scene.nodes.append(self.gw)
        self.scene.ways = [self.one.way(), self.gw.way(reaches=(b"a", b"b"))]
        self.scene.log.known[KEY] = {b"n1", b"a"}

    def test_what_it_says_is_passed_on(self) -> None:
        self.gw.answers["remove"] = Outcome(False, also=(b"b", CLUSTER))
        self.hold(self.gw)
        self.assertEqual(self.remove(), Outcome(False, also=(b"b", b"n1"), reason="gw: it does not say why"))
        self.assertEqual(self.scene.log.known[KEY], {b"a"})

    def test_a_plain_success_is_about_all(self) -> None:
        self.assertEqual(self.remove(), Outcome(True, also=(b"a", b"b", b"n1")))
        self.assertEqual(self.scene.log.known[KEY], set())


class ForAnotherGateway(Case):
    """Which would not wait for us as long as a client does."""

    def test_one_that_does_not_answer_is_not_waited_for_as_long(self) -> None:
        self.scene.knows(self.two)
        self.two.is_local = False
        self.two.faults.frozen.add("remove")
        cluster = self.scene.session(removal=60.0, outer_answer=10.0)
        cluster.bypass((b"other-gateway",))
        removal = self.start(cluster.remove(KEY))
        self.scene.clock.advance(6.6)
        self.assertFalse(removal.over)
        self.scene.clock.advance(0.2)
        self.assertEqual(removal.value().also, (b"n1", b"n3"))


class InTime(Case):
    """The gateway's clock shows 5000, those of the nodes 1000, 90000 and 3."""

    def setUp(self) -> None:
        super().setUp()
        for node, now in zip(self.scene.nodes, (1000, 90000, 3), strict=True):
            node.shelf.now = lambda now=now: now + int(self.scene.clock.seconds())  # type: ignore[misc]

    def test_its_own_clock(self) -> None:
        self.assertEqual(self.result(self.scene.session().timestamp()), 5000)
        self.assertEqual([node.asked for node in self.scene.nodes], [[], [], []])

    def test_in_time(self) -> None:
        self.assertEqual(self.remove(5001), Outcome(True, also=(b"n1", b"n2", b"n3")))

    def test_too_late(self) -> None:
        for late in (5000, 4999, 0):
            self.assertFalse(self.remove(late).ok)
        self.assertEqual(self.scene.log.known[KEY], {b"n1", b"n2", b"n3"})

    def test_a_part_of_a_second_is_none(self) -> None:
        self.scene.boot += 0.5
        self.assertFalse(self.remove(5001).ok)
        self.assertTrue(self.remove(5002).ok)

    def test_no_node_is_told_of_a_time_before_its_own(self) -> None:
        self.remove(4990)
        self.assertEqual([node.befores for node in self.scene.nodes], [[990], [89990], [0]])

    def test_what_nobody_has_is_gone_at_any_time(self) -> None:
        for node in self.scene.nodes:
            node.shelf.content.clear()
        self.assertTrue(self.remove(0).ok)

    def test_the_way_to_a_node_counts_as_time(self) -> None:
        async def meet(what: str) -> None:
            await deferLater(self.scene.clock, 4)

        self.two.faults.meet = meet  # type: ignore[method-assign]
        running = self.start(self.scene.session().remove(KEY, 5004))
        outcome = running.turn(4).turn(4).value()
        self.assertEqual(outcome.also, (b"n1", b"n3"))
        self.assertIn(KEY, self.two.shelf.content)

    def test_a_node_that_was_started_again(self) -> None:
        cluster = self.scene.session()
        self.result(cluster.timestamp())
        self.two.shelf.now = lambda: 7
        self.scene.boot += 600
        self.assertFalse(self.result(cluster.remove(KEY, 5599)).ok)
        self.assertIn(KEY, self.two.shelf.content)

    def test_a_node_that_refuses_to_tell_its_time(self) -> None:
        self.two.faults.refusing["timestamp"] = Refused("its protocol is too old")
        self.assertEqual(self.remove(5001).also, (b"n1", b"n3"))
        self.assertIn(KEY, self.two.shelf.content)

    def test_a_node_that_cannot_be_asked_for_its_time(self) -> None:
        self.two.faults.refusing["timestamp"] = Unavailable("it is down")
        self.assertEqual(self.remove(5001), Outcome(False, also=(b"n1", b"n3"), reason="n2: it is down"))
