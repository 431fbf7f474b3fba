from __future__ import annotations

from typing import Any, Callable

from twisted.internet.defer import Deferred
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
    def test_sweeps_what_was_added(self) -> None:
        swept: list[bytes] = []
        sweeper = Sweeper(InlineWorkers().disk)
        for round in (b"a", b"b"):
            sweeper.add(round)
            sweeper.start(swept.append)
        self.assertEqual(swept, [b"a", b"b"])
        self.successResultOf(Deferred.fromCoroutine(sweeper.done()))

    def test_what_comes_meanwhile_is_swept_too(self) -> None:
        swept: list[bytes] = []
        pool = SlowPool()
        sweeper = Sweeper(pool)
        sweeper.add(b"a")
        sweeper.start(swept.append)
        done = Deferred.fromCoroutine(sweeper.done())
        sweeper.add(b"b")
        sweeper.start(swept.append)
        self.assertEqual(len(pool.jobs), 1)
        self.assertNoResult(done)
        pool.work()
        self.assertNoResult(done)
        sweeper.add(b"c")
        pool.work()
        self.assertEqual(swept, [b"a", b"b"])
        self.successResultOf(done)
        pool.work()
        self.assertEqual(swept, [b"a", b"b", b"c"])

    def test_a_directory_that_cannot_be_removed_stops_nothing(self) -> None:
        swept: list[bytes] = []

        def sweep(path: bytes) -> None:
            if path == b"a":
                raise PermissionError
            swept.append(path)

        sweeper = Sweeper(InlineWorkers().disk)
        sweeper.add(b"a")
        sweeper.add(b"b")
        sweeper.start(sweep)
        self.assertEqual(swept, [b"b"])
