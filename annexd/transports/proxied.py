"""
The PROXY protocol, versions 1 and 2: in front of everything else a front end
says whose connection it passes on.

Only what certainly belongs to the header is taken from the socket: whatever
comes behind it (TLS, say) is read by others.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import Any

from annexd.errors import Refused
from annexd.transports.readiness import readable

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED = struct.Struct("!12sBBH")
_INET = struct.Struct("!4s4sHH")
_INET6 = struct.Struct("!16s16sHH")
_LONGEST_LINE = 107
_LONGEST_BINARY = 2048
# Addresses take 216 bytes at most; the rest is what front ends add about TLS and themselves.


async def proxied(reactor: Any, sock: socket.socket) -> str | None:
    """
    The address of the client; `None` when the front end speaks for itself.
    Raises `Refused`, as in "it ...".
    """
    header = bytearray()
    while wanted := lacking(header):
        try:
            # A line is looked at before it is taken, up to its end.
            if header.startswith(b"P"):
                wanted = _up_to_lf(sock.recv(wanted, socket.MSG_PEEK))
            data = sock.recv(wanted)
        except BlockingIOError:
            await readable(reactor, sock)
            continue
        except OSError:
            data = b""
        if not data:
            raise Refused("it hung up within the PROXY header")
        header += data
    return client(bytes(header))


def _up_to_lf(data: bytes) -> int:
    return data.find(b"\n") + 1 or len(data) or 1


def lacking(header: bytes | bytearray) -> int:
    """How many bytes may be taken that belong to the header; 0 when it is complete.  Raises `Refused`."""
    size = len(header)
    if not size:
        return 1
    if header.startswith(b"P"):
        if header.endswith(b"\n"):
            return 0
        if size >= _LONGEST_LINE or not b"PROXY ".startswith(header[:6]):
            raise _no_header()
        return _LONGEST_LINE - size
    if header[: len(_SIGNATURE)] != _SIGNATURE[:size]:
        raise _no_header()
    if size < _FIXED.size:
        return _FIXED.size - size
    rest = _FIXED.unpack_from(header)[3]
    if rest > _LONGEST_BINARY:
        raise Refused("its PROXY header is too long")
    return int(_FIXED.size + rest - size)


def client(header: bytes) -> str | None:
    """What a complete header says.  Raises `Refused`."""
    try:
        return _from_line(header) if header.startswith(b"P") else _from_binary(header)
    except (ValueError, IndexError, struct.error):
        raise Refused("its PROXY header makes no sense") from None


def _from_line(header: bytes) -> str | None:
    line, end = header[:-2].decode("ascii"), header[-2:]
    words = line.split(" ")
    if end != b"\r\n":
        raise ValueError
    if words[1] == "UNKNOWN":
        return None
    _, family, source, _destination, *ports = words
    address = ipaddress.ip_address(source)
    if family != f"TCP{4 if address.version == 4 else 6}" or len(ports) != 2:
        raise ValueError
    return str(address)


def _from_binary(header: bytes) -> str | None:
    _, version_and_command, family, _ = _FIXED.unpack_from(header)
    if version_and_command == 0x20:
        return None  # the front end asks on its own behalf, for its health checks
    if version_and_command != 0x21:
        raise ValueError
    if family == 0x11:
        return str(ipaddress.IPv4Address(_INET.unpack_from(header, _FIXED.size)[0]))
    if family == 0x21:
        return str(ipaddress.IPv6Address(_INET6.unpack_from(header, _FIXED.size)[0]))
    return None  # a unix socket, or something that has no address


def _no_header() -> Refused:
    return Refused("it may speak with a PROXY header only, and sent none")
