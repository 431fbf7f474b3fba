"""How long a turn lasts."""

from __future__ import annotations

from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from annexd.flow import loan, workers
from annexd.flow.loan import is_over
from annexd.flow.workers import InlineWorkers


class Turns(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 1000.0
        self.patch(loan, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.pool = InlineWorkers().bulk
        self.began = self.now

    def after(self, seconds: float) -> tuple[bool, bool]:
        """Of a short one, and of one that may be long."""
        self.now = self.began + seconds
        return is_over(self.began), is_over(self.began, self.pool)

    def test_a_long_one_goes_on_while_nobody_waits(self) -> None:
        self.assertEqual(self.after(loan.TURN_S - 0.01), (False, False))
        self.assertEqual(self.after(loan.TURN_S + 0.01), (True, False))

    def test_it_ends_when_somebody_waits(self) -> None:
        self.patch(self.pool, "crowded", True)
        self.assertEqual(self.after(loan.TURN_S - 0.01), (False, False))
        self.assertEqual(self.after(loan.TURN_S + 0.01), (True, True))

    def test_it_ends_before_its_thread_is_given_up(self) -> None:
        self.assertEqual(self.after(workers._PARTING_S / 2), (True, True))
