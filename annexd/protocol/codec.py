"""
One line <-> one message.

Words are separated by one ASCII space each; the last parameter takes the rest
of the line.  (git-annex separates at any Unicode space, which makes some file
names unspeakable; no client of its own needs that.)  Numbers are plain
decimal digits.  What cannot be read is `Unknown`, never an exception.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from annexd.protocol import messages as m
from annexd.protocol.keys import Key, number
from annexd.protocol.messages import Message

SERVICES = frozenset({b"git-upload-pack", b"git-receive-pack"})
"""What CONNECT can ask for; git-annex does not parse any other."""

ERROR_TEXT_LIMIT = 4096
"""Bytes of an error text that are sent; far below the length of a line."""

_KEY_COMMANDS: dict[bytes, type[m.CheckPresent] | type[m.LockContent] | type[m.Remove]] = {
    b"CHECKPRESENT": m.CheckPresent,
    b"LOCKCONTENT": m.LockContent,
    b"REMOVE": m.Remove,
}
_NUMBER_COMMANDS: dict[bytes, Callable[[int], Message]] = {
    b"VERSION": m.Version,
    b"PUT-FROM": m.PutFrom,
    b"DATA": m.Data,
    b"TIMESTAMP": m.Timestamp,
    b"CONNECTDONE": m.ConnectDone,
}
_LIST_COMMANDS: dict[bytes, Callable[[tuple[bytes, ...]], Message]] = {
    b"BYPASS": m.Bypass,
    b"ALREADY-HAVE-PLUS": m.AlreadyHavePlus,
    b"SUCCESS-PLUS": m.SuccessPlus,
    b"FAILURE-PLUS": m.FailurePlus,
    b"CHANGED": m.Changed,
}
_BARE_COMMANDS: dict[bytes, Message] = {
    b"AUTH-FAILURE": m.AuthFailure(),
    b"UNLOCKCONTENT": m.UnlockContent(),
    b"GETTIMESTAMP": m.GetTimestamp(),
    b"NOTIFYCHANGE": m.NotifyChange(),
    b"ALREADY-HAVE": m.AlreadyHave(),
    b"DATA-PRESENT": m.DataPresent(),
    b"VALID": m.Valid(),
    b"INVALID": m.Invalid(),
    b"SUCCESS": m.Success(),
    b"FAILURE": m.Failure(),
}


# --- reading ---------------------------------------------------------------


def decode(line: bytes) -> Message:
    """``line`` without its end, as `Framing.line` gives it."""
    word, _, rest = line.partition(b" ")
    read = _READERS.get(word)
    if read is None:
        return m.Unknown(line)
    try:
        return read(rest)
    except ValueError:
        return m.Unknown(line)


def _key_reader(make: Callable[[Key], Message]) -> Callable[[bytes], Message]:
    parse = Key.parse
    return lambda rest: make(parse(rest))


def _number_reader(make: Callable[[int], Message]) -> Callable[[bytes], Message]:
    return lambda rest: make(number(rest))


def _list_reader(make: Callable[[tuple[bytes, ...]], Message]) -> Callable[[bytes], Message]:
    return lambda rest: make(tuple(word for word in rest.split(b" ") if word))


def _bare_reader(message: Message) -> Callable[[bytes], Message]:
    def read(rest: bytes) -> Message:
        if rest:
            raise ValueError("this takes no parameter")
        return message

    return read


def _read_auth(rest: bytes) -> Message:
    """Missing words are empty ones, here alone; a token holds no space."""
    uuid, _, token = rest.partition(b" ")
    if b" " in token:
        raise ValueError("more than two words")
    return m.Auth(uuid, token)


def _read_remove_before(rest: bytes) -> Message:
    timestamp, _, key = rest.partition(b" ")
    return m.RemoveBefore(number(timestamp), Key.parse(key))


def _read_put(rest: bytes) -> Message:
    file, _, key = rest.partition(b" ")
    return m.Put(_relative(file), Key.parse(key))


def _read_get(rest: bytes) -> Message:
    offset, _, rest = rest.partition(b" ")
    file, _, key = rest.partition(b" ")
    return m.Get(number(offset), _relative(file), Key.parse(key))


def _relative(file: bytes) -> bytes:
    if file.startswith(b"/"):
        raise ValueError("absolute path")
    return file


def _read_connect(rest: bytes) -> Message:
    if rest not in SERVICES:
        raise ValueError("no such service")
    return m.Connect(rest)


_READERS: dict[bytes, Callable[[bytes], Message]] = {
    **{word: _key_reader(make) for word, make in _KEY_COMMANDS.items()},
    **{word: _number_reader(make) for word, make in _NUMBER_COMMANDS.items()},
    **{word: _list_reader(make) for word, make in _LIST_COMMANDS.items()},
    **{word: _bare_reader(message) for word, message in _BARE_COMMANDS.items()},
    b"AUTH": _read_auth,
    b"AUTH-SUCCESS": m.AuthSuccess,
    b"REMOVE-BEFORE": _read_remove_before,
    b"PUT": _read_put,
    b"GET": _read_get,
    b"CONNECT": _read_connect,
    b"ERROR": m.Error,
}


# --- writing ---------------------------------------------------------------

# What git-annex's own server splits words at, in UTF-8.
_SPACES = re.compile(rb"[\t-\r ]|\xc2\xa0|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xaf]|\xe2\x81\x9f|\xe3\x80\x80")
_PRINTABLE = bytes(32 if code < 32 or code == 127 else code for code in range(256))


def encode(message: Message) -> bytes:
    """
    The line with its LF; there is no other LF in it, whatever the fields
    hold.  `ValueError` for `Unknown`, which is never sent on.
    """
    return _WRITERS[type(message)](message)


def _end(line: bytes) -> bytes:
    # The peer takes a CR before LF for part of the line's end: a line that itself ends in CR gets another.
    return line + (b"\r\n" if line.endswith(b"\r") else b"\n")


def _word(text: bytes) -> bytes:
    """For a parameter that is not the last one."""
    return _SPACES.sub(b"_", text)


def _file(file: bytes) -> bytes:
    """A space that the peer would split at becomes what stands for a space."""
    return _SPACES.sub(b"%", file)


def _key_writer(word: bytes) -> Callable[[Any], bytes]:
    return lambda message: _end(word + b" " + message.key.raw)


def _number_writer(word: bytes, field: str) -> Callable[[Any], bytes]:
    return lambda message: b"%b %d\n" % (word, getattr(message, field))


def _list_writer(word: bytes, field: str) -> Callable[[Any], bytes]:
    return lambda message: b" ".join([word, *map(_word, filter(None, getattr(message, field)))]) + b"\n"


def _bare_writer(word: bytes) -> Callable[[Any], bytes]:
    line = word + b"\n"
    return lambda _: line


def _write_auth(auth: m.Auth) -> bytes:
    return b"AUTH %b %b\n" % (_word(auth.uuid), _word(auth.token))


def _write_auth_success(success: m.AuthSuccess) -> bytes:
    return _end(b"AUTH-SUCCESS " + success.uuid.replace(b"\n", b"_"))


def _write_data(data: m.Data) -> bytes:
    return b"DATA %d\n" % data.length


def _write_remove_before(remove: m.RemoveBefore) -> bytes:
    return _end(b"REMOVE-BEFORE %d %b" % (remove.timestamp, remove.key.raw))


def _write_put(put: m.Put) -> bytes:
    return _end(b"PUT %b %b" % (_file(put.file), put.key.raw))


def _write_get(get: m.Get) -> bytes:
    return _end(b"GET %d %b %b" % (get.offset, _file(get.file), get.key.raw))


def _write_connect(connect: m.Connect) -> bytes:
    return b"CONNECT %b\n" % _word(connect.service)


def _write_error(error: m.Error) -> bytes:
    return b"ERROR %b\n" % error.text[:ERROR_TEXT_LIMIT].translate(_PRINTABLE)


def _refuse_unknown(unknown: m.Unknown) -> bytes:
    raise ValueError("a line that could not be read is not sent on")


_WRITERS: dict[type[Message], Callable[[Any], bytes]] = {
    m.Unknown: _refuse_unknown,
    **{make: _key_writer(word) for word, make in _KEY_COMMANDS.items()},
    **{type(message): _bare_writer(word) for word, message in _BARE_COMMANDS.items()},
    m.Version: _number_writer(b"VERSION", "number"),
    m.PutFrom: _number_writer(b"PUT-FROM", "offset"),
    m.Data: _write_data,
    m.Timestamp: _number_writer(b"TIMESTAMP", "seconds"),
    m.ConnectDone: _number_writer(b"CONNECTDONE", "code"),
    m.Bypass: _list_writer(b"BYPASS", "uuids"),
    m.AlreadyHavePlus: _list_writer(b"ALREADY-HAVE-PLUS", "uuids"),
    m.SuccessPlus: _list_writer(b"SUCCESS-PLUS", "uuids"),
    m.FailurePlus: _list_writer(b"FAILURE-PLUS", "uuids"),
    m.Changed: _list_writer(b"CHANGED", "shas"),
    m.Auth: _write_auth,
    m.AuthSuccess: _write_auth_success,
    m.RemoveBefore: _write_remove_before,
    m.Put: _write_put,
    m.Get: _write_get,
    m.Connect: _write_connect,
    m.Error: _write_error,
}


# --- associated files ------------------------------------------------------

_QUOTED = re.compile(rb"%%|%|[\x00-\x1f\x7f]|\xc2[\x80-\x9f]")


def encode_file(path: bytes) -> bytes:
    """
    A path below the top of the work tree as it goes into `Put` and `Get`;
    ``b""`` for none.  Every white space becomes ``%``: this cannot be undone.
    `ValueError` for an absolute path, with which the peer reads nothing.
    """
    _relative(path)
    return _file(path.replace(b"%", b"%%"))


def decode_file(file: bytes) -> bytes:
    """The path that ``file`` names, for people and preferred content; spaces have become ``_``."""
    return _QUOTED.sub(_unquote, file)


def _unquote(match: re.Match[bytes]) -> bytes:
    return b"%" if match[0] == b"%%" else b"_"
