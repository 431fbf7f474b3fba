"""A file that is hashed and written while its next bytes are still being read."""

from __future__ import annotations

import queue
import threading

from annexd.flow.body import FileSink

_STEP = 128 * 1024
"""
Small enough to be hashed while it is in the cache.  What is written begins and
ends at multiples of this, which spares file systems a fifth of their work.
"""

_STEPS = 24
"""
So far may reading be ahead of writing: as much as arrives while whoever writes
waits for its turn on a processor, so that neither of them waits for the other.
"""


class Behind:
    """
    For a thread that reads: ``with Behind(sink, most) as behind`` fills
    `Behind.room` from its beginning and tells `Behind.filled` how far.  All has
    been written when the block ends.  A second thread is there only for bytes
    that come fast.
    """

    def __init__(self, sink: FileSink, most: int) -> None:
        self._sink = sink
        self._piece = memoryview(bytearray(min(_STEP, most)))[: _STEP - sink.offset % _STEP]
        self._count = 0
        self._made = 1
        self._thread: threading.Thread | None = None
        self._bug: BaseException | None = None
        self._full: queue.SimpleQueue[memoryview | None] = queue.SimpleQueue()
        self._free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()

    def __enter__(self) -> Behind:
        return self

    @property
    def room(self) -> memoryview:
        """Never empty."""
        return self._piece[self._count :]

    def filled(self, count: int) -> None:
        """The first ``count`` bytes of `room` are there."""
        self._count += count
        if self._count == len(self._piece):
            self._pass_on()

    def _pass_on(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="behind", daemon=True)
            self._thread.start()
        self._full.put(self._piece)
        self._piece, self._count = self._another(), 0

    def _another(self) -> memoryview:
        if self._made < _STEPS and self._free.empty():
            self._made += 1
            return memoryview(bytearray(_STEP))
        return self._free.get()

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
        if self._count:
            self._sink.write_blocking(self._piece[: self._count])
