"""
A git-annex key: parse, print, file name, hash directories.

``BACKEND[-sSIZE][-mMTIME][-SCHUNKSIZE][-CCHUNK]--NAME``, with the fields in
that order.  Key text is bytes, and is not escaped on the wire: NAME may hold
spaces, slashes, NULs and any encoding, but no LF, which ends a line.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

NUMBER_LIMIT = 2**63
"""No number reaches it: sizes, offsets and times are signed 64-bit in every file system and kernel."""

EXTENSION_LIMIT = 64
"""Bytes from the first dot of a name on, for backends that keep extensions; git-annex parses no more."""

FILE_NAME_LIMIT = 255
"""Bytes in one file name, on every file system that matters."""

# The fields with numbers as git-annex prints them, and surely below the limit.
_NORMAL = re.compile(
    rb"([^-\n]+)"
    rb"(?:-s(0|[1-9][0-9]{0,17}))?"
    rb"(?:-m(0|[1-9][0-9]{0,17}))?"
    rb"(?:-S(0|[1-9][0-9]{0,17}))?"
    rb"(?:-C(0|[1-9][0-9]{0,17}))?"
    rb"--([^\n]*)"
)
# Any numbers: git-annex reads leading zeros, and forgets them.
_ANY = re.compile(rb"([^-\n]+)(?:-s([0-9]+))?(?:-m([0-9]+))?(?:-S([0-9]+))?(?:-C([0-9]+))?--([^\n]*)")

_MIXED_DIGITS = b"0123456789zqjxkmvwgpfZQJXKMVWGPF"

_ESCAPE = re.compile(rb"&(.?)|%|[:/]", re.DOTALL)
_UNESCAPED = {b"&a": b"&", b"&s": b"%", b"&c": b":", b"%": b"/"}


def number(digits: bytes) -> int:
    """Plain decimal digits, at most 19, below 2**63; `ValueError` for anything else."""
    if len(digits) > 19 or not digits.isdigit():
        raise ValueError("not a number")
    value = int(digits)
    if value >= NUMBER_LIMIT:
        raise ValueError("number too large")
    return value


class Key:
    """
    One key, immutable.  Make it with `parse` or `from_file_name`: they see to
    it that ``raw`` is the one spelling of the key that git-annex would print.
    Keys are equal when their ``raw`` is.

    Most keys are only ever asked for their place on disk, so parsing checks
    the whole text at once and takes the fields out when somebody asks.
    """

    __slots__ = ("_digest", "_fields", "_file_name", "raw")

    def __init__(self, raw: bytes, fields: re.Match[bytes]) -> None:
        self.raw: Final = raw
        self._fields = fields
        self._file_name: bytes | None = None
        self._digest: bytes | None = None

    @classmethod
    def parse(cls, raw: bytes) -> Key:
        """`ValueError` when ``raw`` is not a key."""
        fields = _NORMAL.fullmatch(raw)
        if fields is None:
            raw, fields = _normalise(raw)
        if fields[1][-1] == 69:  # "E": the backend keeps extensions
            _check_extension(fields[6])
        return cls(raw, fields)

    @classmethod
    def from_file_name(cls, name: bytes) -> Key:
        """The key whose `file_name` is ``name``; `ValueError` when there is none."""
        key = cls.parse(_ESCAPE.sub(_unescape, name))
        if key.file_name != name:
            raise ValueError("not the file name of a key")
        return key

    def __eq__(self, other: object) -> bool:
        return self.raw == other.raw if isinstance(other, Key) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"Key({self.raw!r})"

    def __str__(self) -> str:
        """For people: what is not UTF-8, or not printable, is shown as an escape."""
        text = self.raw.decode("utf-8", "backslashreplace")
        return text if text.isprintable() else "".join(map(_visible, text))

    @property
    def backend(self) -> bytes:
        return self._fields[1]

    @property
    def size(self) -> int | None:
        """Of the whole content, in bytes."""
        return _number(self._fields[2])

    @property
    def mtime(self) -> int | None:
        """Seconds since the epoch."""
        return _number(self._fields[3])

    @property
    def chunk_size(self) -> int | None:
        """In bytes."""
        return _number(self._fields[4])

    @property
    def chunk_number(self) -> int | None:
        """Counts from 1."""
        return _number(self._fields[5])

    @property
    def name(self) -> bytes:
        return self._fields[6]

    @property
    def file_name(self) -> bytes:
        """The key as one file name, reversibly."""
        if self._file_name is None:
            escaped = self.raw.replace(b"&", b"&a").replace(b"%", b"&s")
            self._file_name = escaped = escaped.replace(b":", b"&c").replace(b"/", b"%")
            return escaped
        return self._file_name

    @property
    def storable(self) -> bool:
        """Can there be a file of this name?"""
        return len(self.file_name) <= FILE_NAME_LIMIT and b"\0" not in self.raw

    @property
    def recordable(self) -> bool:
        """
        Can there be a journal entry for it?  Its name, ``abc_def_KEY.log``
        with each underscore of the key doubled, is the longest one that
        git-annex makes of a key: where it does not fit, git-annex leaves an
        object that no location log knows of.
        """
        length = len(self.file_name) + self.raw.count(b"_") + len(b"abc_def_.log")
        return length <= FILE_NAME_LIMIT and b"\0" not in self.raw

    @property
    def hash_lower(self) -> bytes:
        """``b"abc/def"``: the directories of bare repositories and of the branch."""
        digits = self._hash()[:3].hex().encode()
        return digits[:3] + b"/" + digits[3:]

    @property
    def hash_mixed(self) -> bytes:
        """``b"zK/02"``: the directories of repositories with a work tree."""
        word = int.from_bytes(self._hash()[:4], "little")
        digit = _MIXED_DIGITS
        return b"%c%c/%c%c" % (
            digit[word >> 6 & 31],
            digit[word & 31],
            digit[word >> 18 & 31],
            digit[word >> 12 & 31],
        )

    def _hash(self) -> bytes:
        """MD5 of the key's text (not of its file name); a chunk lives beside its whole."""
        if self._digest is None:
            digest = hashlib.md5(self._whole(), usedforsecurity=False).digest()
            self._digest = digest
            return digest
        return self._digest

    def _whole(self) -> bytes:
        fields = self._fields
        if fields[4] is None and fields[5] is None:
            return self.raw
        size = b"" if fields[2] is None else b"-s" + fields[2]
        mtime = b"" if fields[3] is None else b"-m" + fields[3]
        return b"".join((fields[1], size, mtime, b"--", fields[6]))


def _number(digits: bytes | None) -> int | None:
    return None if digits is None else int(digits)


def _normalise(raw: bytes) -> tuple[bytes, re.Match[bytes]]:
    """The key without leading zeros, and its fields."""
    fields = _ANY.fullmatch(raw)
    if fields is None:
        raise ValueError("not a key")
    numbers = [
        b"-%c%d" % (letter, number(digits.lstrip(b"0") or b"0"))
        for letter, digits in zip(b"smSC", fields.groups()[1:5], strict=True)
        if digits is not None
    ]
    raw = b"".join([fields[1], *numbers, b"--", fields[6]])
    normal = _ANY.fullmatch(raw)
    assert normal is not None
    return raw, normal


def _check_extension(name: bytes) -> None:
    dot = name.find(b".")
    if dot >= 0 and len(name) - dot > EXTENSION_LIMIT:
        raise ValueError("extension too long")


def _unescape(match: re.Match[bytes]) -> bytes:
    try:
        return _UNESCAPED[match[0]]
    except KeyError:
        raise ValueError("not the file name of a key") from None


def _visible(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]
