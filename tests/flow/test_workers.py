"""Pools of threads, with the real reactor: threads cannot be had without."""

from __future__ import annotations

import threading

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from annexd.flow.workers import ThreadedPool


class ThreadedPoolTests(TestCase):
    timeout = 10

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.pool = ThreadedPool(reactor, "test", 2)  # type: ignore[arg-type]
        self.addCleanup(self.pool.stop)

    async def test_results_and_errors_come_back(self) -> None:
        self.assertEqual(await self.pool.run(divmod, 7, 2), (3, 1))
        with self.assertRaises(ZeroDivisionError):
            await self.pool.run(divmod, 7, 0)

    async def test_runs_elsewhere(self) -> None:
        self.assertIsNot(await self.pool.run(threading.current_thread), threading.current_thread())

    async def test_a_cancelled_wait_lasts_until_the_work_is_done(self) -> None:
        go, over = threading.Event(), []

        def work() -> None:
            go.wait(5)
            over.append(True)

        async def waiting() -> None:
            try:
                await self.pool.run(work)
            finally:
                self.assertEqual(over, [True])

        wait = Deferred.fromCoroutine(waiting())
        wait.cancel()
        go.set()
        with self.assertRaises(defer.CancelledError):
            await wait
