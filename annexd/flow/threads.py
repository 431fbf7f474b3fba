"""
Threads for blocking work that may never come back: a disk that hangs keeps
the thread that works on it.  So nobody waits for these at the process's end.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Callable, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_Work = Callable[[], None]


class Threads:
    """``most`` at once; each starts when there is work for it and nobody else is idle."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._work: SimpleQueue[_Work | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []
        self._ended = False

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """By one thread only.  The future is done in the thread that does the work."""
        if self._ended:
            raise RuntimeError("these threads have been ended")
        job: Future[T] = Future()

        def work() -> None:
            if job.set_running_or_notify_cancel():
                _do(job, function, *args, **kwargs)

        self._work.put(work)
        if not self._idle.acquire(blocking=False) and len(self._threads) < self._most:
            self._start()
        return job

    @property
    def waiting(self) -> int:
        """How much work no thread has begun."""
        return self._work.qsize()

    def stop(self, seconds: float) -> bool:
        """
        Do what has been submitted, for ``seconds`` at most, and end: those
        that hang by then are left behind.  Have all ended?
        """
        self._ended = True
        for _ in self._threads:
            self._work.put(None)
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _start(self) -> None:
        name = f"{self._name}_{len(self._threads)}"
        thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work  # nothing is kept alive by a thread that waits
            self._idle.release()


def _do(job: Future[T], function: Callable[..., T], *args: Any, **kwargs: Any) -> None:
    try:
        result = function(*args, **kwargs)
    except BaseException as error:
        job.set_exception(error)
    else:
        job.set_result(result)
