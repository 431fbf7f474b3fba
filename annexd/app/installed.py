"""Where git-annex's own git-annex-shell is on this host, for the verbs that are left to it."""

from __future__ import annotations

import os
from collections.abc import Mapping

_STAND_IN = b"# annexd-shell:"
# In the beginning of the script, and somewhere in the compiled program, which
# may be installed under the name of git-annex-shell.

_LOOKED_AT = 1 << 20
# The compiled program is much smaller, and git-annex's much larger.


def installed_shell(git_annex: bytes, environ: Mapping[bytes, bytes]) -> bytes | None:
    """
    git-annex's own git-annex-shell: beside ``git_annex``, a name or a path, or
    anywhere else in PATH.  What only has its name would ask us again.
    """
    places = environ.get(b"PATH", os.fsencode(os.defpath)).split(b":")
    if b"/" in git_annex:
        places.insert(0, os.path.dirname(git_annex))
    for place in places:
        path = os.path.join(os.path.abspath(place), b"git-annex-shell")
        try:
            if os.access(path, os.X_OK) and not is_stand_in(path):
                return path
        except OSError:
            continue
    return None


def is_stand_in(path: bytes | str) -> bool:
    """Whether the program at ``path`` is annexd-shell, whatever its name; raises `OSError`."""
    with open(path, "rb") as file:
        return _STAND_IN in file.read(_LOOKED_AT)
