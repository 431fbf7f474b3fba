"""Numbers and sizes; what is expected here was asked of git-annex."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from annexd.router.quantities import integer, real, size


class QuantityTests(SynchronousTestCase):
    def test_whole_numbers(self) -> None:
        for text, number in (
            ("2", 2),
            ("-1", -1),
            ("007", 7),
            ("2abc", 2),
            ("0x1F", 31),
            ("0o17", 15),
            ("0b11", 3),
            ("0xg", 0),
            ("2.x", 2),
            ("2ex", 2),
            ("18446744073709551617", 1),
        ):
            self.assertEqual(integer(text), number, text)
        for text in ("", "x", "+2", "1.5", "2e1", "2e-1", " 2", "12e1", "--2"):
            self.assertIsNone(integer(text), text)

    def test_numbers_of_many_digits(self) -> None:
        self.assertIsNone(integer("9" * 5000))
        self.assertEqual((real("9" * 5000), real("-0x" + "f" * 5000)), (float("inf"), float("-inf")))
        self.assertEqual((size("9" * 5000), size("0x" + "f" * 5000)), (None, None))

    def test_numbers(self) -> None:
        for text, number in (("2", 2.0), ("-1.5e2", -150.0), (" 9 ", 9.0), ("0x10", 16.0), ("0e1", 0.0)):
            self.assertEqual(real(text), number, text)
        for text in ("", "x", "2x", ".5", "5.", "1e", "+1"):
            self.assertIsNone(real(text), text)

    def test_sizes(self) -> None:
        for text, expected in (
            ("7", 7),
            ("1kb", 1000),
            ("1k", 1000),
            ("1KiB", 1024),
            ("1ki", 1024),
            ("0.5MB", 500_000),
            ("1.5 gigabytes", 1_500_000_000),
            ("1MebiByteS", 1 << 20),
            ("1kbit", 125),
            ("2 megabits", 250_000),
            ("1e3", 1000),
            ("5.", 5),
            ("-5", -5),
            ("1b", 1),
            ("1 byte", 1),
            ("1mb/x", 1_000_000),
            ("0x10", 16),
            ("2zb", 2 * 10**21),
            ("1qb", round(1e30)),
            ("0.5", 0),
            ("1.5", 2),
        ):
            self.assertEqual(size(text), expected, text)
        for text in ("", "mb", ".5", "1foo", "1bit", "1kbits", "x1"):
            self.assertIsNone(size(text), text)
