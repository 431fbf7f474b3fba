"""Vector clocks in git-annex's logs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from annexd.protocol import clock


class ClockTests(SynchronousTestCase):
    def test_read(self) -> None:
        for text, ticks in (
            (b"12s", 12 * 10**12),
            (b"12", 12 * 10**12),
            (b"1287290776.765152s", 1287290776765152 * 10**6),
            (b"-0.5s", -5 * 10**11),
            (b"0.0000000000019s", 1),
        ):
            self.assertEqual(clock.parse(text), ticks, text)

    def test_unreadable(self) -> None:
        for text in (b"", b"s", b"soon", b"1.s", b".5", b"1 s", b"1e3", b"1" * 41):
            self.assertIsNone(clock.parse(text), text)

    @given(st.integers(-(10**30), 10**30))
    def test_what_is_printed_is_read(self, ticks: int) -> None:
        self.assertEqual(clock.parse(clock.printed(ticks)), ticks)

    def test_the_newest_line_is_the_one_written_last(self) -> None:
        self.assertEqual(clock.after(None, 5.9), 5 * 10**12)
        self.assertEqual(clock.after(3 * 10**12, 5.0), 5 * 10**12)
        self.assertEqual(clock.after(9 * 10**12 + 1, 5.0), 10**13 + 1)
