"""Where the daemon keeps what it makes for itself: keys, certificates, tokens."""

from __future__ import annotations

import os
from collections.abc import Mapping

from annexd.errors import ConfigError

SYSTEM_STATE = "/var/lib/annexd"


def state_directory(configured: str | None, environ: Mapping[str, str]) -> str:
    """
    ``daemon.state-directory``, else what systemd gives, else /var/lib/annexd
    for root and for whom that belongs to, else the user's own place for such
    things.
    """
    if configured:
        return configured
    given = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return given
    if os.geteuid() == 0 or _is_own(SYSTEM_STATE):
        return SYSTEM_STATE
    home = environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(home, "annexd")


def _is_own(path: str) -> bool:
    """What systemd tells the daemon, it tells nobody who types commands as the same user."""
    try:
        return os.stat(path).st_uid == os.geteuid()
    except OSError:
        return False


def private_directory(path: str) -> str:
    """
    Make ``path`` where it is missing, for nobody else to look into.  Raises
    `ConfigError`, also where others may look into it and something is there
    already: that may be a directory of theirs, which they go on to need.
    """
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        if os.stat(path).st_mode & 0o077:
            if os.listdir(path):
                raise ConfigError(
                    f"{path} is open to others: name a directory of its own in daemon.state-directory, "
                    "or make this one private (chmod 700, with systemd StateDirectoryMode=0700)"
                )
            os.chmod(path, 0o700)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    return path
