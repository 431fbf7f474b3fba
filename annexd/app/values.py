"""What the values in annexd.toml may look like; each parser raises `ValueError` with a sentence."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

Parser = Callable[[object], Any]

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_PLACE = re.compile(r"^(.*) \(at (?:line (\d+), column \d+|end of document)\)$", re.DOTALL)


def text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"must be a text in quotes, not {_shown(value)}")
    if any(ord(character) < 32 for character in value):
        raise ValueError("must not contain control characters")
    return value


def texts(value: object) -> list[str]:
    if not isinstance(value, list) or not value:
        raise ValueError(f'must be a list of texts, as in ["alice", "b*"], not {_shown(value)}')
    return [text(item) for item in value]


def path(value: object) -> str:
    """An absolute path, without a slash at the end; ``~`` is the daemon's own home."""
    given = os.path.expanduser(text(value))
    if not os.path.isabs(given):
        raise ValueError(f"must be an absolute path, not {_shown(value)}")
    return os.path.normpath(given)


def boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {_shown(value)}")
    return value


def whole(least: int, most: int) -> Parser:
    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"must be a whole number from {least} to {most}, not {_shown(value)}")
        return value

    return parse


def one_of(*choices: str) -> Parser:
    def parse(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}, not {_shown(value)}")
        return value

    return parse


def duration(above: float | None = None) -> Parser:
    """Seconds, from a number or from a text as in ``"1h30m"``."""

    def parse(value: object) -> float:
        seconds = _seconds(value)
        if seconds is None or seconds != seconds or seconds in (float("inf"), float("-inf")):
            raise ValueError(
                f'must be seconds, or a duration as in "90s", "5m" or "12h", not {_shown(value)}'
            )
        if seconds < 0 or (above is not None and seconds <= above):
            raise ValueError(f"must be {'at least 0' if above is None else f'more than {above:g}'} seconds")
        return seconds

    return parse


def _seconds(value: object) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, str) or not _PART.sub("", value) == "" or not value:
        return None
    return sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(value))


def _shown(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return repr(value[:60])
        case int() | float():
            return str(value)
        case list():
            return "a list" if value else "an empty list"
        case dict():
            return "a table"
        case _:
            return "a date or time"


def syntax_error(file: str, text: str, message: str) -> str:
    """What `tomllib` says, with the line where others look for it."""
    found = _PLACE.match(message)
    if found is None:
        return f"{file}: {message}"
    line = found[2] or str(len(text.splitlines()) or 1)
    return f"{file}:{line}: {found[1]}"
