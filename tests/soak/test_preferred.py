"""Preferred content expressions, as git-annex and annexd see them, by the ten thousand."""

from __future__ import annotations

import os

from tests.interop import test_preferred

_SECONDS = float(os.environ.get("ANNEXD_SOAK_SECONDS", "600"))
_WORLDS_PER_SECOND = 0.8


class Preferred(test_preferred.Preferred):
    seeds = tuple(range(1, 2 + int(_SECONDS / 120)))
    worlds = int(120 * _WORLDS_PER_SECOND)
