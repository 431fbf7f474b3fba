"""
Trips to a thread whose traveller may be called back.

Cancelling a wait does not stop the thread, so who is cancelled comes back
when the thread is done.  What it has fetched must be given back then
(`fetch`), and what it works on must not be closed under its hands by somebody
else (`Gate`): the number of a closed descriptor soon names another file.
"""

from __future__ import annotations

import threading
from typing import Callable, ParamSpec, TypeVar

from twisted.internet.defer import CancelledError

from annexd.errors import Refused
from annexd.flow.workers import Pool, Workers

P = ParamSpec("P")
T = TypeVar("T")


async def fetch(pool: Pool, get: Callable[[], T], give_back: Callable[[T], object]) -> T:
    """
    What ``get`` returns.  When nobody waits any more by the time it does,
    ``give_back`` is called with it, in a thread, too.
    """
    got: list[T] = []

    def go() -> T:
        got.append(get())
        return got[0]

    try:
        return await pool.run(go)
    except CancelledError:
        if got:
            await pool.run(give_back, got[0])
        raise


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

    def shut(self) -> None:
        """For whoever is inside: nobody else comes in any more."""
        with self._changed:
            self._closed = True

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

    @property
    def crowded(self) -> bool:
        return self._pool.crowded

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def gated() -> T:
            with self._gate:
                return function(*args, **kwargs)

        return await self._pool.run(gated)

    async def attempt(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def gated() -> T:
            with self._gate:
                return function(*args, **kwargs)

        return await self._pool.attempt(gated)
