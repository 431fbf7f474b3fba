"""Uploads to a cluster."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from annexd.errors import PeerLost, Refused, Unavailable
from annexd.protocol.keys import Key
from annexd.router.limits import without_waits
from annexd.router.ports import Wish
from annexd.store import Outcome
from tests.support.clusters import CLUSTER, KEY, ClusterCase, Scene, send, upload
from tests.support.nodes import FakeNode
from tests.support.store_contract import CONTENT, key_of


class ToAll(ClusterCase):
    def test_every_node_gets_it(self) -> None:
        scene = self.make(3)
        cluster = scene.session()
        outcome = self.put(cluster)
        self.assertEqual(outcome, Outcome(True, also=(b"n1", b"n2", b"n3")))
        for node in scene.nodes:
            self.assertEqual(node.shelf.content[KEY], CONTENT)
            self.assertEqual(node.sent, len(CONTENT))
        self.assertEqual(scene.log.known[KEY], {b"n1", b"n2", b"n3"})
        self.assert_released(cluster)

    def test_it_is_recorded_before_the_client_is_told(self) -> None:
        scene = self.make(2)
        writer = self.result(scene.session().write(KEY, b""))
        self.result(send(writer))
        self.result(writer.commit(True))
        self.assertEqual(scene.log.known[KEY], {b"n1", b"n2"})
        self.result(writer.close())
        self.assertEqual(len(scene.log.news), 2)

    def test_one_node(self) -> None:
        scene = self.make(1)
        self.assertEqual(self.put(scene.session()), Outcome(True, also=(b"n1",)))

    def test_the_file_is_what_wishes_are_about(self) -> None:
        scene = self.make(1)
        self.put(scene.session())
        self.assertEqual(scene.wishes.files, [b"file.txt"])

    def test_nothing_is_content_too(self) -> None:
        scene = self.make(2)
        outcome = self.put(scene.session(), key_of(b""), b"")
        self.assertEqual(outcome.also, (b"n1", b"n2"))

    def test_those_that_have_it_by_the_log_are_asked(self) -> None:
        scene = self.make(3)
        self.hold(*scene.nodes)
        scene.knows(*scene.nodes)
        outcome = self.result(scene.session().write(KEY, b""))
        self.assertEqual(outcome, Outcome(True, also=(b"n1", b"n2", b"n3")))
        self.assertEqual(scene.log.news, [])

    def test_those_that_have_it_by_the_log_alone_get_it(self) -> None:
        scene = self.make(3)
        self.hold(*scene.nodes[:2])
        scene.knows(*scene.nodes)
        self.assertEqual(self.put(scene.session()).also, (b"n1", b"n2", b"n3"))
        self.assertEqual([node.sent for node in scene.nodes], [0, 0, len(CONTENT)])

    def test_those_that_lack_it_are_completed(self) -> None:
        scene = self.make(3)
        one, two, three = scene.nodes
        self.hold(two)
        scene.knows(two)
        outcome = self.put(scene.session())
        self.assertEqual(outcome.also, (b"n1", b"n2", b"n3"))
        self.assertEqual([one.sent, two.sent, three.sent], [len(CONTENT), 0, len(CONTENT)])
        self.assertEqual(scene.log.known[KEY], {b"n1", b"n2", b"n3"})

    def test_what_a_node_has_already_is_recorded(self) -> None:
        scene = self.make(3)
        self.hold(scene.nodes[0])
        outcome = self.put(scene.session())
        self.assertEqual(outcome.also, (b"n1", b"n2", b"n3"))
        self.assertEqual(scene.nodes[0].sent, 0)
        self.assertEqual(scene.log.known[KEY], {b"n1", b"n2", b"n3"})

    def test_all_have_it_already(self) -> None:
        scene = self.make(2)
        self.hold(*scene.nodes)
        cluster = scene.session()
        outcome = self.result(cluster.write(KEY, b""))
        self.assertEqual(outcome, Outcome(True, also=(b"n1", b"n2")))
        self.assertEqual(scene.log.known[KEY], {b"n1", b"n2"})
        self.assert_released(cluster)

    def test_no_ways(self) -> None:
        scene = self.make(0)
        cluster = scene.session()
        self.assertRaises(Unavailable, self.result, cluster.write(KEY, b""))
        self.assert_released(cluster)

    def test_a_location_log_that_cannot_be_written(self) -> None:
        scene = self.make(1)
        scene.log.error = Refused("disk full")
        self.assertTrue(self.put(scene.session()).ok)


class Offsets(ClusterCase):
    def test_each_node_gets_what_it_lacks(self) -> None:
        scene = self.make(3)
        lengths = (1000, 0, len(CONTENT))
        for node, length in zip(scene.nodes, lengths, strict=True):
            if length:
                node.shelf.partial[KEY] = CONTENT[:length]
        outcome = self.put(scene.session())
        self.assertEqual(outcome.also, (b"n1", b"n2", b"n3"))
        self.assertEqual([node.sent for node in scene.nodes], [len(CONTENT) - had for had in lengths])

    def test_the_client_starts_where_the_last_one_is(self) -> None:
        scene = self.make(2)
        for node, length in zip(scene.nodes, (700, 1000), strict=True):
            node.shelf.partial[KEY] = CONTENT[:length]
        cluster = scene.session()
        writer = self.result(cluster.write(KEY, b""))
        self.assertEqual(writer.offset, 700)
        self.result(writer.close())
        self.assertEqual([len(node.shelf.partial[KEY]) for node in scene.nodes], [700, 1000])
        self.assert_released(cluster)

    def test_a_node_with_more_than_the_content_is_left_out(self) -> None:
        scene = self.make(2)
        scene.nodes[0].shelf.partial[KEY] = CONTENT + b"and more"
        outcome = self.put(scene.session())
        self.assertEqual(outcome.also, (b"n2",))
        self.assertIn("longer than the content", outcome.reason)
        self.assertNotIn(KEY, scene.nodes[0].shelf.content)

    def test_a_wrong_partial_costs_its_node_only(self) -> None:
        scene = self.make(2)
        scene.nodes[0].shelf.partial[KEY] = b"?" * 100
        outcome = self.put(scene.session())
        self.assertEqual(outcome.also, (b"n2",))
        self.assertEqual(scene.log.known[KEY], {b"n2"})


class Wanting(ClusterCase):
    def test_only_those_that_want_it(self) -> None:
        scene = self.make(3)
        scene.wishes.wishes = {b"n1": Wish.UNWANTED, b"n3": Wish.FULL}
        self.assertEqual(self.put(scene.session()).also, (b"n2",))
        self.assertEqual(scene.nodes[0].asked, [])

    def test_none_by_preference_means_all(self) -> None:
        scene = self.make(2)
        scene.wishes.wishes = {b"n1": Wish.UNWANTED, b"n2": Wish.UNWANTED}
        self.assertEqual(self.put(scene.session()).also, (b"n1", b"n2"))

    def test_full_means_none(self) -> None:
        scene = self.make(2)
        scene.wishes.wishes = {b"n1": Wish.UNWANTED, b"n2": Wish.FULL}
        cluster = scene.session()
        error = self.assertRaises(Refused, self.result, cluster.write(KEY, b""))
        self.assertIn("no room", str(error))
        self.assertEqual([node.asked for node in scene.nodes], [[], []])
        self.assert_released(cluster)

    def test_those_that_want_it_have_it(self) -> None:
        scene = self.make(2)
        scene.wishes.wishes = {b"n2": Wish.UNWANTED}
        self.hold(scene.nodes[0])
        scene.knows(scene.nodes[0])
        outcome = self.result(scene.session().write(KEY, b""))
        self.assertEqual(outcome, Outcome(True, also=(b"n1",)))


class Failing(ClusterCase):
    def test_an_unreachable_node(self) -> None:
        scene = self.make(3)
        scene.nodes[1].faults.refusing["write"] = Unavailable("it is down")
        cluster = scene.session()
        outcome = self.put(cluster)
        self.assertEqual(outcome.also, (b"n1", b"n3"))
        self.assertEqual(outcome.reason, "n2: it is down")
        self.assertEqual(scene.log.known[KEY], {b"n1", b"n3"})
        self.assert_released(cluster)

    def test_all_are_down(self) -> None:
        scene = self.make(2)
        for node in scene.nodes:
            node.faults.refusing["write"] = Unavailable("it is down")
        cluster = scene.session()
        error = self.assertRaises(Unavailable, self.result, cluster.write(KEY, b""))
        self.assertEqual(str(error), "no node of the cluster takes it: n1, n2: it is down")
        self.assert_released(cluster)

    def test_some_refuse_and_some_are_down(self) -> None:
        scene = self.make(2)
        scene.nodes[0].faults.refusing["write"] = Unavailable("it is down")
        scene.nodes[1].faults.refusing["write"] = Refused("the disk is full")
        error = self.assertRaises(Refused, self.result, scene.session().write(KEY, b""))
        self.assertEqual(str(error), "no node of the cluster takes it: n1: it is down; n2: the disk is full")

    def test_what_cannot_be_completed_is_there_all_the_same(self) -> None:
        scene = self.make(2)
        one, two = scene.nodes
        self.hold(one)
        scene.knows(one)
        two.faults.refusing["write"] = Unavailable("it is down")
        cluster = scene.session()
        self.assertEqual(self.result(cluster.write(KEY, b"")), Outcome(True, also=(b"n1",)))
        one.shelf.content.clear()
        self.assertEqual(self.put(cluster).also, (b"n1",))
        self.assert_released(cluster)

    def test_a_node_that_does_not_answer_costs_one_deadline(self) -> None:
        scene = self.make(3, is_local=False)
        scene.nodes[1].faults.frozen.add("write")
        cluster = scene.session(answer=10)
        running = self.start(upload(cluster))
        self.assertFalse(running.turn(9).over)
        outcome = running.turn(1).value()
        self.assertEqual(outcome.also, (b"n1", b"n3"))
        self.assert_released(cluster)

    def test_a_node_that_dies_half_way(self) -> None:
        scene = self.make(3)
        scene.nodes[0].faults.takes = 900
        cluster = scene.session()
        outcome = self.put(cluster)
        self.assertEqual(outcome.also, (b"n2", b"n3"))
        self.assertIn("n1: the connection was closed", outcome.reason)
        self.assertEqual(scene.nodes[0].shelf.partial[KEY], CONTENT[:900])
        scene.nodes[0].faults.takes = None
        self.assertEqual(self.put(cluster).also, (b"n1", b"n2", b"n3"))
        self.assertEqual([node.sent for node in scene.nodes], [len(CONTENT)] * 3)
        self.assert_released(cluster)

    def test_all_die_half_way(self) -> None:
        scene = self.make(2)
        for node in scene.nodes:
            node.faults.takes = 900
        outcome = self.put(scene.session())
        self.assertEqual(outcome, Outcome(False, reason="n1, n2: the connection was closed"))
        self.assertNotIn(KEY, scene.log.known)

    def test_a_node_that_freezes_half_way(self) -> None:
        scene = self.make(3)
        scene.nodes[0].faults.takes = 900
        scene.nodes[0].faults.frozen.add("sink")
        cluster = scene.session(progress=10, backlog=1000)
        running = self.start(upload(cluster, piece=100))
        self.assertFalse(running.turn(9).over)
        self.assertLessEqual(scene.nodes[1].sent, 900 + 1000 + 100)
        outcome = running.turn(1).value()
        self.assertEqual(outcome.also, (b"n2", b"n3"))
        self.assertIn("n1: it has taken nothing for 10 seconds", outcome.reason)
        self.assertEqual(scene.nodes[0].shelf.partial[KEY], CONTENT[:900])
        self.assert_released(cluster)

    def test_a_frozen_node_holds_nobody_up_within_the_backlog(self) -> None:
        scene = self.make(2)
        scene.nodes[0].faults.takes = 900
        scene.nodes[0].faults.frozen.add("sink")
        running = self.start(upload(scene.session()))
        self.assertEqual(scene.nodes[1].sent, len(CONTENT))
        self.assertEqual(running.turn(10).value().also, (b"n2",))

    def test_what_is_kept_for_slow_nodes_is_bounded_for_all_uploads_together(self) -> None:
        scene = self.make(2)
        frozen, other = scene.nodes
        frozen.faults.takes = 0
        frozen.faults.frozen.add("sink")
        sessions = [scene.session(backlog=1000, backlog_of_all=2500) for _ in range(10)]
        contents = [bytes([number]) * 1800 for number in range(10)]
        running = [
            self.start(upload(session, key_of(content), content, piece=100))
            for session, content in zip(sessions, contents, strict=True)
        ]
        self.assertLessEqual(other.sent, 2500 + 10 * 100)
        running[0].turn(10)
        for one in running:
            self.assertEqual(one.value().also, (b"n2",))
        self.assertEqual(scene.uploads.backlog.bytes, 0)
        self.assert_released(*sessions)

    def test_a_slow_node_is_waited_for(self) -> None:
        scene = self.make(2)
        scene.nodes[0].faults.slow = scene.clock
        running = self.start(upload(scene.session(progress=10, backlog=200), piece=100))
        for _ in range(10):
            self.assertFalse(running.turn(1).over)
        for _ in range(len(CONTENT) // 100):
            running.turn(1)
        self.assertEqual(running.value(), Outcome(True, also=(b"n1", b"n2")))

    def test_a_commit_that_fails(self) -> None:
        scene = self.make(3)
        scene.nodes[0].faults.refusing["commit"] = PeerLost("it went away")
        scene.nodes[1].faults.refusing["commit"] = Refused("the disk is full")
        outcome = self.put(scene.session())
        self.assertEqual(outcome.also, (b"n3",))
        self.assertEqual(outcome.reason, "n1: it went away; n2: the disk is full")
        self.assertEqual(scene.log.known[KEY], {b"n3"})

    def test_a_commit_without_an_answer(self) -> None:
        scene = self.make(2)
        scene.nodes[0].faults.frozen.add("commit")
        cluster = scene.session(commit=60)
        running = self.start(upload(cluster))
        self.assertFalse(running.turn(59).over)
        self.assertEqual(running.turn(2).value().also, (b"n2",))
        self.assert_released(cluster)

    def test_wrong_content(self) -> None:
        scene = self.make(2)
        cluster = scene.session()
        outcome = self.put(cluster, content=CONTENT[:-1] + b"?")
        self.assertFalse(outcome.ok)
        self.assertEqual(outcome.also, ())
        self.assertTrue(outcome.reason)
        self.assertEqual(scene.log.news, [])
        self.assert_released(cluster)

    def test_a_node_that_does_not_let_go(self) -> None:
        scene = self.make(2)
        scene.nodes[0].faults.frozen.add("close")
        cluster = scene.session(parting=5)
        running = self.start(upload(cluster))
        self.assertFalse(running.over)
        self.assertTrue(running.turn(5).value().ok)
        self.assert_released(cluster)

    def test_what_opens_too_late_is_closed(self) -> None:
        scene = self.make(2, is_local=False)
        late = scene.nodes[0]

        async def meet(what: str) -> None:
            try:
                if what == "write":
                    await deferLater(scene.clock, 1000)
            except CancelledError:
                pass  # as a thread that cannot be called off

        late.faults.meet = meet  # type: ignore[method-assign]
        cluster = scene.session(answer=10)
        running = self.start(upload(cluster))
        outcome = running.turn(10).value()
        self.assertEqual(outcome.also, (b"n2",))
        self.assertEqual(late.shelf.open, [])
        self.assertIn("write", late.asked)
        self.assert_released(cluster)


class Cancelled(ClusterCase):
    def test_while_nodes_are_opened(self) -> None:
        scene = self.make(3)
        scene.nodes[1].faults.frozen.add("write")
        cluster = scene.session()
        self.start(upload(cluster)).cancel()
        for node in scene.nodes:
            self.assertEqual(node.shelf.open, [])
        self.assert_released(cluster)

    def test_while_a_node_is_waited_for(self) -> None:
        scene = self.make(2)
        scene.nodes[0].faults.takes = 900
        scene.nodes[0].faults.frozen.add("sink")
        cluster = scene.session(backlog=500)
        running = self.start(upload(cluster, piece=100))
        self.assertFalse(running.over)
        running.cancel()
        self.assertEqual(scene.clock.getDelayedCalls(), [])
        self.assertEqual(scene.nodes[0].shelf.partial[KEY], CONTENT[:900])
        self.assertGreater(len(scene.nodes[1].shelf.partial[KEY]), 900)
        self.assert_released(cluster)

    def test_while_nodes_commit(self) -> None:
        scene = self.make(2)
        scene.nodes[0].faults.frozen.add("commit")
        cluster = scene.session()
        self.start(upload(cluster)).cancel()
        self.assertEqual(scene.log.known[KEY], {b"n2"})
        self.assertEqual(scene.nodes[0].shelf.partial[KEY], CONTENT)
        self.assert_released(cluster)

    def test_the_session_ends_without_more_ado(self) -> None:
        scene = self.make(2)
        cluster = scene.session()
        writer = self.result(cluster.write(KEY, b""))
        writer.announce(len(CONTENT))
        self.result(writer.sink.write(CONTENT[:100]))
        self.result(writer.close())
        self.result(writer.close())
        self.assertEqual([node.shelf.partial[KEY] for node in scene.nodes], [CONTENT[:100]] * 2)
        self.assert_released(cluster)


class SameKey(ClusterCase):
    def test_the_second_finds_it_there(self) -> None:
        scene = self.make(2)
        first, second = scene.session(), scene.session()
        writer = self.result(first.write(KEY, b""))
        waiting = self.start(second.write(KEY, b""))
        self.assertFalse(waiting.over)
        self.result(send(writer))
        self.result(writer.commit(True))
        self.result(writer.close())
        self.assertEqual(waiting.turn().value(), Outcome(True, also=(b"n1", b"n2")))
        self.assertEqual([node.sent for node in scene.nodes], [len(CONTENT)] * 2)
        self.assert_released(first, second)

    def test_the_second_goes_on_where_the_first_failed(self) -> None:
        scene = self.make(2)
        first, second = scene.session(), scene.session()
        writer = self.result(first.write(KEY, b""))
        waiting = self.start(upload(second))
        writer.announce(len(CONTENT))
        self.result(writer.sink.write(CONTENT[:1000]))
        self.result(writer.close())
        self.assertEqual(waiting.turn().value(), Outcome(True, also=(b"n1", b"n2")))
        self.assertEqual([node.sent for node in scene.nodes], [len(CONTENT)] * 2)
        self.assert_released(first, second)

    def test_ten_at_once(self) -> None:
        scene = self.make(3)
        scene.nodes[0].faults.slow = scene.clock
        sessions = [scene.session() for _ in range(10)]
        running = [self.start(upload(session)) for session in sessions]
        for _ in range(10):
            running[0].turn(1)
        for one in running:
            self.assertEqual(one.value(), Outcome(True, also=(b"n1", b"n2", b"n3")))
        self.assertEqual([node.sent for node in scene.nodes], [len(CONTENT)] * 3)
        self.assert_released(*sessions)

    def test_not_for_ever(self) -> None:
        scene = self.make(1)
        first, second, third = (scene.session(same_key=100) for _ in range(3))
        writer = self.result(first.write(KEY, b""))
        waiting = self.start(second.write(KEY, b""))
        self.assertRaises(Refused, waiting.turn(100).value)
        after = self.start(upload(third))
        self.result(writer.close())
        self.assertTrue(after.turn().value().ok)
        self.assert_released(first, second, third)

    def test_one_that_waits_goes_away(self) -> None:
        scene = self.make(1)
        first, second, third = (scene.session() for _ in range(3))
        writer = self.result(first.write(KEY, b""))
        gone, after = self.start(upload(second)), self.start(upload(third))
        gone.cancel()
        self.result(writer.close())
        self.assertTrue(after.turn().value().ok)
        self.assert_released(first, second, third)

    def test_other_keys_do_not_wait(self) -> None:
        scene = self.make(1)
        first, second = scene.session(), scene.session()
        writer = self.result(first.write(KEY, b""))
        self.assertTrue(self.put(second, key_of(b"other"), b"other").ok)
        self.result(writer.close())
        self.assert_released(first, second)


class Beside(ClusterCase):
    """A gateway is never made to wait for another upload of the same: that may wait for this one."""

    def test_nothing_is_sent_and_nothing_claimed(self) -> None:
        scene = self.make(2)
        first, second = scene.session(), scene.session()
        second.bypass((b"other-gateway",))
        writer = self.result(first.write(KEY, b""))
        beside = self.result(second.write(KEY, b""))
        self.assertEqual(beside.offset, len(CONTENT))
        self.result(send(beside))
        self.assertEqual(self.result(beside.commit(True)).also, ())
        self.assertFalse(self.result(beside.recheck()).ok)
        self.result(send(writer))
        self.assertEqual(self.result(writer.commit(True)).also, (b"n1", b"n2"))
        self.assertEqual(self.result(beside.commit(True)), Outcome(True, also=(b"n1", b"n2")))
        self.result(beside.close())
        self.result(writer.close())
        self.assertEqual([node.sent for node in scene.nodes], [len(CONTENT)] * 2)
        self.assert_released(first, second)

    def test_of_unknown_size(self) -> None:
        scene = self.make(1)
        key = Key.parse(b"WORM--file")
        first, second = scene.session(), scene.session()
        second.bypass((b"other-gateway",))
        writer = self.result(first.write(key, b""))
        beside = self.result(second.write(key, b""))
        self.assertEqual(beside.offset, 0)
        self.result(send(beside))
        self.result(writer.close())
        self.assertEqual(scene.nodes[0].sent, 0)
        self.assert_released(first, second)


class Gateways(ClusterCase):
    """``gw`` passes requests on to ``a`` and ``b``."""

    def setUp(self) -> None:
        self.gw = FakeNode("gw", cost=200, is_local=False)
        self.gw.uuid = CLUSTER
        self.near = FakeNode("n1")
        self.scene = Scene(self.near, self.gw)
        self.scene.ways = [
            self.near.way(),
            self.gw.way(reaches=(b"a", b"b"), bypass=(b"g1", b"g2")),
        ]

    def test_what_it_says_is_passed_on(self) -> None:
        self.gw.answers["commit"] = Outcome(True, also=(b"b", CLUSTER, b"a", b"b", b"stranger"))
        outcome = self.put(self.scene.session())
        self.assertEqual(outcome, Outcome(True, also=(b"a", b"b", b"n1")))
        self.assertEqual(self.scene.log.known[KEY], {b"a", b"b", b"n1"})

    def test_it_is_told_whom_to_bypass(self) -> None:
        cluster = self.scene.session()
        cluster.bypass((b"g0",))
        self.put(cluster)
        self.assertEqual(self.scene.bypasses[-1], (b"g0",))
        self.assertEqual(without_waits(self.gw.callers[0].bypass), (b"g1", b"g2"))
        self.assertEqual(self.near.callers[0].bypass, ())

    def test_it_has_it_already(self) -> None:
        self.gw.shelf.content[KEY] = CONTENT
        self.gw.answers["write"] = Outcome(True, also=(b"a", CLUSTER))
        outcome = self.put(self.scene.session())
        self.assertEqual(outcome.also, (b"a", b"n1"))

    def test_it_does_not_say_who(self) -> None:
        self.near.faults.refusing["write"] = Unavailable("it is down")
        outcome = self.put(self.scene.session())
        self.assertEqual(outcome, Outcome(True, reason="n1: it is down"))
        self.assertEqual(self.scene.log.news, [])

    def test_there_is_only_one_whom_it_can_mean(self) -> None:
        self.scene.ways = [self.gw.way(reaches=(b"a",))]
        self.assertEqual(self.put(self.scene.session()).also, (b"a",))

    def test_a_cluster_is_never_named(self) -> None:
        other = CLUSTER[:-1] + b"1"
        self.scene.ways = [self.gw.way(reaches=(b"a", other))]
        self.gw.answers["commit"] = Outcome(True, also=(other, b"a"))
        self.assertEqual(self.put(self.scene.session()).also, (b"a",))
        self.assertEqual(self.scene.log.news, [(b"a", True)])

    def test_one_of_its_nodes_lacks_it(self) -> None:
        self.scene.log.known[KEY] = {b"n1", b"a"}
        self.gw.answers["commit"] = Outcome(True, also=(b"b",))
        self.hold(self.near)
        self.assertEqual(self.put(self.scene.session()).also, (b"b", b"n1"))
        self.assertEqual(self.near.sent, 0)


class Rechecked(ClusterCase):
    def test_by_other_means(self) -> None:
        scene = self.make(2)
        cluster = scene.session()
        writer = self.result(cluster.write(KEY, b""))
        self.hold(scene.nodes[1])
        outcome = self.result(writer.recheck())
        self.result(writer.close())
        self.assertEqual((outcome.ok, outcome.also), (True, (b"n2",)))
        self.assertEqual(scene.log.known[KEY], {b"n2"})
        self.assert_released(cluster)
