"""
What an SSH client asks for, read from the command line that it sent.

Pure: a line in, a value out, or `Refused`.  No shell ever sees the line, so
nothing in it is expanded and ``;`` or ``$`` are characters like others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Union

from annexd.errors import Refused


@dataclass(frozen=True, slots=True)
class ConfigList:
    """``configlist``: what is the UUID?  ``autoinit``: make one where there is none."""

    directory: bytes
    uuid: bytes | None = None
    autoinit: bool = False


@dataclass(frozen=True, slots=True)
class Talk:
    """``p2pstdio``: a session of the P2P protocol, for the repository ``client``."""

    directory: bytes
    client: bytes
    uuid: bytes | None = None


@dataclass(frozen=True, slots=True)
class NotifyChanges:
    """``notifychanges``: a line whenever a ref changes."""

    directory: bytes
    uuid: bytes | None = None


@dataclass(frozen=True, slots=True)
class Git:
    """``service`` is ``upload-pack``, ``receive-pack`` or ``upload-archive``."""

    directory: bytes
    service: bytes


@dataclass(frozen=True, slots=True)
class Delegated:
    """A verb that is left to an installed git-annex-shell, with what follows the directory."""

    directory: bytes
    verb: bytes
    arguments: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Nothing:
    """``true``, which git-annex runs to open a connection that others will share."""


Wanted = Union[ConfigList, Talk, NotifyChanges, Git, Delegated, Nothing]

READERS = frozenset((b"inannex", b"sendkey"))
"""Delegated verbs that change nothing."""

ADDERS = frozenset((b"recvkey",))
"""Delegated verbs that only add."""

_DELEGATED = READERS | ADDERS | {b"dropkey", b"gcryptsetup"}
_VERBS = _DELEGATED | {b"configlist", b"p2pstdio", b"notifychanges"}
_SHELLS = (b"git-annex-shell", b"annexd-shell")
_SERVICES = (b"upload-pack", b"receive-pack", b"upload-archive")

_FLAGS = frozenset((b"--debug", b"-d", b"--no-debug", b"--force", b"--quiet", b"-q", b"--verbose", b"-v"))
"""Options that git-annex's verbs share; none means anything here."""

_LONGEST_LINE = 64 * 1024
_DEEPEST = 10
# A forced command that wraps the client's in another -c goes one or two deep.


def parse(line: bytes) -> Wanted:
    """Raises `Refused` for everything that is not served."""
    return _read(split(line), 0)


def _read(words: list[bytes], depth: int) -> Wanted:
    if not words or depth > _DEEPEST:
        raise Refused("no command was given" if not words else "the command is wrapped too often")
    if words == [b"true"]:
        return Nothing()
    program, rest = os.path.basename(words[0]), words[1:]
    if program in _SHELLS:
        return _read_shell(rest, depth + 1)
    if program == b"git" and rest:
        program, rest = b"git-" + rest[0], rest[1:]
    if program.startswith(b"git-") and program[4:] in _SERVICES:
        return _read_git(program[4:], rest)
    raise Refused(f"{shown(words[0])} is not available here: only git and git-annex commands are served")


def _read_shell(words: list[bytes], depth: int) -> Wanted:
    while words and words[0] == b"-c":
        words = words[1:]
    if words and words[0] in _VERBS:
        return _read_verb(words[0], words[1:])
    return _read(split(words[0]) if len(words) == 1 else words, depth)


def _read_git(service: bytes, words: list[bytes]) -> Wanted:
    if len(words) != 1 or words[0].startswith(b"-"):
        raise Refused(f"git-{service.decode()} takes one directory and nothing else")
    return Git(words[0], service)


def _read_verb(verb: bytes, words: list[bytes]) -> Wanted:
    if not words:
        raise Refused(f"{verb.decode()} needs a directory")
    directory, words = words[0], words[1:]
    if verb in _DELEGATED:
        return Delegated(directory, verb, tuple(words))
    words, fields = _cut(words)
    uuid, parameters = _options(verb, words)
    if verb == b"p2pstdio":
        if len(parameters) != 1:
            raise Refused("missing UUID parameter")
        return Talk(directory, parameters[0], uuid)
    if parameters:
        raise Refused(f"{verb.decode()} takes no parameters")
    if verb == b"configlist":
        return ConfigList(directory, uuid, b"autoinit=1" in fields)
    return NotifyChanges(directory, uuid)


def _cut(words: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Parameters and options, then fields between two ``--``; git-annex drops what comes after them."""
    if b"--" not in words:
        return words, []
    start = words.index(b"--")
    fields = words[start + 1 :]
    return words[:start], fields[: fields.index(b"--")] if b"--" in fields else fields


def _options(verb: bytes, words: list[bytes]) -> tuple[bytes | None, list[bytes]]:
    """The UUID that is expected (the first that is named counts), and the parameters."""
    uuid: bytes | None = None
    parameters: list[bytes] = []
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition(b"=")
        if name in (b"--uuid", b"--debugfilter"):
            given = value if equals else next(rest, None)
            if given is None:
                raise Refused(f"the option {name.decode()} needs an argument")
            if name == b"--uuid" and uuid is None:
                uuid = given
        elif word.startswith(b"-") and word != b"-":
            if word not in _FLAGS:
                raise Refused(f"{verb.decode()} has no option {shown(word)}")
        else:
            parameters.append(word)
    return uuid, parameters


# --- words -------------------------------------------------------------------

_PIECE = re.compile(
    rb"""(?P<space>[ \t\r\n]+)
       | (?P<plain>[^ \t\r\n'"\\]+)
       | '(?P<single>[^']*)'
       | "(?P<double>(?:[^"\\]|\\.)*)"
       | \\(?P<escaped>.)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED_IN_DOUBLE = re.compile(rb'\\(?:\n|([$`"\\]))')


def split(line: bytes) -> list[bytes]:
    """Words as a POSIX shell quotes them; raises `Refused` when a quote is left open."""
    if len(line) > _LONGEST_LINE:
        raise Refused(f"the command line is longer than {_LONGEST_LINE} bytes")
    if b"\0" in line:
        raise Refused("the command line has a NUL in it")
    words: list[bytes] = []
    word: bytes | None = None
    position = 0
    while position < len(line):
        piece = _PIECE.match(line, position)
        if piece is None:
            raise Refused("the command line ends inside a quotation")
        position = piece.end()
        if piece.lastgroup != "space":
            word = (word or b"") + _unquoted(piece)
        elif word is not None:
            words.append(word)
            word = None
    return words if word is None else [*words, word]


def _unquoted(piece: re.Match[bytes]) -> bytes:
    kind = piece.lastgroup or ""
    text = piece[kind]
    if kind == "double":
        return _ESCAPED_IN_DOUBLE.sub(lambda match: match[1] or b"", text)
    if kind == "escaped" and text == b"\n":
        return b""  # a continued line
    return text


def shown(word: bytes) -> str:
    """For a sentence: short, and without anything that a terminal would obey."""
    text = word[:200].decode("utf-8", "replace")
    text = "".join(char if char.isprintable() else "�" for char in text)
    return text if len(word) <= 200 else text + "…"


# --- what the environment allows -----------------------------------------------


@dataclass(frozen=True, slots=True)
class Environment:
    """
    The variables by which existing authorized_keys lines restrict
    git-annex-shell, with the meaning that they have there: an empty one
    counts as unset, but for ``directory``, where it means ``home``.
    """

    home: bytes = b""
    readonly: bool = False
    appendonly: bool = False
    limited: bool = False
    directory: bytes | None = None

    @classmethod
    def of(cls, fields: Mapping[bytes, bytes]) -> Environment:
        return cls(
            home=fields.get(b"home") or fields.get(b"cwd", b""),
            readonly=bool(fields.get(b"readonly")),
            appendonly=bool(fields.get(b"appendonly")),
            limited=bool(fields.get(b"limited")),
            directory=fields.get(b"directory"),
        )

    def check(self, wanted: Wanted) -> None:
        """
        Raises `Refused`.  What p2pstdio may do under READONLY and APPENDONLY
        is decided request by request; git is stopped by LIMITED only, as ever.
        """
        if isinstance(wanted, Nothing):
            return
        if isinstance(wanted, Git) and self.limited:
            raise Refused("Action blocked by GIT_ANNEX_SHELL_LIMITED")
        if isinstance(wanted, Delegated) and wanted.verb not in READERS:
            if self.readonly:
                raise Refused("Action blocked by GIT_ANNEX_SHELL_READONLY")
            if self.appendonly and wanted.verb not in ADDERS:
                raise Refused("Action blocked by GIT_ANNEX_SHELL_APPENDONLY")
        self._check_directory(wanted.directory)

    def _check_directory(self, asked: bytes) -> None:
        """By the text of the paths alone, as git-annex does: a symlink to the directory is another one."""
        if self.directory is None:
            return
        allowed, asked = self._plain(self.directory), self._plain(asked)
        if allowed != asked:
            raise Refused(f"Only allowed to access {shown(allowed)} not {shown(asked)}")

    def path(self, wanted: Wanted) -> bytes:
        """
        Where to look.  What was compared as text must be used as that text:
        ``allowed/link/..`` is elsewhere for the kernel.
        """
        assert not isinstance(wanted, Nothing)
        return wanted.directory if self.directory is None else self._plain(wanted.directory)

    def _plain(self, path: bytes) -> bytes:
        """Absolute, without dots and doubled slashes; ``~/x``, ``/~/x`` and ``x`` are in ``home``."""
        for prefix in (b"~/", b"/~/"):
            if path.startswith(prefix):
                path = b"./" + path[len(prefix) :]
                break
        path = os.path.normpath(os.path.join(self.home or b"/", path))
        return b"/" + path.lstrip(b"/")
