"""
Vector clocks as git-annex writes them in its logs: seconds since the epoch,
with an optional fraction and an optional ``s``.  They are counted in ticks of
a picosecond, which is as far as git-annex looks.
"""

from __future__ import annotations

import re

TICKS_PER_SECOND = 10**12

PATTERN = rb"([-+]?)([0-9]{1,40})(?:\.([0-9]{1,40}))?s?"
"""For the regular expressions of whole lines; its three groups are what `ticks` takes."""

_CLOCK = re.compile(PATTERN)


def ticks(sign: bytes, seconds: bytes, fraction: bytes) -> int:
    count = int(seconds) * TICKS_PER_SECOND + int(fraction[:12].ljust(12, b"0"))
    return -count if sign == b"-" else count


def parse(text: bytes) -> int | None:
    """Ticks; `None` when it is no clock."""
    match = _CLOCK.fullmatch(text)
    return None if match is None else ticks(*match.groups(b""))


def printed(count: int) -> bytes:
    """Fractions are printed only where there is one, with as few digits as do."""
    sign = b"-" if count < 0 else b""
    seconds, fraction = divmod(abs(count), TICKS_PER_SECOND)
    digits = b".%012d" % fraction if fraction else b""
    return b"%s%d%ss" % (sign, seconds, digits.rstrip(b"0"))


def after(known: int | None, now: float) -> int:
    """
    The clock of a line that is written at ``now`` (seconds since the epoch)
    and replaces one with the clock ``known``.

    Clocks of different machines differ, and what happened last must have the
    newest line all the same, so it is newer than the replaced one by a second
    at least, even if that comes from the future.
    """
    clock = int(now) * TICKS_PER_SECOND
    return clock if known is None else max(clock, known + TICKS_PER_SECOND)
