"""What becomes of trips to a thread that nobody waits for any more."""

from __future__ import annotations

import threading
from typing import Any, Callable

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import Refused
from annexd.flow.workers import InlineWorkers
from annexd.repo.trips import Gate, GatedWorkers, fetch


class LatePool:
    """Does its work when told to, and lets its answer wait."""

    def __init__(self) -> None:
        self.work: list[tuple[list[Deferred[Any]], Callable[[], Any]]] = []
        self.at_work = False

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        answer: list[Deferred[Any]] = [Deferred()]
        self.work.append((answer, lambda: function(*args, **kwargs)))
        cancelled = None
        while answer:
            try:
                result = await answer[0]
            except CancelledError as error:
                cancelled, answer[0] = error, Deferred()
        if cancelled is not None:
            raise cancelled
        return result

    async def attempt(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        answer: list[Deferred[Any]] = [Deferred()]
        work = (answer, lambda: function(*args, **kwargs))
        self.work.append(work)
        while answer:
            try:
                result = await answer[0]
            except CancelledError:
                if work in self.work:
                    self.work.remove(work)
                    raise
                answer[0] = Deferred()
        return result

    def go(self) -> Callable[[], None]:
        """Do the next work; its answer arrives when the result is called."""
        answer, function = self.work.pop(0)
        self.at_work = True
        done = maybeDeferred(function)  # type: ignore[arg-type]
        self.at_work = False
        return lambda: done.chainDeferred(answer.pop())


class FetchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pool = LatePool()
        self.returned: list[tuple[str, bool]] = []

    def start(self) -> Deferred[str]:
        def give_back(thing: str) -> None:
            self.returned.append((thing, self.pool.at_work))

        return Deferred.fromCoroutine(fetch(self.pool, lambda: "thing", give_back))

    def test_fetched(self) -> None:
        fetching = self.start()
        self.pool.go()()
        self.assertEqual(self.successResultOf(fetching), "thing")
        self.assertEqual((self.returned, self.pool.work), ([], []))

    def test_cancelled(self) -> None:
        """While the thread is at work, or before its answer has arrived; a thread gives it back, too."""
        for moment in ("before", "after"):
            self.returned.clear()
            fetching = self.start()
            if moment == "before":
                fetching.cancel()
            arrive = self.pool.go()
            fetching.cancel()
            arrive()
            self.assertNoResult(fetching)
            self.pool.go()()
            self.failureResultOf(fetching, CancelledError)
            self.assertEqual(self.returned, [("thing", True)])

    def test_failed(self) -> None:
        def get() -> str:
            raise Refused("no")

        returned: list[str] = []
        fetching = Deferred.fromCoroutine(fetch(InlineWorkers().disk, get, returned.append))
        self.failureResultOf(fetching, Refused)
        self.assertEqual(returned, [])


class GateTests(SynchronousTestCase):
    def test_closing_waits_for_what_is_inside(self) -> None:
        gate = Gate()
        inside, leave, order = threading.Event(), threading.Event(), []

        def work() -> None:
            with gate:
                inside.set()
                leave.wait(10)
                order.append("left")

        def close() -> None:
            gate.close()
            order.append("closed")

        threads = [threading.Thread(target=work), threading.Thread(target=close)]
        threads[0].start()
        self.assertTrue(inside.wait(10))
        threads[1].start()
        leave.set()
        for thread in threads:
            thread.join(10)
        self.assertEqual(order, ["left", "closed"])

    def test_nothing_enters_a_closed_gate(self) -> None:
        gate = Gate()
        workers = GatedWorkers(InlineWorkers(), gate)
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(workers.bulk.run(len, b"abc"))), 3)
        gate.close()
        gate.close()
        for pool in (workers.bulk, workers.disk):
            self.failureResultOf(Deferred.fromCoroutine(pool.run(len, b"abc")), Refused)
