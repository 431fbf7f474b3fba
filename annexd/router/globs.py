"""
Globs as git-annex matches them: ``*``, ``?`` and bracket expressions of POSIX,
against a whole text.

git-annex makes a POSIX regular expression of a glob, with a notion of where
brackets end that is simpler than that of POSIX: ``[[:space:]*]`` closes at the
first ``]`` for the one and at the second for the other, so that ``*`` has
become ``.*`` by then and ``]`` is escaped, all inside of brackets.  The same
two steps are taken here, and the result is the same.

Dots do not match LF and lines are matched one by one.  In globs for files a
slash matches several.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from annexd.router.automaton import Automaton

_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": r"\x21-\x7e",
    "lower": "a-z",
    "print": r"\x20-\x7e",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t-\r ",
    "upper": "A-Z",
    "word": "a-zA-Z0-9_",
}
_ASSERTIONS = {"<": r"\b(?=\w)", ">": r"\b(?<=\w)", "`": r"\A", "'": r"\Z"}
# Escaped, these are no characters any more for the library that git-annex uses.

_NAMED = re.compile(r"\[(?::([a-z]*):|(\.).\.|=(.)=)\]", re.DOTALL)


class BadGlob(ValueError):
    """Brackets that are not closed, or a range that ends before it begins."""


_CHEAP = 100_000
"""Steps of Python's regular expressions, which are the faster ones where they need not go back often."""


class Glob:
    """``items`` are those of an `Automaton`."""

    def __init__(self, items: list[str], flags: re.RegexFlag) -> None:
        self._pattern = re.compile("^" + "".join(items) + "$", flags)
        self._automaton = Automaton(items, flags)
        self._choices = sum(item.endswith(("*", "+")) for item in items)

    def matches(self, text: str) -> bool:
        if (len(text) + 1) ** self._choices <= _CHEAP:
            return self._pattern.search(text) is not None
        return self._automaton.matches(text)


@lru_cache(maxsize=1024)
def compiled(glob: str, files: bool) -> Glob:
    """
    Globs for ``files`` tell upper and lower case, others do not.  Raises `BadGlob`.
    """
    posix = "".join(_posix(glob, files))
    flags = re.MULTILINE if files else re.MULTILINE | re.IGNORECASE
    try:
        return Glob(_items(posix), flags)
    except BadGlob as error:
        raise BadGlob(f"{glob!r}: {error}") from None


def _posix(glob: str, files: bool) -> Iterator[str]:
    """The glob as a regular expression of POSIX."""
    inside = False
    previous = ""
    for character in glob:
        if inside:
            if character == "!" and previous == "[":
                yield "^"
            else:
                yield r"\\" if character == "\\" else character
            inside = character != "]"
        elif character == "[":
            yield "["
            inside = True
        else:
            yield _outside(character, files)
        previous = character if character == "[" and previous != "[" else ""


def _outside(character: str, files: bool) -> str:
    if character == "*":
        return ".*"
    if character == "?":
        return "."
    if files and character in "/\\":
        return f"[{character}]+"
    return character if character.isalpha() or character.isdecimal() else "\\" + character


def _items(posix: str) -> list[str]:
    items: list[str] = []
    for part in _python(posix):
        if part not in ("*", "+"):
            items.append(part)
        elif not items[-1].endswith(part):
            items[-1] += part
    return items


def _python(posix: str) -> Iterator[str]:
    """The same as the parts of a regular expression of Python."""
    position = 0
    while position < len(posix):
        character = posix[position]
        if character == "[":
            part, position = _bracket(posix, position + 1)
            yield part
        elif character == "\\":
            escaped = posix[position + 1]
            yield _ASSERTIONS.get(escaped) or re.escape(escaped)
            position += 2
        else:
            yield character
            position += 1


def _bracket(posix: str, position: int) -> tuple[str, int]:
    """The bracket expression that begins before ``position``, and where it ends."""
    negated = posix[position : position + 1] == "^"
    position += negated
    items: list[str] = []
    if posix[position : position + 1] in ("]", "-"):
        items.append(re.escape(posix[position]))
        position += 1
    while posix[position : position + 1] != "]" or not items:
        if position >= len(posix):
            raise BadGlob("the brackets are not closed")
        item, position = _item(posix, position)
        items.append(item)
    inside = "".join(items)
    if negated:
        return f"[^{inside}\n]", position + 1
    return f"[{inside}]" if inside else "(?!)", position + 1


def _item(posix: str, position: int) -> tuple[str, int]:
    """A class, a range or a character."""
    named = _NAMED.match(posix, position)
    if named is not None:
        # Classes that nobody knows, and collating symbols, have no characters.
        return re.escape(named[3]) if named[3] else _CLASSES.get(named[1], ""), named.end()
    first, dash, last = (posix[position + offset : position + offset + 1] for offset in range(3))
    if dash == "-" and last not in ("", "]"):
        if last < first:
            raise BadGlob("a range ends before it begins")
        return f"{re.escape(first)}-{re.escape(last)}", position + 3
    return re.escape(first), position + 1
