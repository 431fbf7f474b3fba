"""
OpenSSH's protocol between an ssh that holds a connection and others that want
sessions over it (PROTOCOL.mux of its sources, version 4): bytes to messages.

A packet is a length (32 bits, as all numbers) and as many bytes: a number that
says what it is, and its fields.  Strings have their length before them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Union

from annexd.errors import FramingError

_VERSION = 4
_LONGEST = 256 * 1024
"""ssh's own limit of a packet."""

_HELLO, _NEW_SESSION, _TERMINATE = 0x00000001, 0x10000002, 0x10000005
_OK, _DENIED, _FAILURE, _EXIT = 0x80000001, 0x80000002, 0x80000003, 0x80000004
_OPENED, _TTY_FAILED = 0x80000006, 0x80000008

_NO_ESCAPE_CHARACTER = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Hello:
    version: int


@dataclass(frozen=True, slots=True)
class Opened:
    request: int
    session: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Of a request, by the user's settings or by the server."""

    request: int
    reason: str


@dataclass(frozen=True, slots=True)
class Exit:
    session: int
    code: int


@dataclass(frozen=True, slots=True)
class Other:
    kind: int


Reply = Union[Hello, Opened, Refusal, Exit, Other]


def hello() -> bytes:
    return _packet(_numbers(_HELLO, _VERSION))


def new_session(request: int, command: bytes) -> bytes:
    """
    To be followed by three descriptors, of the command's input, output and
    error.  Neither a terminal nor X11 nor an agent is asked for.
    """
    wanted = _numbers(0, 0, 0, 0, _NO_ESCAPE_CHARACTER)
    return _packet(_numbers(_NEW_SESSION, request) + _string(b"") + wanted + _string(b"") + _string(command))


def terminate(request: int) -> bytes:
    return _packet(_numbers(_TERMINATE, request))


class Replies:
    """The stream of what an ssh answers."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self) -> Reply | None:
        """`None` until there is a whole one; raises `FramingError`."""
        if len(self._buffer) < 4:
            return None
        (length,) = struct.unpack_from(">I", self._buffer)
        if not 4 <= length <= _LONGEST:
            raise FramingError("what answers at the control socket is no ssh")
        if len(self._buffer) < 4 + length:
            return None
        packet = bytes(self._buffer[4 : 4 + length])
        del self._buffer[: 4 + length]
        return _reply(packet)


def _reply(packet: bytes) -> Reply:
    try:
        (kind,) = struct.unpack_from(">I", packet)
        if kind == _HELLO:
            return Hello(*struct.unpack_from(">I", packet, 4))
        if kind == _OPENED:
            return Opened(*struct.unpack_from(">II", packet, 4))
        if kind == _EXIT:
            return Exit(*struct.unpack_from(">II", packet, 4))
        if kind in (_DENIED, _FAILURE):
            request, length = struct.unpack_from(">II", packet, 4)
            return Refusal(request, packet[12 : 12 + length].decode("utf-8", "replace"))
        return Other(kind)
    except struct.error:
        raise FramingError("what answers at the control socket is no ssh") from None


def _packet(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


def _numbers(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data
