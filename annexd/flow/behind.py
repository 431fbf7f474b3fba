"""A file that is hashed and written while its next bytes are still being read."""

from __future__ import annotations

import queue
import threading

from annexd.flow.body import FileSink

_STEP = 256 * 1024
"""Small enough to be hashed while it is in the cache."""

_STEPS = 4
"""So far may reading be ahead of writing."""


class Behind:
    """
    For a thread that reads: ``with Behind(sink) as behind`` fills
    `Behind.room` and tells `Behind.filled` how far.  All has been written when
    the block ends.  A second thread is there only for bytes that come fast.
    """

    def __init__(self, sink: FileSink, most: int) -> None:
        self._sink = sink
        self.room = memoryview(bytearray(min(_STEP, most)))
        self._thread: threading.Thread | None = None
        self._bug: BaseException | None = None
        self._full: queue.SimpleQueue[memoryview | None] = queue.SimpleQueue()
        self._free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()

    def __enter__(self) -> Behind:
        return self

    def filled(self, count: int) -> None:
        """The first ``count`` bytes of `room` are to be written; afterwards that is another one."""
        if self._thread is None and count < _STEP:
            self._sink.write_blocking(self.room[:count])
            return
        if self._thread is None:
            self._start()
        self._full.put(self.room[:count])
        self.room = self._free.get()

    def _start(self) -> None:
        for _ in range(_STEPS - 1):
            self._free.put(memoryview(bytearray(_STEP)))
        self._thread = threading.Thread(target=self._write, name="behind", daemon=True)
        self._thread.start()

    def _write(self) -> None:
        while (data := self._full.get()) is not None:
            try:
                self._sink.write_blocking(data)
            except BaseException as bug:
                self._bug = bug  # whoever reads must not wait for room for ever
            self._free.put(memoryview(data.obj))

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._full.put(None)
            self._thread.join()
        if self._bug is not None:
            raise self._bug
