"""A file that is read, hashed and written by two threads at once, which take turns at it."""

from __future__ import annotations

import enum
import threading
from collections import deque
from typing import Callable

from annexd.flow.body import FileSink
from annexd.flow.loan import Turn

_STEP = 512 * 1024
"""Large enough that the two have little to say to each other: each word may cost a wait for a processor."""

_STEPS = 32
"""
So far may reading be ahead of writing: as much as arrives while whoever writes
waits for its turn on a processor, so that neither of them waits for the other.
They come one by one, when there is none to be used again.
"""

_PART = 256 * 1024
"""
Small enough to be hashed while it is in the cache, and for a file system to find
memory for it at once.  What is written begins and ends at multiples of this,
which spares file systems a fifth of their work.
"""

Fill = Callable[[memoryview, int], tuple[int, "Turn | None"]]
"""
Reads into a piece, which is never empty: how many bytes, and why the turn ends,
or `None` when the piece is full and more is to be read.  It is told how many
bytes the turn has moved before.
"""


class _Act(enum.Enum):
    READ = enum.auto()
    WRITE = enum.auto()


class Abreast:
    """
    ``Abreast(fill, sink, most).run()`` reads ``most`` bytes, or until ``fill``
    ends the turn, and has written all of them when it is done.

    Only one thread at a time reads, and only one writes; which of the two does
    what is not settled, as one of them may have to share its processor with
    whoever sends.  Each goes on with what it did last, but where the other has
    to wait for it, they change places.  So the one that gets on faster does
    more, and none of the processors is idle while there is something to do.
    The second thread is there only for bytes that come fast.
    """

    def __init__(self, fill: Fill, sink: FileSink, most: int) -> None:
        self.moved = 0
        self.turn = Turn.OVER
        self._fill = fill
        self._sink = sink
        self._most = most
        self._first = _PART - sink.offset % _PART
        self._made = 0
        self._free: list[memoryview] = []
        self._full: deque[memoryview] = deque()
        self._under_way: set[_Act] = set()
        self._read_all = False
        self._thread: threading.Thread | None = None
        self._waiting = False
        self._bug: BaseException | None = None
        self._changed = threading.Condition(threading.Lock())

    def run(self) -> None:
        self._work(_Act.READ)
        if self._thread is not None:
            self._thread.join()
        if self._bug is not None:
            raise self._bug

    def _work(self, first: _Act) -> None:
        act: _Act | None = first
        try:
            while act is not None and (act := self._next(act)) is not None:
                self._read() if act is _Act.READ else self._write()
        except BaseException as bug:
            with self._changed:
                self._bug = bug  # the other one must not wait for ever
                self._changed.notify()

    def _next(self, last: _Act) -> _Act | None:
        """What to do now, after ``last``; `None` when that is nothing any more."""
        wish = last
        with self._changed:
            while self._bug is None:
                act = self._choice(wish)
                if act is not None:
                    self._under_way.add(act)
                    return act
                if self._read_all:
                    return None  # what is left to write is the other's
                self._waiting = True
                self._changed.wait()
                self._waiting = False
                wish = _other(last)
        return None

    def _choice(self, wish: _Act) -> _Act | None:
        may_read = _Act.READ not in self._under_way and not self._read_all
        may_read = may_read and (self._made < _STEPS or bool(self._free))
        may_write = _Act.WRITE not in self._under_way and bool(self._full)
        if may_read and may_write:
            return _other(wish) if self._waiting else wish
        if may_read:
            return _Act.READ
        return _Act.WRITE if may_write else None

    def _read(self) -> None:
        piece = self._piece()
        count, turn = self._fill(piece, self.moved)
        with self._changed:
            self.moved += count
            self.turn = turn or Turn.OVER
            self._read_all = turn is not None or self.moved == self._most
            if count:
                self._full.append(piece[:count])
            self._done(_Act.READ)
        if self._thread is None and not self._read_all:
            self._thread = threading.Thread(
                target=self._work, args=(_Act.WRITE,), name="abreast", daemon=True
            )
            self._thread.start()

    def _piece(self) -> memoryview:
        left = self._most - self.moved
        if self._free:
            return self._free.pop()[:left]
        self._made += 1
        most = _STEP if self.moved else self._first
        return memoryview(bytearray(min(_STEP, left)))[:most]

    def _write(self) -> None:
        piece = self._full.popleft()
        for start in range(0, len(piece), _PART):
            self._sink.write_blocking(piece[start : start + _PART])
        with self._changed:
            self._free.append(memoryview(piece.obj))
            self._done(_Act.WRITE)

    def _done(self, act: _Act) -> None:
        self._under_way.remove(act)
        self._changed.notify()


def _other(act: _Act) -> _Act:
    return _Act.READ if act is _Act.WRITE else _Act.WRITE
