"""Downloads from a cluster, and questions to it."""

from __future__ import annotations

from annexd.errors import Absent, PeerLost, Refused, Unavailable
from annexd.node import Condition, Health
from annexd.protocol.keys import Key
from annexd.store import Outcome
from tests.support.clusters import CLUSTER, KEY, ClusterCase, Scene, download
from tests.support.nodes import FakeNode
from tests.support.store_contract import CONTENT

_WHOLE = (CONTENT, True)


class FromTheBest(ClusterCase):
    def read_from(self, *nodes: FakeNode) -> str:
        """The name of the node that is read from, of several that have it."""
        self.scene = Scene(*nodes)
        self.hold(*nodes)
        self.scene.knows(*nodes)
        cluster = self.scene.session()
        self.assertEqual(self.get(cluster), _WHOLE)
        self.assert_released(cluster)
        (reader,) = [node for node in nodes if "read" in node.asked]
        return reader.name

    def conditioned(self, name: str, cost: float, condition: Condition) -> FakeNode:
        node = FakeNode(name, cost, is_local=False)
        node.condition = condition
        return node

    def test_local_ones_first(self) -> None:
        self.assertEqual(self.read_from(FakeNode("far", 50, False), FakeNode("near", 100)), "near")

    def test_then_the_cheapest(self) -> None:
        self.assertEqual(self.read_from(FakeNode("a", 200, False), FakeNode("b", 150, False)), "b")

    def test_then_the_idle(self) -> None:
        busy = self.conditioned("busy", 200, Condition(busy=3))
        self.assertEqual(self.read_from(busy, self.conditioned("idle", 200, Condition())), "idle")

    def test_then_the_quickest(self) -> None:
        slow = self.conditioned("slow", 200, Condition(latency_s=0.5))
        unknown = self.conditioned("unknown", 200, Condition())
        quick = self.conditioned("quick", 200, Condition(latency_s=0.1))
        self.assertEqual(self.read_from(slow, unknown, quick), "quick")

    def test_the_healthy_before_the_slow_before_those_that_are_down(self) -> None:
        down = self.conditioned("down", 50, Condition(Health.DOWN))
        slow = self.conditioned("slow", 100, Condition(Health.SLOW))
        up = self.conditioned("up", 200, Condition())
        self.assertEqual(self.read_from(down, slow, up), "up")
        self.assertEqual(self.read_from(down, self.conditioned("slow", 100, Condition(Health.SLOW))), "slow")

    def test_never_a_gateway_for_what_is_here(self) -> None:
        gateway, node = FakeNode("gw", 100, False), FakeNode("n1", 200, False)
        gateway.uuid = CLUSTER
        self.scene = Scene(gateway, node)
        self.scene.ways = [gateway.way(reaches=(b"a",)), node.way()]
        self.scene.log.known[KEY] = {b"a", b"n1"}
        self.hold(gateway, node)
        self.assertEqual(self.get(self.scene.session()), _WHOLE)
        self.assertEqual(gateway.asked, [])

    def test_from_an_offset(self) -> None:
        scene = self.make(1)
        self.hold(*scene.nodes)
        scene.knows(*scene.nodes)
        for offset in (0, 1, len(CONTENT) - 1, len(CONTENT), len(CONTENT) + 9):
            self.assertEqual(self.get(scene.session(), offset), (CONTENT[offset:], True))


class AtOnce(ClusterCase):
    """What disks of this machine have in memory."""

    def setUp(self) -> None:
        self.make(3)
        self.one, self.two, self.three = self.scene.nodes
        for node in self.scene.nodes:
            node.shelf.prompt = True

    def now(self, offset: int = 0) -> bytes | None:
        return self.scene.session().read_now(KEY, offset, b"")

    def test_from_the_best_that_has_it(self) -> None:
        self.assertIsNone(self.now())
        self.hold(self.two, self.three)
        self.hold(self.three, content=b"x" * len(CONTENT))
        self.scene.knows(self.two, self.three)
        for offset in (0, 1, len(CONTENT), len(CONTENT) + 9):
            self.assertEqual(self.now(offset), CONTENT[offset:])
        self.two.cost = 300
        self.assertEqual(self.now(), b"x" * len(CONTENT))

    def test_one_session_sees_what_changes(self) -> None:
        self.hold(self.one, content=b"1" * len(CONTENT))
        self.hold(self.two, content=b"2" * len(CONTENT))
        ways = self.scene.ways = [self.one.way(), self.two.way()]
        cluster = self.scene.session()

        def read() -> bytes | None:
            content = cluster.read_now(KEY, 0, b"")
            return content and content[:1]

        self.assertEqual(read(), b"1")
        self.one.condition = Condition(busy=1)
        self.assertEqual(read(), b"2")
        self.two.condition = Condition(Health.DOWN)
        self.assertEqual(read(), b"1")
        self.two.condition = self.one.condition = Condition()
        self.assertEqual(read(), b"1")
        self.one.is_local = False
        self.assertEqual(read(), b"2")
        self.one.is_local = True
        self.assertEqual(read(), b"1")
        del ways[0]
        self.assertEqual(read(), b"2")
        ways[:] = [self.two.way(), self.three.way()]
        self.assertEqual(read(), b"2")
        del ways[0]
        self.assertIsNone(read())

    def test_who_has_it_but_not_in_memory_is_waited_for(self) -> None:
        self.hold(self.one, self.two)
        self.one.shelf.prompt = False
        self.assertIsNone(self.now())
        self.one.shelf.content.clear()
        self.assertEqual(self.now(), CONTENT)

    def test_content_of_a_wrong_length_is_not_used(self) -> None:
        self.hold(self.one, content=CONTENT[:-1])
        self.hold(self.two)
        self.assertIsNone(self.now())

    def test_nodes_elsewhere_are_waited_for(self) -> None:
        self.one.is_local = self.two.is_local = self.three.is_local = False
        self.hold(self.one)
        self.assertIsNone(self.now())

    def test_the_log_is_set_right_now_and_then(self) -> None:
        self.hold(self.two)
        self.scene.knows(self.one)
        cluster = self.scene.session()
        self.assertEqual(cluster.read_now(KEY, 0, b""), CONTENT)
        self.assertEqual(self.scene.log.known[KEY], {b"n2"})
        self.scene.knows(self.one)
        self.assertEqual(cluster.read_now(KEY, 0, b""), CONTENT)
        self.assertEqual(self.scene.log.known[KEY], {b"n1"})
        self.scene.clock.advance(1)
        self.assertEqual(cluster.read_now(KEY, 0, b""), CONTENT)
        self.assertEqual(self.scene.log.known[KEY], {b"n2"})
        self.assert_released(cluster)


class NextHolder(ClusterCase):
    def setUp(self) -> None:
        self.make(3)
        self.one, self.two, self.three = self.scene.nodes
        self.hold(self.one, self.two)
        self.scene.knows(self.one, self.two)

    def test_after_a_refusal(self) -> None:
        for error in (Refused("no"), Unavailable("down"), PeerLost("gone")):
            self.one.faults.refusing["read"] = error
            self.assertEqual(self.get(self.scene.session()), _WHOLE)
        self.assertEqual(self.scene.log.news, [])

    def test_after_silence(self) -> None:
        self.one.is_local = self.two.is_local = self.three.is_local = False
        self.one.faults.frozen.add("read")
        cluster = self.scene.session(answer=10)
        running = self.start(download(cluster))
        self.assertFalse(running.turn(9).over)
        self.assertEqual(running.turn(1).value(), _WHOLE)
        self.assert_released(cluster)

    def test_after_absence_which_is_recorded(self) -> None:
        self.one.shelf.content.clear()
        self.assertEqual(self.get(self.scene.session()), _WHOLE)
        self.assertEqual(self.scene.log.known[KEY], {b"n2"})

    def test_content_of_a_wrong_length_is_not_used(self) -> None:
        self.hold(self.one, content=CONTENT[:-1])
        self.assertEqual(self.get(self.scene.session()), _WHOLE)

    def test_without_one_in_the_log_all_are_asked(self) -> None:
        self.scene.log.known.clear()
        self.assertEqual(self.get(self.scene.session()), _WHOLE)
        self.assertEqual(self.scene.log.known[KEY], {b"n1"})
        self.assertEqual(self.three.asked, [])  # the first one answered at once

    def test_stale_holders_and_an_unknown_one(self) -> None:
        self.one.shelf.content.clear()
        self.two.shelf.content.clear()
        self.hold(self.three)
        self.assertEqual(self.get(self.scene.session()), _WHOLE)
        self.assertEqual(self.scene.log.known[KEY], {b"n3"})

    def test_nobody_has_it(self) -> None:
        self.one.shelf.content.clear()
        self.two.shelf.content.clear()
        cluster = self.scene.session()
        self.assertRaises(Absent, self.result, cluster.read(KEY, 0, b""))
        self.assertEqual(self.scene.log.known[KEY], set())
        self.assert_released(cluster)

    def test_nobody_has_it_who_can_be_asked(self) -> None:
        self.one.faults.refusing["read"] = Unavailable("it is down")
        self.two.shelf.content.clear()
        error = self.assertRaises(Unavailable, self.result, self.scene.session().read(KEY, 0, b""))
        self.assertIn("n1: it is down", str(error))
        self.assertEqual(self.scene.log.known[KEY], {b"n1"})

    def test_who_says_yes_and_refuses(self) -> None:
        self.scene.log.known.clear()
        self.one.faults.refusing["read"] = Refused("no")
        self.assertEqual(self.get(self.scene.session()), _WHOLE)

    def test_the_log_is_not_touched_while_the_content_arrives(self) -> None:
        self.one.shelf.content.clear()
        self.scene.log.known[KEY] = {b"n2"}
        uploading = self.scene.session()
        writer = self.result(uploading.write(KEY, b""))
        self.scene.log.known[KEY] = {b"n1", b"n2"}
        self.assertEqual(self.get(self.scene.session()), _WHOLE)
        self.assertEqual(self.scene.log.news, [])
        self.result(writer.close())


class HalfWay(ClusterCase):
    def setUp(self) -> None:
        self.make(3)
        self.one, self.two, self.three = self.scene.nodes
        self.hold(*self.scene.nodes)
        self.scene.knows(self.one, self.two)
        self.one.faults.gives = 1000

    def test_another_one_goes_on(self) -> None:
        cluster = self.scene.session()
        self.assertEqual(self.get(cluster), (CONTENT, False))
        self.assert_released(cluster)
        self.assertEqual(self.one.shelf.closings, [(KEY, False)])
        self.assertEqual(self.two.shelf.closings, [(KEY, True)])

    def test_from_an_offset(self) -> None:
        self.assertEqual(self.get(self.scene.session(), 200), (CONTENT[200:], False))

    def test_and_another_one(self) -> None:
        self.two.faults.gives = 100
        self.assertEqual(self.get(self.scene.session()), (CONTENT, False))

    def test_one_that_is_silent(self) -> None:
        self.one.faults.frozen.add("source")
        cluster = self.scene.session(progress=10)
        running = self.start(download(cluster))
        self.assertFalse(running.turn(9).over)
        self.assertEqual(running.turn(1).value(), (CONTENT, False))
        self.assert_released(cluster)

    def test_content_of_another_length_does_not_do(self) -> None:
        key = Key.parse(b"URL--somewhere")
        for node, content in zip(self.scene.nodes, (CONTENT, CONTENT[:-1], CONTENT), strict=True):
            self.hold(node, key=key, content=content)
        self.scene.knows(self.one, self.two, key=key)
        self.assertEqual(self.get(self.scene.session(), key=key), (CONTENT, False))

    def test_no_other_one(self) -> None:
        self.two.shelf.content.clear()
        self.three.faults.refusing["present"] = Unavailable("it is down")
        cluster = self.scene.session()
        self.assertRaises(Unavailable, self.result, download(cluster))
        self.assert_released(cluster)

    def test_the_client_goes_away(self) -> None:
        self.one.faults.frozen.add("source")
        cluster = self.scene.session()
        self.start(download(cluster)).cancel()
        self.assert_released(cluster)

    def test_the_client_goes_away_while_nodes_are_asked(self) -> None:
        self.one.faults.frozen.add("read")
        cluster = self.scene.session()
        self.start(download(cluster)).cancel()
        self.assert_released(cluster)

    def test_one_that_does_not_say_whether_it_was_valid(self) -> None:
        self.one.faults.gives = None
        self.one.faults.refusing["valid"] = PeerLost("gone")
        self.assertEqual(self.get(self.scene.session()), (CONTENT, False))


class Present(ClusterCase):
    def setUp(self) -> None:
        self.make(3)
        self.one, self.two, self.three = self.scene.nodes

    def present(self) -> bool:
        answer = self.result(self.scene.session().present(KEY))
        assert isinstance(answer, bool)
        return answer

    def test_where_the_log_says(self) -> None:
        self.hold(self.two)
        self.scene.knows(self.two)
        self.assertTrue(self.present())
        self.assertEqual([node.asked for node in self.scene.nodes], [[], ["present"], []])
        self.assertEqual(self.scene.log.news, [])

    def test_elsewhere(self) -> None:
        self.hold(self.three)
        self.scene.knows(self.one)
        self.assertTrue(self.present())
        self.assertEqual(self.scene.log.known[KEY], {b"n3"})

    def test_nowhere(self) -> None:
        self.assertFalse(self.present())
        self.scene.knows(self.one)
        self.assertFalse(self.present())
        self.assertEqual(self.scene.log.known[KEY], set())

    def test_in_a_cluster_of_none(self) -> None:
        self.scene.nodes.clear()
        self.assertFalse(self.present())

    def test_a_yes_counts_whoever_else_is_down(self) -> None:
        self.one.faults.refusing["present"] = Unavailable("down")
        self.hold(self.three)
        self.assertTrue(self.present())

    def test_a_no_does_not(self) -> None:
        """As far as one that is down may have it by the log; else clients could send nothing then."""
        self.one.faults.refusing["present"] = Unavailable("it is down")
        self.assertFalse(self.present())
        self.scene.knows(self.one)
        self.assertRaises(Unavailable, self.present)

    def test_a_holder_that_does_not_answer(self) -> None:
        self.one.is_local = self.two.is_local = self.three.is_local = False
        self.one.faults.frozen.add("present")
        self.hold(self.one, self.three)
        self.scene.knows(self.one, self.three)
        cluster = self.scene.session(stagger=0.5)
        running = self.start(cluster.present(KEY))
        self.assertFalse(running.turn(0.4).over)
        self.assertTrue(running.turn(0.1).value())
        self.assert_released(cluster)

    def test_the_only_one_that_has_it_does_not_answer(self) -> None:
        self.one.is_local = False
        self.one.faults.frozen.add("present")
        self.scene.knows(self.one)
        cluster = self.scene.session(answer=10)
        running = self.start(cluster.present(KEY))
        self.assertFalse(running.turn(9).over)
        self.assertRaises(Unavailable, running.turn(1).value)
        self.assertEqual(self.scene.log.known[KEY], {b"n1"})
        self.assert_released(cluster)

    def test_the_client_goes_away(self) -> None:
        self.one.faults.frozen.add("present")
        cluster = self.scene.session()
        self.start(cluster.present(KEY)).cancel()
        self.assert_released(cluster)

    def test_a_gateway_is_not_corrected(self) -> None:
        gateway = FakeNode("gw", 200, False)
        gateway.uuid = CLUSTER
        self.scene.nodes.append(gateway)
        self.scene.ways = [gateway.way(reaches=(b"a", b"b"))]
        self.scene.log.known[KEY] = {b"a"}
        self.assertFalse(self.present())
        self.assertEqual(self.scene.log.news, [])
        self.hold(gateway)
        self.assertTrue(self.present())
        self.assertEqual(self.scene.log.news, [])


class PresentNow(ClusterCase):
    def setUp(self) -> None:
        self.make(3)
        self.one, self.two, self.three = self.scene.nodes

    def now(self) -> bool | None:
        return self.scene.session().present_now(KEY)

    def test_any_has_it(self) -> None:
        self.hold(self.three)
        self.assertIs(self.now(), True)

    def test_none_has_it(self) -> None:
        self.assertIs(self.now(), False)

    def test_somebody_is_far(self) -> None:
        self.two.is_local = False
        self.assertIsNone(self.now())
        self.hold(self.one)
        self.assertIs(self.now(), True)

    def test_somebody_cannot_tell(self) -> None:
        self.one.faults.refusing["present"] = Refused("no")
        self.assertIsNone(self.now())

    def test_a_gateway_counts_as_far(self) -> None:
        self.scene.ways = [self.one.way(), self.two.way(reaches=(b"a",))]
        self.two.is_local = False
        self.assertIsNone(self.now())


class Other(ClusterCase):
    def test_it_cannot_be_locked(self) -> None:
        self.make(1)
        self.hold(*self.scene.nodes)
        self.assertRaises(Refused, self.result, self.scene.session().lock(KEY))

    def test_it_has_no_refs(self) -> None:
        self.make(1)
        self.assertRaises(Refused, self.result, self.scene.session().changes())

    def test_its_name(self) -> None:
        self.make(1)
        self.assertEqual(self.scene.session().uuid, CLUSTER)

    def test_a_node_that_does_not_close(self) -> None:
        self.make(2)
        self.scene.nodes[0].faults.frozen.add("close store")
        cluster = self.scene.session(parting=5)
        self.assertEqual(self.put(cluster), Outcome(True, also=(b"n1", b"n2")))
        closing = self.start(cluster.close())
        self.assertFalse(closing.turn(4).over)
        self.assertTrue(closing.turn(1).over)
