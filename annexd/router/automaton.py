"""
Whether a glob matches, in time that is linear in the text.

Who may push writes globs, and who may upload names the files they are matched
against; Python's regular expressions go back and try again, and a few stars
keep them busy for years.  So all the ways in which a text can match are
followed at once, as the bits of one number: bit ``n`` is set where the first
``n`` items have been matched.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Callable

_MOST_CHARACTERS = 512
"""Of which it is remembered what they match."""

_IS_WORD = re.compile(r"\w").fullmatch


class Automaton:
    """
    ``items`` are regular expressions of one character each, ``.*``, such a
    character with a ``+``, or one of `ASSERTIONS`.  Lines are matched one by
    one, and one of them must match from its beginning to its end.
    """

    def __init__(self, items: Sequence[str], flags: re.RegexFlag) -> None:
        self._accepting = 1 << len(items)
        self._stars = _bits(items, lambda item: item == ".*")
        self._repeated = _bits(items, lambda item: len(item) > 1 and item[-1] == "+" and item[-2] != "\\")
        self._assertions = [
            (holds, bits) for name, holds in ASSERTIONS.items() if (bits := _bits(items, name.__eq__))
        ]
        self._characters = [
            (1 << place, re.compile(item if item in ("\\+", "\\*") else item.rstrip("+*"), flags))
            for place, item in enumerate(items)
            if item not in ASSERTIONS
        ]
        self._known: dict[str, int] = {}

    def matches(self, text: str) -> bool:
        states = 0
        for place in range(len(text) + 1):
            before, after = text[place - 1 : place] if place else "", text[place : place + 1]
            if before in ("", "\n"):
                states |= 1
            passable = self._stars
            for holds, bits in self._assertions:
                if holds(before, after):
                    passable |= bits
            # The sum carries each state through all that it may pass without a character.
            states |= passable ^ (passable + (states & passable))
            if after in ("", "\n") and states & self._accepting:
                return True
            matching = self._matching(after) if after else 0
            once = (states & matching & ~self._stars) << 1
            again = ((states >> 1) & matching & self._repeated) << 1
            states = once | again | (states & matching & self._stars)
        return False

    def _matching(self, character: str) -> int:
        """The items that match it."""
        known = self._known.get(character)
        if known is None:
            if len(self._known) >= _MOST_CHARACTERS:
                self._known.clear()
            known = sum(bit for bit, item in self._characters if item.fullmatch(character))
            self._known[character] = known
        return known


def _word(character: str) -> bool:
    return _IS_WORD(character) is not None


ASSERTIONS: dict[str, Callable[[str, str], bool]] = {
    r"\b(?=\w)": lambda before, after: _word(after) and not _word(before),
    r"\b(?<=\w)": lambda before, after: _word(before) and not _word(after),
    r"\A": lambda before, after: not before,
    r"\Z": lambda before, after: not after,
}
"""By the characters before and after a place; empty at the ends."""


def _bits(items: Sequence[str], wanted: Callable[[str], bool]) -> int:
    return sum(1 << place for place, item in enumerate(items) if wanted(item))
