from __future__ import annotations

from typing import get_args

from hypothesis import given
from twisted.trial import unittest

from annexd.protocol import messages as m
from annexd.protocol.codec import ERROR_TEXT_LIMIT, decode, decode_file, encode, encode_file
from annexd.protocol.keys import Key
from tests.protocol.strategies import lines, messages, quick, texts
from tests.protocol.streams import every_way

K = Key.parse(b"WORM-s3-m1--a b")

# One line, and the message it is; encode gives the line back.
EXACT: list[tuple[bytes, m.Message]] = [
    (b"AUTH u t", m.Auth(b"u", b"t")),
    (b"AUTH  t", m.Auth(b"", b"t")),
    (b"AUTH u ", m.Auth(b"u", b"")),
    (b"AUTH-SUCCESS u", m.AuthSuccess(b"u")),
    (b"AUTH-SUCCESS u v", m.AuthSuccess(b"u v")),
    (b"AUTH-FAILURE", m.AuthFailure()),
    (b"VERSION 4", m.Version(4)),
    (b"BYPASS", m.Bypass(())),
    (b"BYPASS u v", m.Bypass((b"u", b"v"))),
    (b"CHECKPRESENT WORM-s3-m1--a b", m.CheckPresent(K)),
    (b"LOCKCONTENT WORM-s3-m1--a b", m.LockContent(K)),
    (b"UNLOCKCONTENT", m.UnlockContent()),
    (b"REMOVE WORM-s3-m1--a b", m.Remove(K)),
    (b"REMOVE-BEFORE 2603 WORM-s3-m1--a b", m.RemoveBefore(2603, K)),
    (b"GETTIMESTAMP", m.GetTimestamp()),
    (b"PUT d%ir/f WORM-s3-m1--a b", m.Put(b"d%ir/f", K)),
    (b"PUT  WORM-s3-m1--a b", m.Put(b"", K)),
    (b"PUT ../x WORM-s3-m1--a b", m.Put(b"../x", K)),
    (b"PUT \xff\x1b WORM-s3-m1--a b", m.Put(b"\xff\x1b", K)),
    (b"GET 0 f WORM-s3-m1--a b", m.Get(0, b"f", K)),
    (b"GET 9223372036854775807  WORM-s3-m1--a b", m.Get(2**63 - 1, b"", K)),
    (b"CONNECT git-upload-pack", m.Connect(b"git-upload-pack")),
    (b"CONNECT git-receive-pack", m.Connect(b"git-receive-pack")),
    (b"NOTIFYCHANGE", m.NotifyChange()),
    (b"PUT-FROM 7", m.PutFrom(7)),
    (b"ALREADY-HAVE", m.AlreadyHave()),
    (b"ALREADY-HAVE-PLUS u v", m.AlreadyHavePlus((b"u", b"v"))),
    (b"DATA 30", m.Data(30)),
    (b"DATA-PRESENT", m.DataPresent()),
    (b"VALID", m.Valid()),
    (b"INVALID", m.Invalid()),
    (b"SUCCESS", m.Success()),
    (b"SUCCESS-PLUS u", m.SuccessPlus((b"u",))),
    (b"FAILURE", m.Failure()),
    (b"FAILURE-PLUS", m.FailurePlus(())),
    (b"TIMESTAMP 1029", m.Timestamp(1029)),
    (b"CONNECTDONE 0", m.ConnectDone(0)),
    (b"CHANGED 0a 0b", m.Changed((b"0a", b"0b"))),
    (b"ERROR expected  DATA", m.Error(b"expected  DATA")),
    (b"CHECKPRESENT WORM--a\0b\xff", m.CheckPresent(Key.parse(b"WORM--a\0b\xff"))),
    (b"CHECKPRESENT WORM--a ", m.CheckPresent(Key.parse(b"WORM--a "))),
    (b"CHECKPRESENT  WORM--a", m.CheckPresent(Key.parse(b" WORM--a"))),
]

# Other spellings, which are only read.
LENIENT: list[tuple[bytes, m.Message]] = [
    (b"AUTH", m.Auth(b"", b"")),
    (b"AUTH u", m.Auth(b"u", b"")),
    (b"AUTH-SUCCESS", m.AuthSuccess(b"")),
    (b"VERSION 007", m.Version(7)),
    (b"BYPASS ", m.Bypass(())),
    (b"BYPASS  u  v ", m.Bypass((b"u", b"v"))),
    (b"SUCCESS ", m.Success()),
    (b"UNLOCKCONTENT ", m.UnlockContent()),
    (b"ERROR", m.Error(b"")),
    (b"CHECKPRESENT WORM-s03--a", m.CheckPresent(Key.parse(b"WORM-s3--a"))),
]

UNREADABLE = (
    b"""
|  |nonsense|success|Success| SUCCESS|SUCCESS x|SUCCESS  |SUCCESS\tx|VALID x|DATA-PRESENT x|
GETTIMESTAMP x|UNLOCKCONTENT WORM--a|NOTIFYCHANGE x|AUTH u t x|VERSION|VERSION |VERSION x|
VERSION -1|VERSION +3|VERSION 1.5|VERSION 0x3|VERSION 2 x|VERSION 2 |VERSION  2|VERSION \xd9\xa3|
DATA|DATA |DATA -1|DATA x|DATA 9223372036854775808|DATA 99999999999999999999|PUT-FROM|PUT-FROM x|
TIMESTAMP|TIMESTAMP x|CONNECTDONE|CONNECTDONE x|CONNECT|CONNECT |CONNECT x|CONNECT git-upload-pack |
CONNECT git-upload-pack x|CONNECT git-upload-archive|CHECKPRESENT|CHECKPRESENT |
CHECKPRESENT\tWORM--a|CHECKPRESENT\xc2\xa0WORM--a|CHECKPRESENT SHA256E-s6-5891|REMOVE|LOCKCONTENT|
LOCKCONTENT x|REMOVE-BEFORE|REMOVE-BEFORE 3|REMOVE-BEFORE  WORM--a|REMOVE-BEFORE x WORM--a|
REMOVE-BEFORE -3 WORM--a|PUT|PUT WORM--a|PUT WORM--a |PUT /abs WORM--a|GET|GET 0|GET 0 WORM--a|
GET 0 /abs WORM--a|GET 0 / WORM--a|GET -1 f WORM--a|GET x f WORM--a|GET  f WORM--a|GET 0\tf WORM--a|
BYPASS\tu|SUCCESS-PLUS\tu|BYPASSx|\x00
""".strip()
    .replace(b"|\n", b"|")
    .split(b"|")
)


class Reading(unittest.TestCase):
    def test_messages(self) -> None:
        for line, message in EXACT + LENIENT:
            self.assertEqual(decode(line), message)

    def test_unreadable_lines(self) -> None:
        for line in UNREADABLE:
            self.assertEqual(decode(line), m.Unknown(line))

    def test_lines_in_a_stream(self) -> None:
        for end in (b"\n", b"\r\n"):
            for line, message in EXACT + LENIENT + [(line, m.Unknown(line)) for line in UNREADABLE]:
                for way, found in every_way(line + end):
                    self.assertEqual([decode(each) for each in found], [message], way)

    def test_words_end_at_the_ASCII_space_only(self) -> None:
        file = "café%\u3000wide".encode()
        self.assertEqual(decode(b"PUT %b WORM--a" % file), m.Put(file, Key.parse(b"WORM--a")))

    def test_an_unquoted_file_name_runs_into_the_key(self) -> None:
        self.assertEqual(decode(b"PUT a b WORM--a"), m.Put(b"a", Key.parse(b"b WORM--a")))

    @given(lines)
    @quick
    def test_any_line_is_a_message(self, line: bytes) -> None:
        for words in (line, b"PUT " + line, b"GET 0 " + line, b"REMOVE-BEFORE " + line, b"VERSION " + line):
            self.assertIsInstance(decode(words), get_args(m.Message))


class Writing(unittest.TestCase):
    def test_messages(self) -> None:
        for line, message in EXACT:
            self.assertEqual(encode(message), line + b"\n")

    def test_every_message_is_among_them(self) -> None:
        self.assertEqual({type(message) for _, message in EXACT} | {m.Unknown}, set(get_args(m.Message)))

    def test_the_unreadable_is_not_sent_on(self) -> None:
        self.assertRaises(ValueError, encode, m.Unknown(b"x"))

    def test_no_field_ends_the_line(self) -> None:
        evil = b"a\nREMOVE WORM--a\r\nb"
        for message in (
            m.Auth(evil, evil),
            m.AuthSuccess(evil),
            m.Bypass((evil, b"\n")),
            m.SuccessPlus((evil,)),
            m.FailurePlus((evil,)),
            m.AlreadyHavePlus((evil,)),
            m.Changed((evil,)),
            m.Connect(evil),
            m.Put(evil, K),
            m.Get(0, evil, K),
            m.Error(evil),
        ):
            line = encode(message)
            self.assertEqual((line.count(b"\n"), line[-1:]), (1, b"\n"), line)

    def test_words_stay_in_their_places(self) -> None:
        self.assertEqual(decode(encode(m.Auth(b"a b", b"c d"))[:-1]), m.Auth(b"a_b", b"c_d"))
        self.assertEqual(decode(encode(m.Bypass((b"a b", b"", b"c")))[:-1]), m.Bypass((b"a_b", b"c")))
        wide = m.Put("a b\u3000c\u00a0d".encode(), K)  # what the peer would split, however it does
        self.assertEqual(encode(wide), b"PUT a%b%c%d WORM-s3-m1--a b\n")

    def test_a_key_may_end_in_CR(self) -> None:
        message = m.CheckPresent(Key.parse(b"WORM--a\r"))
        for _, found in every_way(encode(message)):
            self.assertEqual([decode(line) for line in found], [message])

    def test_error_texts_are_cleaned_and_cut(self) -> None:
        text = b"no\x1b[31m\n\0\x7f caf\xc3\xa9"
        self.assertEqual(encode(m.Error(text)), b"ERROR no [31m    caf\xc3\xa9\n")
        self.assertEqual(len(encode(m.Error(b"x" * 100_000))), len("ERROR \n") + ERROR_TEXT_LIMIT)

    @given(messages)
    @quick
    def test_round_trip(self, message: m.Message) -> None:
        stream = encode(message)
        self.assertEqual(stream.count(b"\n"), 1)
        for way, found in every_way(stream):
            self.assertEqual([decode(line) for line in found], [message], way)

    @given(lines)
    @quick
    def test_what_was_read_can_be_written(self, line: bytes) -> None:
        for words in (
            line,
            b"PUT " + line,
            b"GET 0 " + line,
            b"AUTH " + line,
            b"BYPASS " + line,
            b"ERROR " + line,
        ):
            message = decode(words.replace(b"\n", b""))
            if not isinstance(message, m.Unknown):
                (again,) = (decode(each) for each in next(every_way(encode(message)))[1])
                self.assertIs(type(again), type(message))


class AssociatedFiles(unittest.TestCase):
    # As stock clients write them.
    ENCODED = [
        (b"", b""),
        (b"a b%c.txt", b"a%b%%c.txt"),
        (b"d ir/x", b"d%ir/x"),
        (b"a\tb\nc", b"a%b%c"),
        (b"\x1b\xff", b"\x1b\xff"),
    ]
    # As git-annex understands them; it leaves the result in its transfer files.
    DECODED = [
        (b"", b""),
        (b"a%b", b"a_b"),
        (b"%%%", b"%_"),
        (b"%%%%", b"%%"),
        (b"a\x01b\x7f\x1b", b"a_b__"),
        (b"\xc2\x85x", b"_x"),
        (b"\xe2\x80\xa8", b"\xe2\x80\xa8"),
        (b"caf\xc3\xa9\xff", b"caf\xc3\xa9\xff"),
        (b"..%..", b".._.."),
        (b"a%%%/b", b"a%_/b"),
        (b"\xc2\xad", b"\xc2\xad"),
    ]

    def test_encode(self) -> None:
        for path, file in self.ENCODED:
            self.assertEqual(encode_file(path), file)

    def test_decode(self) -> None:
        for file, path in self.DECODED:
            self.assertEqual(decode_file(file), path)

    def test_no_absolute_paths(self) -> None:
        self.assertRaises(ValueError, encode_file, b"/etc/passwd")

    @given(texts)
    @quick
    def test_what_is_encoded_is_one_word(self, path: bytes) -> None:
        file = encode_file(path.lstrip(b"/"))
        message = m.Put(file, K)
        self.assertEqual(decode(encode(message)[:-1]), message)

    @given(texts)
    @quick
    def test_reversible_without_spaces(self, path: bytes) -> None:
        path = b"".join(path.replace(b"\xc2", b"").split()).replace(b"\0", b"").lstrip(b"/")
        if decode_file(path.replace(b"%", b"")) == path.replace(b"%", b""):  # no control characters
            self.assertEqual(decode_file(encode_file(path)), path)
