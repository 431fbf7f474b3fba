"""How long a thread is kept for one peer."""

from __future__ import annotations

import errno
import os
import tempfile
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from annexd.flow import kernel, loan
from annexd.flow.body import FileSink, NoDigest
from annexd.flow.kernel import Descriptor
from annexd.flow.loan import Turn
from annexd.flow.workers import InlineWorkers


class Turns(SynchronousTestCase):
    """A pipe whose other end does nothing more; ``waits`` are in seconds."""

    def setUp(self) -> None:
        self.inlet, self.outlet = os.pipe()
        for fd in self.inlet, self.outlet:
            os.set_blocking(fd, False)
            self.addCleanup(os.close, fd)
        self.file = tempfile.TemporaryFile()
        self.addCleanup(self.file.close)
        self.waits: list[float] = []
        self.now = 100.0
        poll = SimpleNamespace(register=lambda *_: None, poll=self.poll)
        self.patch(loan, "select", SimpleNamespace(poll=lambda: poll))
        for module in kernel, loan:
            self.patch(module, "time", SimpleNamespace(monotonic=lambda: self.now))

    def poll(self, milliseconds: float) -> list[object]:
        self.waits.append(milliseconds / 1000)
        return []

    def receive(self, count: int) -> None:
        os.write(self.outlet, bytes(count))
        sink = FileSink(InlineWorkers(), self.file.fileno(), 0, NoDigest())
        self.assertEqual((count, Turn.IDLE), Descriptor(self.inlet).receive(sink, 1 << 20))

    def test_nobody_waits_for_a_slow_sender(self) -> None:
        """Eight of them would have all the threads to themselves, and be no faster for it."""
        self.receive(0)
        self.receive(1)
        self.assertLess(sum(self.waits), 1e-6)

    def test_a_fast_one_is_worth_a_moment(self) -> None:
        self.receive(32_000)
        self.assertEqual([0.001], [round(wait, 4) for wait in self.waits])

    def test_not_much_more_than_a_moment(self) -> None:
        self.patch(loan, "_FAST", 1e6)
        self.receive(64_000)
        self.assertEqual([0.02], self.waits)

    def test_one_that_was_fast_at_first_is_slow_in_the_end(self) -> None:
        sink = FileSink(InlineWorkers(), self.file.fileno(), 0, NoDigest())
        os.write(self.outlet, bytes(64_000))
        self.patch(sink, "write_blocking", lambda _: setattr(self, "now", self.now + 0.1))
        self.assertEqual((64_000, Turn.IDLE), Descriptor(self.inlet).receive(sink, 1 << 20))
        self.assertEqual([], self.waits)

    def test_nobody_waits_for_a_slow_reader(self) -> None:
        self.file.truncate(4 << 20)
        outlet = Descriptor(self.outlet)
        moved, turn = outlet.send(self.file.fileno(), 0, 4 << 20)
        self.assertEqual(Turn.IDLE, turn)
        self.assertEqual([min(0.02, moved / 32e6)], [round(wait, 12) for wait in self.waits])
        self.waits.clear()
        self.assertEqual((0, Turn.IDLE), outlet.send(self.file.fileno(), moved, 1 << 20))
        self.assertEqual([], self.waits)

    def test_what_went_before_the_disk_failed_is_counted(self) -> None:
        """Or whoever goes on from elsewhere would send it again."""
        self.file.truncate(4 << 20)
        steps: list[int | OSError] = [1000, OSError(errno.EIO, "broken"), OSError(errno.EIO, "broken")]

        def splice(*_: object, **__: object) -> int:
            step = steps.pop(0)
            if isinstance(step, OSError):
                raise step
            return step

        self.patch(os, "splice", splice)
        outlet = Descriptor(self.outlet)
        self.assertEqual((1000, Turn.OVER), outlet.send(self.file.fileno(), 0, 4 << 20))
        self.assertRaises(OSError, outlet.send, self.file.fileno(), 1000, 4 << 20)
