"""How long a cluster waits for whom."""

from __future__ import annotations

import unittest

from annexd.node import Allowance, Condition
from annexd.router.limits import Limits
from tests.support.nodes import FakeNode

LIMITS = Limits(answer=35, disk=300, removal=95, progress=20)


class OfNodes(unittest.TestCase):
    def assert_given(self, node: FakeNode, answer: float, removal: float, progress: float) -> None:
        given = LIMITS.for_answer(node), LIMITS.for_removal(node), LIMITS.for_progress(node)
        self.assertEqual(given, (answer, removal, progress))

    def test_as_others(self) -> None:
        self.assert_given(FakeNode("far", is_local=False), 35, 95, 20)
        self.assert_given(FakeNode("here"), 300, 300, 20)

    def test_one_that_needs_longer(self) -> None:
        node = FakeNode("onion", is_local=False)
        node.allowance = Allowance(answer=125, progress=65)
        self.assert_given(node, 125, 185, 65)

    def test_an_upload_does_not_wait_for_one_that_is_not_known_yet(self) -> None:
        node = FakeNode("onion", is_local=False)
        node.allowance = Allowance(answer=65, progress=65)
        self.assertEqual(LIMITS.for_opening(node), 35)
        node.condition = Condition(latency_s=0.1)
        self.assertEqual(LIMITS.for_opening(node), 65)
        self.assertEqual(LIMITS.for_opening(FakeNode("here")), 300)

    def test_never_less_than_others(self) -> None:
        node = FakeNode("onion", is_local=False)
        node.allowance = Allowance(answer=5, progress=5)
        self.assert_given(node, 35, 95, 20)
