"""
authorized_keys as OpenSSH has it: one line, one key, and what holds for whoever
has it.

Pure: text in, values out.  A line is honoured in all that it says or not at
all, so an option that would be without effect here, but was meant to allow or
to forbid something, is an error.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from annexd.app.key_conditions import Origins, expiry
from annexd.errors import Refused
from annexd.sessions import command
from annexd.sessions.command import shown

LONGEST_LINE = 32 * 1024
_SMALLEST_RSA_BITS = 2048
_LARGEST_RSA_BITS = 16384

_CURVES = {b"ecdsa-sha2-nistp256": 65, b"ecdsa-sha2-nistp384": 97, b"ecdsa-sha2-nistp521": 133}
# The length of an uncompressed point.

_TYPES = frozenset((b"ssh-ed25519", b"ssh-rsa", *_CURVES))
_TYPE = re.compile(rb"(ssh|ecdsa|sk|rsa)-[a-z0-9.@-]+(?=[ \t])")

_GIVEN_ANYWAY = frozenset(
    ("restrict", "no-agent-forwarding", "no-port-forwarding", "no-pty", "no-user-rc", "no-x11-forwarding")
    + ("permitopen", "permitlisten")
)
# They forbid what nobody may do here.

_VARIABLES = {
    "GIT_ANNEX_SHELL_READONLY": b"readonly",
    "GIT_ANNEX_SHELL_APPENDONLY": b"appendonly",
    "GIT_ANNEX_SHELL_LIMITED": b"limited",
    "GIT_ANNEX_SHELL_DIRECTORY": b"directory",
}
_WAYS = frozenset(("PATH", "ANNEXD_SOCKET"))
# They tell a forced command how to come here, where its user is already.

_SHELLS = (b"annexd-shell", b"git-annex-shell")
_ASSIGNMENT = re.compile(rb"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_OPTION = re.compile(r'([A-Za-z0-9-]+)(?:="((?:[^"\\]|\\.)*)")?(,|$)')


@dataclass(frozen=True, slots=True)
class Entry:
    """``key`` is as on the wire; ``user`` is empty where the line names none."""

    key: bytes
    user: str = ""
    limits: dict[bytes, bytes] = field(default_factory=dict)
    """As `annexd.sessions.command.Environment.of` takes them."""

    origins: Origins | None = None
    """Where its user may come from; `None`: from anywhere."""

    expires: float | None = None
    """Seconds since 1970."""

    place: str = ""
    """As in ``/etc/annexd/keys:7``."""


@dataclass(frozen=True, slots=True)
class Problem:
    place: str
    sentence: str


def parse(text: bytes, file: str, owner: str = "") -> tuple[list[Entry], list[Problem]]:
    """
    What the lines say, in their order, and those that are left out, with the
    reasons.  All keys are those of ``owner``, or else each line names a user.
    """
    entries, problems = [], []
    for number, line in enumerate(text.split(b"\n"), 1):
        line = line.strip()
        if not line or line.startswith(b"#"):
            continue
        place = f"{file}:{number}"
        try:
            entries.append(replace(_owned(parse_line(line), owner), place=place))
        except ValueError as error:
            problems.append(Problem(place, str(error)))
    return entries, problems


def _owned(entry: Entry, owner: str) -> Entry:
    if not owner and not entry.user:
        raise ValueError('the line names no user, as command="annexd-shell --user NAME" does')
    if owner and entry.user not in ("", owner):
        raise ValueError(f"the file is that of {owner}, and the line names {entry.user}")
    return replace(entry, user=owner or entry.user)


def parse_line(line: bytes) -> Entry:
    """Raises `ValueError` with a sentence."""
    if len(line) > LONGEST_LINE:
        raise ValueError(f"the line has more than {LONGEST_LINE} bytes")
    options, rest = _cut_options(line)
    rest = rest.strip()
    words = rest.split(None, 2)
    if not _TYPE.match(rest) or len(words) < 2:
        raise ValueError("there is no key in the line")
    return _with_options(Entry(_key(words[0], words[1])), options)


def _cut_options(line: bytes) -> tuple[str, bytes]:
    """Options have no blanks outside of quotes, and no key begins like one."""
    if _TYPE.match(line):
        return "", line
    quoted, position = False, 0
    while position < len(line) and (quoted or line[position] not in b" \t"):
        if line[position : position + 2] == b'\\"':
            position += 1
        elif line[position] == ord('"'):
            quoted = not quoted
        position += 1
    if quoted:
        raise ValueError("a quotation is left open")
    try:
        return line[:position].decode("utf-8"), line[position:]
    except UnicodeDecodeError:
        raise ValueError("the options are not UTF-8") from None


# --- keys --------------------------------------------------------------------


def _key(name: bytes, written: bytes) -> bytes:
    if name not in _TYPES:
        raise ValueError(f"keys of the type {shown(name)} are not accepted here")
    try:
        key = base64.b64decode(written, validate=True)
        fields = _fields(key)
    except (binascii.Error, struct.error):
        raise ValueError("the key is damaged") from None
    if fields[0] != name or not _is_whole(name, fields[1:]):
        raise ValueError("the key is damaged")
    if name == b"ssh-rsa":
        bits = int.from_bytes(fields[2], "big").bit_length()
        if not _SMALLEST_RSA_BITS <= bits <= _LARGEST_RSA_BITS:
            raise ValueError(f"the RSA key has {bits} bits; {_SMALLEST_RSA_BITS} are the least")
    return key


def _fields(key: bytes) -> list[bytes]:
    fields, position = [], 0
    while position < len(key):
        (length,) = struct.unpack_from(">L", key, position)
        position += 4 + length
        if position > len(key):
            raise struct.error
        fields.append(key[position - length : position])
    if not fields:
        raise struct.error
    return fields


def _is_whole(name: bytes, fields: list[bytes]) -> bool:
    if name == b"ssh-ed25519":
        return len(fields) == 1 and len(fields[0]) == 32
    if name == b"ssh-rsa":
        return len(fields) == 2
    return len(fields) == 2 and name.endswith(fields[0]) and len(fields[1]) == _CURVES[name]


# --- options -----------------------------------------------------------------


def _with_options(entry: Entry, text: str) -> Entry:
    seen: set[str] = set()
    position = 0
    while position < len(text):
        found = _OPTION.match(text, position)
        if found is None or (found[3] == "," and found.end() == len(text)):
            raise ValueError(f"the options cannot be read from {text[position:][:40]!r} on")
        position = found.end()
        name = found[1].lower()
        if name in seen and name != "environment":
            raise ValueError(f"the option {name} is there twice")
        seen.add(name)
        value = None if found[2] is None else found[2].replace('\\"', '"')
        entry = _with_option(entry, name, value)
    return entry


def _with_option(entry: Entry, name: str, value: str | None) -> Entry:
    if name in _GIVEN_ANYWAY:
        return entry
    if name not in ("command", "environment", "from", "expiry-time"):
        raise ValueError(f"the option {name} cannot be honoured here")
    if not value:
        raise ValueError(f'the option {name} needs a value, as in {name}="..."')
    match name:
        case "command":
            return _with_command(entry, value)
        case "environment":
            variable, _, setting = value.partition("=")
            return _with_variable(entry, variable, setting)
        case "from":
            return replace(entry, origins=Origins.parse(value))
        case _:
            return replace(entry, expires=expiry(value))


def _with_variable(entry: Entry, name: str, value: str) -> Entry:
    if name not in _VARIABLES:
        raise ValueError(f"the variable {name} means nothing here")
    if _VARIABLES[name] in entry.limits:
        raise ValueError(f"the variable {name} is set twice")
    return replace(entry, limits={**entry.limits, _VARIABLES[name]: value.encode()})


def _with_command(entry: Entry, value: str) -> Entry:
    """As in ``GIT_ANNEX_SHELL_READONLY=1 annexd-shell --user alice``."""
    try:
        words = command.split(value.encode())
    except Refused as error:
        raise ValueError(f"the forced command cannot be read: {error}") from None
    while words and (assignment := _ASSIGNMENT.fullmatch(words[0])):
        name = assignment[1].decode()
        if name not in _WAYS:
            entry = _with_variable(entry, name, assignment[2].decode())
        words = words[1:]
    if not words or words[0].rpartition(b"/")[2] not in _SHELLS:
        raise ValueError("the forced command is not annexd-shell")
    return replace(entry, user=_user(words[1:]))


def _user(words: Sequence[bytes]) -> str:
    """Of the options of annexd-shell; git-annex-shell has none."""
    user, rest = "", list(words)
    while rest and rest[0].startswith(b"--"):
        name, equals, value = rest.pop(0).partition(b"=")
        if name not in (b"--user", b"--socket") or not (equals or rest):
            raise ValueError(f"the forced command has {shown(name)}, which means nothing here")
        if not equals:
            value = rest.pop(0)
        if name == b"--user" and not user:
            user = checked_user(value.decode())
    if rest not in ([], [b"-c", b"$SSH_ORIGINAL_COMMAND"]):
        raise ValueError("the forced command has more than options")
    return user


def checked_user(name: str) -> str:
    """Raises `ValueError` for what cannot be somebody's name."""
    if not name or len(name) > 100 or not name.isprintable() or set(name) & set(" /:"):
        raise ValueError(f"{name[:100]!r} cannot be the name of a user")
    return name
