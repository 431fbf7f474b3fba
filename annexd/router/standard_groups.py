"""
git-annex's own expressions for repositories in groups with certain names;
``standard`` in a preferred content expression stands for one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType


def _or_last_resort(expression: str) -> str:
    """Most of them want what has too few copies anywhere."""
    return f"({expression}) or approxlackingcopies=1"


_NOT_ARCHIVED = "(not (copies=archive:1 or copies=smallarchive:1))"
_OUTSIDE_ARCHIVES = "exclude=*/archive/* and exclude=archive/*"
_IN_ARCHIVES = "include=*/archive/* or include=archive/*"
_ALL = "include=* or unused"

_CLIENT = _or_last_resort(f"(({_OUTSIDE_ARCHIVES}) or {_NOT_ARCHIVED}) and not unused")
_ARCHIVE = _or_last_resort(_NOT_ARCHIVED)

STANDARD_GROUPS: Mapping[bytes, str] = MappingProxyType(
    {
        b"client": _CLIENT,
        b"transfer": _or_last_resort(f"not (inallgroup=client and copies=client:2) and ({_CLIENT})"),
        b"backup": _ALL,
        b"incrementalbackup": _or_last_resort(
            f"({_ALL}) and (not copies=backup:1) and (not copies=incrementalbackup:1)"
        ),
        b"smallarchive": _or_last_resort(f"({_IN_ARCHIVES}) and {_NOT_ARCHIVED}"),
        b"archive": _ARCHIVE,
        b"source": "not (copies=1)",
        b"manual": f"present and ({_CLIENT})",
        b"public": "inpreferreddir",
        b"unwanted": "exclude=*",
    }
)
