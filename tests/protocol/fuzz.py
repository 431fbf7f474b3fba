"""Random streams through framing, codec and grammar; for the unit tests in small, for the soak at length."""

from __future__ import annotations

from random import Random
from typing import get_args

from annexd.errors import FramingError
from annexd.protocol import messages as m
from annexd.protocol.codec import decode, decode_file, encode
from annexd.protocol.framing import LINE_LIMIT, Framing
from annexd.protocol.grammar import Moment, admits, complaint

_KEY = b"SHA256E-s6--5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03.txt"
_COMMANDS = b"""
AUTH AUTH-SUCCESS VERSION BYPASS CHECKPRESENT LOCKCONTENT UNLOCKCONTENT REMOVE REMOVE-BEFORE GETTIMESTAMP PUT
GET CONNECT NOTIFYCHANGE PUT-FROM ALREADY-HAVE DATA DATA-PRESENT VALID INVALID SUCCESS SUCCESS-PLUS
CHANGED ERROR
""".split()
_BITS = rb"- -- -s 0 7 -1 . / % &a : \ git-upload-pack".split()
_BLANKS = [b" ", b" ", b" ", b"  ", b"\t", b"\0", b"\r", b"\xff", b"\xc2\xa0", b"\xe3\x80\x80"]
_LONG = [b"9" * 19, b"9" * 5000, b"x" * (LINE_LIMIT - 20), _KEY]
_LINES = [b"CHECKPRESENT " + _KEY, b"PUT a%b " + _KEY, b"GET 0  " + _KEY, b"DATA 3"]
_ENDS = [b"\n"] * 20 + [b"\r\n"]
_PIECES = [*_COMMANDS, *_BITS, *_BLANKS, *_LONG, *(line + b"\n" for line in _LINES), *_ENDS]


def random_stream(random: Random) -> bytes:
    """Mostly pieces of the protocol in a senseless order; some noise."""
    parts = [
        random.randbytes(random.randrange(40)) if random.random() < 0.1 else random.choice(_PIECES)
        for _ in range(random.randrange(60))
    ]
    return b"".join(parts)


def cut(random: Random, stream: bytes) -> list[bytes]:
    """The stream in pieces of one size, up to all of it."""
    size = random.choice((1, 2, 3, 7, 64, 1000, 1 << 16))
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def survive(random: Random, stream: bytes) -> int:
    """
    Take ``stream`` as a server would, in two ways of cutting it, and check
    all that must hold of any stream.  Returns how many lines it had.
    """
    seed = random.random()
    first = _events(Random(seed), cut(random, stream))
    second = _events(Random(seed), [stream])
    assert first == second, f"cutting matters: {first} != {second}"
    return len(first)


def _events(random: Random, chunks: list[bytes]) -> list[object]:
    """Messages and bodies of a stream; the end of it may be a `FramingError`."""
    framing = Framing()
    events: list[object] = []
    wanted = 0
    for chunk in chunks:
        framing.feed(chunk)
        while True:
            if wanted:
                body = framing.take(wanted)
                if not body:
                    break
                events += body  # as single bytes: how many come at once is a matter of the cut
                wanted -= len(body)
                continue
            try:
                line = framing.line()
            except FramingError:
                return [*events, FramingError]
            if line is None:
                assert framing.buffered <= LINE_LIMIT
                break
            message = decode(line)
            _check(random, line, message)
            events.append(message)
            if isinstance(message, m.Data) and message.length < 100:
                wanted = message.length
    return events


def _check(random: Random, line: bytes, message: m.Message) -> None:
    assert isinstance(message, get_args(m.Message)), message
    moment, version = random.choice(list(Moment)), random.randrange(5)
    answer = complaint(moment, version, message)
    assert (answer is None) == admits(moment, version, message), (moment, version, message)
    if isinstance(message, m.Unknown):
        assert message.line == line and answer is not None, message
        return
    if isinstance(message, (m.Put, m.Get)):
        decode_file(message.file)
        assert len(message.key.hash_lower) == 7 and len(message.key.hash_mixed) == 5, message
    framing = Framing()
    framing.feed(encode(message))
    again = framing.line()
    assert again is not None and type(decode(again)) is type(message), (message, again)
    assert framing.buffered == 0, message
