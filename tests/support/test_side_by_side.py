"""What runs the tests does not let one that fails go unseen."""

from __future__ import annotations

import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.support.side_by_side import Outcome, outcomes

PASSED = "tests.x\n  X\n    test_y ...  [OK]\n\nRan 12 tests in 0.034s\n\nPASSED (successes=12)\n"


def program(text: str, lane: int) -> list[str]:
    """A part that is a program, for there are enough trials in this one."""
    return [sys.executable, "-S", "-c", f"lane = {lane}\n{text}"]


class Outcomes(SynchronousTestCase):
    def test_passed(self) -> None:
        outcome = Outcome("tests.x", 0, 1.25, PASSED)
        self.assertTrue(outcome.passed)
        self.assertEqual(outcome.report(), "ok        1.2 s    12 tests  tests.x")

    def test_failed(self) -> None:
        outcome = Outcome("tests.x", 1, 1.0, PASSED)
        self.assertFalse(outcome.passed)
        self.assertIn(PASSED.rstrip(), outcome.report())

    def test_no_tests(self) -> None:
        """A name that has come to mean nothing, or a trial that died."""
        for said in ("", "Ran 0 tests in 0.000s\n\nPASSED\n"):
            self.assertFalse(Outcome("tests.x", 0, 1.0, said).passed)


class Running(SynchronousTestCase):
    def test_each_once(self) -> None:
        parts = [f"import sys; print({number}); sys.exit({number})" for number in range(4)]
        found = list(outcomes(parts, 2, program))
        self.assertEqual({outcome.part for outcome in found}, set(parts))
        self.assertEqual(
            {(outcome.code, outcome.said) for outcome in found}, {(n, f"{n}\n") for n in range(4)}
        )

    def test_at_the_same_time(self) -> None:
        """Each of two waits for what the other does, and has a lane of its own."""
        meet = "import os; open(f'{lane}', 'w').close()\nwhile not os.path.exists(f'{3 - lane}'): pass"
        self.assertEqual([outcome.code for outcome in outcomes([meet, meet], 2, program)], [0, 0])
