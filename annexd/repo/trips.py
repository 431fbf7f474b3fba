"""
Trips to a thread whose traveller may be called back.

Cancelling a wait does not stop the thread.  What it was fetching must then be
given back by the thread itself (`fetch`), and what it works on must not be
closed under its hands (`Gate`): the number of a closed descriptor soon names
another file.
"""

from __future__ import annotations

import threading
from typing import Callable, Generic, ParamSpec, TypeVar

from annexd.errors import Refused
from annexd.flow.workers import Pool, Workers

P = ParamSpec("P")
T = TypeVar("T")


async def fetch(pool: Pool, get: Callable[[], T], give_back: Callable[[T], object]) -> T:
    """
    What ``get`` returns.  When nobody waits any more by the time it does,
    ``give_back`` is called with it, in the thread.
    """
    errand = _Errand(get, give_back)
    try:
        return await pool.run(errand.go)
    except BaseException:
        # Cancelled, or ``get`` failed: then there is nothing to give back.
        errand.forget()
        raise


class _Errand(Generic[T]):
    def __init__(self, get: Callable[[], T], give_back: Callable[[T], object]) -> None:
        self._get = get
        self._give_back = give_back
        self._lock = threading.Lock()
        self._got: list[T] = []
        self._forgotten = False

    def go(self) -> T:
        got = self._get()
        with self._lock:
            self._got.append(got)
            forgotten = self._forgotten
        if forgotten:
            self._give_back(got)
        return got

    def forget(self) -> None:
        with self._lock:
            self._forgotten = True
            late = bool(self._got)
        if late:
            # The thread was done, only the reactor had not heard of it yet.  This is rare and short.
            self._give_back(self._got[0])


class Gate:
    """Lets work in until it is closed; closing waits until everything that is inside has left."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False

    def __enter__(self) -> None:
        with self._changed:
            if self._closed:
                raise Refused("the transfer is over")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """For a thread.  Only work that runs already is waited for, never work that waits for a thread."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: self._inside == 0)


class GatedWorkers:
    """The same workers, but all that they do goes through a gate."""

    def __init__(self, workers: Workers, gate: Gate) -> None:
        self.disk: Pool = _GatedPool(workers.disk, gate)
        self.bulk: Pool = _GatedPool(workers.bulk, gate)


class _GatedPool:
    def __init__(self, pool: Pool, gate: Gate) -> None:
        self._pool = pool
        self._gate = gate

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def gated() -> T:
            with self._gate:
                return function(*args, **kwargs)

        return await self._pool.run(gated)
