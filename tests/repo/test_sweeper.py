from __future__ import annotations

from typing import Any, Callable

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from annexd.flow.workers import InlineWorkers
from annexd.repo.sweeper import Sweeper


class SlowPool:
    """Does the work when it is told to."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        done: Deferred[Any] = Deferred()
        self.jobs.append((lambda: function(*args, **kwargs), done))
        return await done

    def work(self) -> None:
        job, done = self.jobs.pop()
        done.callback(job())


class SweeperTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.swept: list[bytes] = []

    def sweeper(self, pool: Any = None, sweep: Callable[[bytes], None] | None = None) -> Sweeper:
        return Sweeper(self.clock, pool or InlineWorkers().disk, sweep or self.swept.append)

    def test_sweeps_when_it_is_quiet(self) -> None:
        sweeper = self.sweeper()
        for path in (b"a", b"b"):
            sweeper.add(path)
            sweeper.start()
            self.clock.advance(0.15)
        self.assertEqual(self.swept, [])
        self.clock.advance(0.1)
        self.assertEqual(self.swept, [b"a", b"b"])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.successResultOf(Deferred.fromCoroutine(sweeper.done()))

    def test_not_put_off_for_ever(self) -> None:
        sweeper = self.sweeper()
        paths = [b"%d" % number for number in range(1500)]
        for path in paths:
            sweeper.add(path)
            sweeper.start()
        self.assertEqual(self.swept, paths[:1001])
        self.clock.advance(0.2)
        self.assertEqual(self.swept, paths)

    def test_done_waits_for_no_pause(self) -> None:
        sweeper = self.sweeper()
        sweeper.add(b"a")
        sweeper.start()
        self.successResultOf(Deferred.fromCoroutine(sweeper.done()))
        self.assertEqual((self.swept, self.clock.getDelayedCalls()), ([b"a"], []))

    def test_what_comes_meanwhile_is_swept_too(self) -> None:
        pool = SlowPool()
        sweeper = self.sweeper(pool)
        sweeper.add(b"a")
        done = Deferred.fromCoroutine(sweeper.done())
        sweeper.add(b"b")
        sweeper.start()
        self.assertEqual(len(pool.jobs), 1)
        self.assertNoResult(done)
        pool.work()
        self.assertNoResult(done)
        sweeper.add(b"c")
        pool.work()
        self.assertEqual(self.swept, [b"a", b"b"])
        self.successResultOf(done)
        pool.work()
        self.assertEqual(self.swept, [b"a", b"b", b"c"])

    def test_done_while_the_last_is_swept(self) -> None:
        pool = SlowPool()
        sweeper = self.sweeper(pool)
        sweeper.add(b"a")
        first = Deferred.fromCoroutine(sweeper.done())
        second = Deferred.fromCoroutine(sweeper.done())
        pool.work()
        self.successResultOf(first)
        self.successResultOf(second)
        self.successResultOf(Deferred.fromCoroutine(sweeper.done()))

    def test_a_bug_is_logged_and_keeps_nobody_waiting(self) -> None:
        def sweep(path: bytes) -> None:
            raise ValueError

        sweeper = self.sweeper(sweep=sweep)
        sweeper.add(b"a")
        self.successResultOf(Deferred.fromCoroutine(sweeper.done()))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_a_directory_that_cannot_be_removed_stops_nothing(self) -> None:
        def sweep(path: bytes) -> None:
            if path == b"a":
                raise PermissionError
            self.swept.append(path)

        sweeper = self.sweeper(sweep=sweep)
        sweeper.add(b"a")
        sweeper.add(b"b")
        sweeper.start()
        self.clock.advance(0.2)
        self.assertEqual(self.swept, [b"b"])
