"""
Numbers and sizes in expressions, as git-annex reads them: a number as Haskell
writes it, with whatever else behind it ignored.
"""

from __future__ import annotations

import re

_INTEGER = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|[0-9]+(?!\.?[0-9]|[eE][-+]?[0-9]))")
_REAL = re.compile(
    r"-?(?:0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,4})?)"
)
_BASES = {"0x": 16, "0o": 8, "0b": 2}
_UNIT = re.compile(r"\s*([^\W\d_]*)")

_DECIMAL = ("k", "M", "G", "T", "P", "E", "Z", "Y", "R", "Q")
_LONG = ("kilo", "mega", "giga", "tera", "peta", "exa", "zetta", "yotta", "ronna", "quetta")
_BINARY = ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi")
_LONG_BINARY = ("kibi", "mebi", "gibi", "tebi", "pebi", "exbi", "zebi", "yobi")
_BITS_PER_BYTE = 8
_LONGEST = 4000
"""Digits: Python refuses to convert many more, and nobody means so many."""

_LAST_BIT_PREFIX = 8


def _units() -> dict[str, int]:
    """Bytes by name, in lower case. There are units for bandwidths, too, which count bits."""
    units = {"": 1, "b": 1, "byte": 1, "bytes": 1}
    for power, (short, long) in enumerate(zip(_DECIMAL, _LONG, strict=True), 1):
        size = 1000**power
        units |= dict.fromkeys((short.lower(), f"{short}b".lower(), f"{long}byte", f"{long}bytes"), size)
        if power <= _LAST_BIT_PREFIX:
            bits = size // _BITS_PER_BYTE
            units |= dict.fromkeys((f"{short}bit".lower(), f"{long}bit", f"{long}bits"), bits)
    for power, (short, long) in enumerate(zip(_BINARY, _LONG_BINARY, strict=True), 1):
        names = (short.lower(), f"{short}b".lower(), f"{long}byte", f"{long}bytes")
        units |= dict.fromkeys(names, 1 << 10 * power)
    return units


_UNITS = _units()


def integer(text: str) -> int | None:
    """A whole number at the beginning of ``text``, in 64 bits; `None` where there is none."""
    match = _INTEGER.match(text)
    if match is None or len(match[0]) > _LONGEST:
        return None
    return (_whole(match[0]) + 2**63) % 2**64 - 2**63


def real(text: str) -> float | None:
    """A number that ``text`` is, with nothing before or behind it but white space."""
    match = _REAL.fullmatch(text.strip())
    return None if match is None else _float(match[0])


def size(text: str) -> int | None:
    """Bytes of ``1.5MB``, ``10 kibibytes`` or ``7``; `None` where it is no size."""
    match = _REAL.match(text)
    if match is None:
        return None
    unit = _UNIT.match(text, match.end())
    multiplier = _UNITS.get(unit[1].lower() if unit is not None else "")
    if multiplier is None:
        return None
    product = _float(match[0]) * float(multiplier)
    return round(product) if abs(product) != float("inf") else None


def _whole(digits: str) -> int:
    sign, digits = (-1, digits[1:]) if digits[0] == "-" else (1, digits)
    base = _BASES.get(digits[:2].lower(), 10)
    return sign * int(digits if base == 10 else digits[2:], base)


def _float(digits: str) -> float:
    if digits.lstrip("-")[:2].lower() not in _BASES:
        return float(digits)
    try:
        return float(_whole(digits))
    except OverflowError:
        return float("-inf" if digits[0] == "-" else "inf")
