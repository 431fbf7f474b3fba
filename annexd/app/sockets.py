"""
Where the daemon's socket is, for those who serve on it and those who ask it,
and how a daemon makes sure that it is the only one there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from annexd.errors import ConfigError
from annexd.repo.locks import FileLock, try_lock

SYSTEM_SOCKET = "/run/annexd/annexd.sock"
_LONGEST = 107
# sun_path has 108 bytes, one of them for the NUL.


def serving_socket(given: str | None, environ: Mapping[str, str], system: str = SYSTEM_SOCKET) -> str:
    """
    Where to listen: ``given`` by the command line or the configuration, else
    where those who ask will look. Raises `ConfigError` when there is no such place.
    """
    named = given or environ.get("ANNEXD_SOCKET")
    if named:
        return _checked(os.path.abspath(named))
    if os.access(os.path.dirname(system), os.W_OK | os.X_OK):
        return _checked(system)
    return _checked(_own_socket(environ, f"{os.path.dirname(system)} is not a directory to write to"))


def asking_socket(given: str | None, environ: Mapping[str, str], system: str = SYSTEM_SOCKET) -> str:
    """Where a daemon should be. Raises `ConfigError` when there is no place to look."""
    named = given or environ.get("ANNEXD_SOCKET")
    if named:
        return _checked(os.path.abspath(named))
    if os.path.exists(system):
        return _checked(system)
    return _checked(_own_socket(environ, f"{system} does not exist"))


def _own_socket(environ: Mapping[str, str], why_not_the_system: str) -> str:
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    if not os.path.isdir(runtime):
        raise ConfigError(
            f"no place for the socket: {why_not_the_system}, and there is no {runtime}; "
            "name one with --socket or ANNEXD_SOCKET"
        )
    return os.path.join(runtime, "annexd", "annexd.sock")


def _checked(path: str) -> str:
    length = len(os.fsencode(path))
    if length > _LONGEST:
        raise ConfigError(
            f"{path}: the path of a socket may have {_LONGEST} bytes, this one has {length}; "
            "name a shorter one with --socket"
        )
    return path


class Claim:
    """The right to listen on ``path``: a lock on a file beside it, which ends with the process."""

    def __init__(self, path: str) -> None:
        """Raises `ConfigError`: another daemon is there, or something that is no socket."""
        self.path = path
        self._lock: FileLock | None = None
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            self._lock = try_lock(os.fsencode(path) + b".lock", exclusive=True, mode=0o600)
            if self._lock is None:
                raise ConfigError(f"another annexd serves on {path}")
            self._remove_leftover()
        except OSError as error:
            self._unlock()
            raise ConfigError(f"{error.filename or path}: {error.strerror}") from None
        except ConfigError:
            self._unlock()
            raise

    def release(self) -> None:
        """Take the socket away, then let others come."""
        if self._lock is not None:
            try:
                self._remove_leftover()
            except (OSError, ConfigError):
                pass  # somebody else has put something there
            self._unlock()

    def _remove_leftover(self) -> None:
        """A socket without a daemon is what a crash leaves."""
        try:
            mode = os.lstat(self.path).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise ConfigError(f"{self.path} is there, and is not a socket")
        os.unlink(self.path)

    def _unlock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()
