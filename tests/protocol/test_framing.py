from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from annexd.errors import FramingError
from annexd.protocol.framing import LINE_LIMIT, Framing
from tests.protocol.strategies import quick
from tests.protocol.streams import every_way, lines_of

CASES: dict[str, tuple[bytes, list[bytes]]] = {
    "nothing": (b"", []),
    "one line": (b"VALID\n", [b"VALID"]),
    "several lines": (b"VALID\nSUCCESS\n", [b"VALID", b"SUCCESS"]),
    "an empty line": (b"\n\nVALID\n", [b"", b"", b"VALID"]),
    "CR LF": (b"VALID\r\nSUCCESS\r\n", [b"VALID", b"SUCCESS"]),
    "only one CR is part of the end": (b"VALID\r\r\n\r\n", [b"VALID\r", b""]),
    "a CR elsewhere": (b"VA\rLID\n\rVALID\n", [b"VA\rLID", b"\rVALID"]),
    "NULs and other bytes": (b"\0\xff\xfe\x80\n", [b"\0\xff\xfe\x80"]),
    "the longest line": (b"x" * LINE_LIMIT + b"\n\n", [b"x" * LINE_LIMIT, b""]),
}


class Lines(unittest.TestCase):
    def test_cases_however_they_are_cut(self) -> None:
        for name, (stream, expected) in CASES.items():
            for way, lines in every_way(stream):
                self.assertEqual(lines, expected, f"{name}, {way}")

    def test_no_line_before_its_end(self) -> None:
        framing = Framing()
        self.assertIsNone(framing.line())
        framing.feed(b"VAL")
        self.assertIsNone(framing.line())
        self.assertIsNone(framing.line())
        framing.feed(b"ID\nX")
        self.assertEqual(framing.line(), b"VALID")
        self.assertIsNone(framing.line())
        self.assertEqual(framing.buffered, 1)

    def test_counts(self) -> None:
        framing = Framing()
        framing.feed(b"A\nB\nC")
        framing.line()
        self.assertEqual((framing.received, framing.lines, framing.buffered), (5, 1, 3))
        framing.feed(b"\n")
        framing.line()
        framing.line()
        self.assertEqual((framing.received, framing.lines, framing.buffered), (6, 3, 0))

    @given(st.lists(st.binary(max_size=20)))
    @quick
    def test_cuts_do_not_matter(self, chunks: list[bytes]) -> None:
        self.assertEqual(lines_of(chunks), lines_of([b"".join(chunks)]))


class Limits(unittest.TestCase):
    def test_a_line_that_does_not_end(self) -> None:
        for tail in (b"", b"\n", b"\r\n", b"xyz\nVALID\n"):
            framing = Framing()
            framing.feed(b"VALID\n" + b"x" * (LINE_LIMIT + 1) + tail)
            self.assertEqual(framing.line(), b"VALID")
            for _ in range(2):  # and it stays so
                self.assertRaises(FramingError, framing.line)

    def test_a_line_that_grows(self) -> None:
        framing = Framing()
        for _ in range(LINE_LIMIT):
            framing.feed(b"x")
            self.assertIsNone(framing.line())
        framing.feed(b"x")
        self.assertRaises(FramingError, framing.line)

    def test_CR_counts(self) -> None:
        framing = Framing()
        framing.feed(b"x" * LINE_LIMIT + b"\r\n")
        self.assertRaises(FramingError, framing.line)


class Bodies(unittest.TestCase):
    def test_a_body_between_lines(self) -> None:
        stream = b"DATA 7\na\nb\r\n\0cVALID\n"
        for size in (len(stream), 1, 2, 3, 8):
            framing, body, lines = Framing(), b"", []
            for start in range(0, len(stream), size):
                framing.feed(stream[start : start + size])
                if not lines:
                    lines += filter(None, [framing.line()])
                if lines:
                    body += framing.take(7 - len(body))
                if len(body) == 7:
                    lines += filter(None, [framing.line()])
            self.assertEqual((lines, body), ([b"DATA 7", b"VALID"], b"a\nb\r\n\0c"), f"by {size}")

    def test_nothing_to_take(self) -> None:
        framing = Framing()
        self.assertEqual(framing.take(9), b"")
        framing.feed(b"abc")
        self.assertEqual(
            (framing.take(0), framing.take(2), framing.take(9), framing.take(9)), (b"", b"ab", b"c", b"")
        )

    def test_a_line_that_was_looked_for_is_forgotten_by_a_body(self) -> None:
        framing = Framing()
        framing.feed(b"abc")
        self.assertIsNone(framing.line())
        self.assertEqual(framing.take(9), b"abc")
        framing.feed(b"\n")
        self.assertEqual(framing.line(), b"")

    def test_a_chunk_that_is_all_body_is_not_copied(self) -> None:
        framing = Framing()
        chunk = bytes(1 << 16)
        framing.feed(chunk)
        self.assertIs(framing.take(1 << 20), chunk)

    @given(st.lists(st.binary(max_size=12)), st.lists(st.integers(0, 12), max_size=20))
    @quick
    def test_what_is_taken_is_what_was_fed(self, chunks: list[bytes], limits: list[int]) -> None:
        framing, taken = Framing(), b""
        for chunk in chunks:
            framing.feed(chunk)
            if limits:
                limit = limits.pop()
                part = framing.take(limit)
                self.assertTrue(len(part) <= limit)
                taken += part
            self.assertEqual(framing.received, len(taken) + framing.buffered)
        self.assertEqual(taken + framing.take(framing.buffered), b"".join(chunks))


class Speed(unittest.TestCase):
    """Bounds that only quadratic work misses, and that by far."""

    LINES = 160_000
    SECONDS = 2.0

    def test_many_lines_in_one_chunk(self) -> None:
        line = b"CHECKPRESENT SHA256E-s1048576--" + b"0" * 64 + b"\n"
        for beginning in ([], [b"CHECK"]):
            began = time.process_time()
            self.assertEqual(len(lines_of([*beginning, line * self.LINES])), self.LINES)
            self.assertTrue(time.process_time() - began < self.SECONDS)

    def test_lines_that_nobody_reads_yet(self) -> None:
        framing = Framing()
        began = time.process_time()
        for _ in range(self.LINES):
            framing.feed(b"CHECKPRESENT SHA256E-s1048576--0123456789abcdef\n")
        while framing.line() is not None:
            pass
        self.assertEqual(framing.lines, self.LINES)
        self.assertTrue(time.process_time() - began < self.SECONDS)
