"""Where in the text of a TOML document each key is; `tomllib` does not tell."""

from __future__ import annotations

import tomllib
from typing import Any

Where = tuple[str | int, ...]
"""As in ``("access", 0, "users")``: keys, and positions in arrays of tables."""

_ENDS = ("]", "}", '"""', "'''")
"""One of them is in the last line of a value that goes on for lines."""


class Lines:
    """For a text that `tomllib` has accepted."""

    def __init__(self, text: str) -> None:
        self._lines = text.replace("\r\n", "\n").split("\n")
        self._found: dict[Where, int] = {}
        self._table: Where = ()
        self._counts: dict[tuple[str, ...], int] = {}
        number = 0
        while number < len(self._lines):
            number += self._statement(number)

    def of(self, where: Where) -> int:
        """The line, from 1 on, of the innermost thing that was found on the way to ``where``."""
        while where and where not in self._found:
            where = where[:-1]
        return self._found.get(where, 1)

    def _statement(self, number: int) -> int:
        """Read the header or the assignment that begins here; how many lines it has."""
        line = self._lines[number].strip()
        if not line or line.startswith("#"):
            return 1
        if line.startswith("["):
            self._header(line, number)
            return 1
        for last in range(number, len(self._lines)):
            # A value may go on for lines: it ends where it can be read, which is not worth a try everywhere.
            if last > number and not any(end in self._lines[last] for end in _ENDS):
                continue
            try:
                parsed = tomllib.loads("\n".join(self._lines[number : last + 1]))
            except tomllib.TOMLDecodeError:
                continue
            self._note((*self._table, *_path(parsed)), number)
            return last + 1 - number
        return 1

    def _header(self, line: str, number: int) -> None:
        repeated = line.startswith("[[")
        names = _path(tomllib.loads(line))
        self._table = names
        if repeated:
            count = self._counts.get(names, 0)
            self._counts[names] = count + 1
            self._table = (*names, count)
        self._note(self._table, number)

    def _note(self, where: Where, number: int) -> None:
        for length in range(1, len(where) + 1):
            self._found.setdefault(where[:length], number + 1)


def _path(parsed: Any) -> tuple[str, ...]:
    """The keys down to the only value of a document that assigns one thing."""
    names = []
    while True:
        if isinstance(parsed, dict) and len(parsed) == 1:
            [(name, parsed)] = parsed.items()
            names.append(name)
        else:
            return tuple(names)
