"""Pools of threads, with the real reactor: threads cannot be had without."""

from __future__ import annotations

import threading

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from annexd.flow.workers import ThreadedPool


class ThreadedPoolTests(TestCase):
    timeout = 120

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

    async def test_an_attempt_that_is_called_off_in_time_never_begins(self) -> None:
        go, begun = threading.Event(), []
        busy = [Deferred.fromCoroutine(self.pool.run(go.wait, 5)) for _ in range(2)]
        attempt = Deferred.fromCoroutine(self.pool.attempt(begun.append, True))
        attempt.cancel()
        with self.assertRaises(defer.CancelledError):
            await attempt
        go.set()
        for one in busy:
            await one
        await self.pool.run(int)
        self.assertEqual(begun, [])

    async def test_an_attempt_that_is_called_off_too_late_has_its_result(self) -> None:
        begun, go = threading.Event(), threading.Event()

        def work() -> str:
            begun.set()
            go.wait(5)
            return "done"

        attempt = Deferred.fromCoroutine(self.pool.attempt(work))
        await self.pool.run(begun.wait, 5)
        attempt.cancel()
        go.set()
        self.assertEqual(await attempt, "done")

    async def test_what_hangs_is_left_behind(self) -> None:
        from twisted.internet import reactor

        pool = ThreadedPool(reactor, "hangs", 2)  # type: ignore[arg-type]
        begun, go = threading.Event(), threading.Event()

        def hang() -> None:
            begun.set()
            go.wait(60)

        hanging = Deferred.fromCoroutine(pool.run(hang))
        await pool.run(begun.wait, 5)
        self.assertFalse(pool.stop(0.05))
        go.set()
        await hanging
        self.assertTrue(pool.stop(5))

    async def test_crowded_while_something_waits_for_a_thread(self) -> None:
        go = threading.Event()
        jobs = [Deferred.fromCoroutine(self.pool.run(go.wait, 5)) for _ in range(3)]
        self.assertTrue(self.pool.crowded)
        go.set()
        for job in jobs:
            await job
        self.assertFalse(self.pool.crowded)
