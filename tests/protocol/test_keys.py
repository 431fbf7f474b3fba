from __future__ import annotations

from hypothesis import given
from twisted.trial import unittest

from annexd.protocol.keys import Key, number
from tests.protocol.strategies import keys, quick, texts

# Key, hash_lower, hash_mixed: what `git annex examinekey` prints, and where PUT stores.
PLACES = [
    (
        b"SHA256E-s6--5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        b"992/280",
        b"zK/02",
    ),
    (b"URL--http://x/y?z=1", b"363/34c", b"jQ/p3"),
    (
        b"SHA256E-s0--e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        b"f87/4d5",
        b"pX/ZJ",
    ),
    (b"MD5-s3--900150983cd24fb0d6963f7d28e17f72", b"169/74f", b"WQ/pK"),
    (b"SHA256E-s100--abc.txt", b"495/b95", b"x9/5Z"),
    (b"SHA256E-s100-S10-C3--abc.txt", b"495/b95", b"x9/5Z"),  # chunks live beside their whole
    (b"SHA256E-s100-m5-S10-C3--abc.txt", b"328/781", b"Wg/0X"),
    (b"WORM-S10-C3--a/b", b"56f/d72", b"ZQ/Wm"),
    (b"WORM-s3-m1700000000--a%b", b"2f0/9f8", b"4m/P0"),
    (b"WORM-s3--\xc3\xa9", b"e28/3e0", b"m2/X8"),
    (b"WORM-s3--\xff\xfe", b"1cf/f5b", b"WW/QF"),
    (b"WORM-s007--a", b"5fa/651", b"KF/fM"),
    (b"SHA256-s0--abc", b"8c0/b85", b"kj/1v"),
    (b"WORM--a--b", b"c80/190", b"78/40"),
    (b"WORM--\x01\x7f", b"a57/686", b"M5/17"),
    (b"WORM--\xe6\x97\xa5\xe6\x9c\xac/\xe3\x80\x80", b"a44/4fe", b"g4/F4"),
    (b"WORM--\xff\xfe sp ace", None, b"29/Vz"),
    (b"WO/R&M%:--r/s", None, b"Gk/Vq"),
    (b"WORM-s3-S1--y", None, b"7K/mF"),
    (b"WORM-s3-C1--y2", None, b"G6/00"),
    (b"WORM-m007--z", None, b"jV/X3"),
    (b"WORM-s0000-S03-C04--r/s", None, b"Qg/gp"),
]

FILE_NAMES = [
    (b"WORM-s3-m1700000000--a%b c/d:e&f", b"WORM-s3-m1700000000--a&sb c%d&ce&af"),
    (b"URL--http://x/y?z=1", b"URL--http&c%%x%y?z=1"),
    (b"WO/R&M%:--r/s", b"WO%R&aM&s&c--r%s"),
    (b"WORM--&s&c&a&", b"WORM--&as&ac&aa&a"),
    (b"WORM--\t\r\xff", b"WORM--\t\r\xff"),
]

# All of these were asked of git-annex.
KEYS = (
    b"""
WORM--a|WORM-s3--|WORM--|WORM-s3-m4--a|WORM-m4--a|WORM-S1--a|WORM-C1--a|WORM-S1-C2--a|WORM-s1-m2-S3-C4--a|
WORM-s9223372036854775807--a|WORM-S0-C0--a|wo rm--a| WORM--a|\xc3\xa9--a|\xff--a|WO.RM--a|WO/RM--a|123--a|
..--..|WORM---a|WORM----|WORM--/|WORM-s3---|WORM--a\tb|WORM--\0|WO\0RM--a|WORM-s3-S2--a|WORM-s3-C2--a|XFOO-s3--|
GIT--abc
""".strip()
    .replace(b"|\n", b"|")
    .split(b"|")
)

NO_KEYS = (
    b"""
|--a|-s3--a|WORM|WORM-|WORM-a|WORM-s3|WORM-s3-|WORM-s3-a|WORM-s--a|WORM-m4-s3--a|WORM-s3-s4--a|WORM-C2-S1--a|
WORM-m2-m3--a|WORM-x3--a|WORM-s-3--a|WORM-m-3--a|WORM-s+3--a|WORM-s3.5--a|WORM-s3x--a|WORM-s 3--a|WORM-s3 --a|
WORM-m1.5--a|WORM-m1s--a|WORM-s1-s2-m3--a|WORM-s\xd9\xa3--a|WORM-s3-m4-S5-C6-s7--a|SHA256E-s6-5891
""".strip()
    .replace(b"|\n", b"|")
    .split(b"|")
)

# Name, and is it one for a backend that keeps extensions?  At most 64 bytes from the first dot on.
EXTENSIONS = [
    (b"abc", True),
    (b"abc." + b"a" * 63, True),
    (b"abc." + b"a" * 64, False),
    (b"." * 64, True),
    (b"." * 65, False),
    (b"a" * 300, True),
    (b"a." + b"b" * 30 + b"." + b"c" * 31, True),
    (b"a." + b"b" * 30 + b"." + b"c" * 33, False),
    (b"a." + "é".encode() * 31, True),
    (b"a." + "é".encode() * 32, False),
    (b"a." + b"\xff" * 63, True),
    (b"a." + b"\xff" * 64, False),
    (b"a.b/c d\0-e--f", True),
]


class Parsing(unittest.TestCase):
    def test_fields(self) -> None:
        key = Key.parse(b"SHA256E-s100-m5-S10-C3--abc--s1.txt")
        self.assertEqual((key.backend, key.name), (b"SHA256E", b"abc--s1.txt"))
        self.assertEqual((key.size, key.mtime, key.chunk_size, key.chunk_number), (100, 5, 10, 3))
        key = Key.parse(b"URL--http://x")
        self.assertEqual((key.backend, key.name), (b"URL", b"http://x"))
        self.assertEqual((key.size, key.mtime, key.chunk_size, key.chunk_number), (None,) * 4)

    def test_keys(self) -> None:
        for raw in KEYS:
            self.assertEqual(Key.parse(raw).raw, raw)

    def test_no_keys(self) -> None:
        for raw in NO_KEYS:
            self.assertRaises(ValueError, Key.parse, raw)

    def test_numbers_have_an_end(self) -> None:
        for digits in (b"9223372036854775808", b"99999999999999999999", b"1" * 30000):
            for letter in b"smSC":
                self.assertRaises(ValueError, Key.parse, b"WORM-%c%b--a" % (letter, digits))

    def test_no_LF(self) -> None:
        for raw in (b"WORM--a\nb", b"WO\nRM--a", b"WORM--a\n", b"\n--a", b"WORM-s01--a\n"):
            self.assertRaises(ValueError, Key.parse, raw)

    def test_extensions(self) -> None:
        for name, good in EXTENSIONS:
            for backend in (b"SHA256E", b"XFOOE", b"E", b"URLE"):
                if good:
                    Key.parse(backend + b"-s6--" + name)
                else:
                    self.assertRaises(ValueError, Key.parse, backend + b"-s6--" + name)
            for backend in (b"SHA256", b"WORM", b"sha256e", b"SHA256Ee"):
                Key.parse(backend + b"-s6--" + name)

    def test_leading_zeros_are_forgotten(self) -> None:
        key = Key.parse(b"WORM-s0000-m007-S03-C04--r-s01/s")
        self.assertEqual(key.raw, b"WORM-s0-m7-S3-C4--r-s01/s")
        self.assertEqual((key.size, key.mtime, key.chunk_size, key.chunk_number), (0, 7, 3, 4))
        self.assertEqual(key, Key.parse(b"WORM-s0-m7-S3-C4--r-s01/s"))
        self.assertEqual(Key.parse(b"WORM-s%b3--a" % (b"0" * 30)).size, 3)

    def test_a_long_text_is_refused_quickly(self) -> None:
        for raw in (b"a" * 32767, b"WORM" + b"-s1" * 10000, b"WORM-s" + b"0" * 32000):
            self.assertRaises(ValueError, Key.parse, raw)

    @given(keys())
    @quick
    def test_what_is_printed_is_what_was_parsed(self, key: Key) -> None:
        again = Key.parse(key.raw)
        self.assertEqual(again, key)
        fields = zip(b"smSC", (key.size, key.mtime, key.chunk_size, key.chunk_number), strict=True)
        middle = b"".join(b"-%c%d" % (letter, value) for letter, value in fields if value is not None)
        self.assertEqual(key.raw, key.backend + middle + b"--" + key.name)

    @given(texts)
    @quick
    def test_any_text_is_a_key_or_a_ValueError(self, text: bytes) -> None:
        try:
            key = Key.parse(text)
        except ValueError:
            return
        self.assertEqual(Key.parse(key.raw).raw, key.raw)


class Values(unittest.TestCase):
    def test_equal_by_text(self) -> None:
        one, same, other = Key.parse(b"WORM--a"), Key.parse(b"WORM--a"), Key.parse(b"WORM--b")
        self.assertEqual(one, same)
        self.assertNotEqual(one, other)
        self.assertNotEqual(one, b"WORM--a")
        self.assertEqual(len({one, same, other}), 2)

    def test_shown_to_people(self) -> None:
        self.assertEqual(str(Key.parse(b"WORM--caf\xc3\xa9 \xff\x1b[1m\r")), "WORM--café \\xff\\x1b[1m\\r")
        self.assertEqual(repr(Key.parse(b"WORM--\xff")), "Key(b'WORM--\\xff')")


class Places(unittest.TestCase):
    def test_hash_directories(self) -> None:
        for raw, lower, mixed in PLACES:
            key = Key.parse(raw)
            self.assertEqual(key.hash_mixed, mixed, raw)
            if lower is not None:
                self.assertEqual(key.hash_lower, lower, raw)

    def test_file_names(self) -> None:
        for raw, name in FILE_NAMES:
            self.assertEqual(Key.parse(raw).file_name, name)
            self.assertEqual(Key.from_file_name(name).raw, raw)

    def test_no_file_names_of_keys(self) -> None:
        for name in (
            b"",
            b"a",
            b"WORM--a:b",
            b"WORM--a/b",
            b"WORM--a&",
            b"WORM--a&x",
            b"WORM-s01--a",
            b"WORM--a\n",
        ):
            self.assertRaises(ValueError, Key.from_file_name, name)

    def test_what_can_be_stored(self) -> None:
        for raw, storable, recordable in [
            (b"WORM--a", True, True),
            (b"WORM--a\0", False, False),
            (b"WORM--" + b"a" * 237, True, True),  # 243: with abc_def_ and .log it just fits
            (b"WORM--" + b"a" * 238, True, False),
            (b"WORM--" + b"_" * 118, True, True),
            (b"WORM--" + b"_" * 119, True, False),  # each underscore counts twice in the journal
            (b"WORM--" + b"a" * 249, True, False),
            (b"WORM--" + b"a" * 250, False, False),
            (b"WORM--" + b":" * 125, False, False),  # 256 when escaped
        ]:
            key = Key.parse(raw)
            self.assertEqual((key.storable, key.recordable), (storable, recordable), raw)

    @given(keys())
    @quick
    def test_file_names_are_reversible(self, key: Key) -> None:
        self.assertNotIn(b"/", key.file_name)
        self.assertEqual(Key.from_file_name(key.file_name), key)

    @given(texts)
    @quick
    def test_any_name_is_of_one_key_or_of_none(self, name: bytes) -> None:
        try:
            key = Key.from_file_name(name)
        except ValueError:
            return
        self.assertEqual(key.file_name, name)


class Numbers(unittest.TestCase):
    def test_numbers(self) -> None:
        for text, value in [(b"0", 0), (b"007", 7), (b"9223372036854775807", 2**63 - 1)]:
            self.assertEqual(number(text), value)

    def test_no_numbers(self) -> None:
        for text in (
            b"",
            b"-1",
            b"+1",
            b" 1",
            b"1 ",
            b"1_0",
            b"0x3",
            b"1.5",
            b"\xd9\xa3",
            b"9223372036854775808",
            b"1" * 20,
        ):
            self.assertRaises(ValueError, number, text)
