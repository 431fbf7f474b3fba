"""What becomes of trips to a thread that nobody waits for any more."""

from __future__ import annotations

import threading
from typing import Any, Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import Refused
from annexd.flow.workers import InlineWorkers
from annexd.repo.trips import Gate, GatedWorkers, fetch


class LatePool:
    """Does its work when told to, and lets its answer wait."""

    def __init__(self) -> None:
        self.work: list[tuple[Deferred[Any], Callable[[], Any]]] = []

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        answer: Deferred[Any] = Deferred()
        self.work.append((answer, lambda: function(*args, **kwargs)))
        return await answer

    def go(self) -> tuple[Deferred[Any], Any]:
        answer, function = self.work.pop(0)
        return answer, function()


class FetchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pool = LatePool()
        self.returned: list[str] = []

    def start(self) -> Deferred[str]:
        return Deferred.fromCoroutine(fetch(self.pool, lambda: "thing", self.returned.append))

    def test_fetched(self) -> None:
        fetching = self.start()
        answer, got = self.pool.go()
        answer.callback(got)
        self.assertEqual(self.successResultOf(fetching), "thing")
        self.assertEqual(self.returned, [])

    def test_cancelled_before(self) -> None:
        fetching = self.start()
        fetching.cancel()
        self.failureResultOf(fetching, CancelledError)
        self.assertEqual(self.returned, [])
        self.pool.go()
        self.assertEqual(self.returned, ["thing"])

    def test_cancelled_after(self) -> None:
        """The thread is done, but its answer has not arrived."""
        fetching = self.start()
        self.pool.go()
        self.assertEqual(self.returned, [])
        fetching.cancel()
        self.failureResultOf(fetching, CancelledError)
        self.assertEqual(self.returned, ["thing"])

    def test_failed(self) -> None:
        def get() -> str:
            raise Refused("no")

        fetching = Deferred.fromCoroutine(fetch(InlineWorkers().disk, get, self.returned.append))
        self.failureResultOf(fetching, Refused)
        self.assertEqual(self.returned, [])


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
