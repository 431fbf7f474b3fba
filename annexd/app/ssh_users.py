"""
Who may log in to the SSH listener: the files with the users' keys, read again
when they have changed.
"""

from __future__ import annotations

import os
import re
import stat
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Protocol

from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from annexd.app.authorized_keys import Entry, Problem, parse
from annexd.app.logs import clean
from annexd.errors import AnnexdError, ConfigError
from annexd.flow.workers import Pool

_log = Logger()

_MOST_BYTES = 16 * 1024 * 1024
_MOST_REMEMBERED = 1000
# Files of users that are kept in memory; of more the one that was used least recently is read again.

_LOGIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,99}")
_PUB = ".pub"

Stamp = tuple[int, ...]


def is_login(name: str) -> bool:
    """Whether a user can have this name where each has a file."""
    return _LOGIN.fullmatch(name) is not None and not name.endswith(_PUB)


class Users(Protocol):
    """Where keys are looked up."""

    async def entries(self, login: str) -> Sequence[Entry]:
        """Whoever may log in with this name."""


class OneFile:
    """Of all users: the key decides who comes, whatever the login name."""

    def __init__(self, path: str, pool: Pool) -> None:
        self._file = _KeyFile(path, "", pool)

    async def entries(self, login: str) -> Sequence[Entry]:
        return await self._file.entries()


class OneFileEach:
    """A directory with a file ``NAME`` or ``NAME.pub`` for each user, who logs in with this name."""

    def __init__(self, directory: str, pool: Pool) -> None:
        self._directory = directory
        self._pool = pool
        self._files: OrderedDict[str, _KeyFile] = OrderedDict()

    async def entries(self, login: str) -> Sequence[Entry]:
        if not is_login(login):
            return ()
        path = os.path.join(self._directory, login)
        return [*await self._entries(path, login), *await self._entries(path + _PUB, login)]

    async def _entries(self, path: str, user: str) -> Sequence[Entry]:
        file = self._files.get(path) or _KeyFile(path, user, self._pool)
        found = await file.entries()
        if found:
            # Names that nobody has are not worth remembering.
            self._files[path] = file
            self._files.move_to_end(path)
            while len(self._files) > _MOST_REMEMBERED:
                self._files.popitem(last=False)
        return found


class _KeyFile:
    """One file, of whose lines those are used that can be read."""

    def __init__(self, path: str, owner: str, pool: Pool) -> None:
        self._path = path
        self._owner = owner
        self._pool = pool
        self._lock = DeferredLock()
        self._stamp: Stamp = ()
        self._entries: Sequence[Entry] = ()
        self._problem = ""

    async def entries(self) -> Sequence[Entry]:
        """As they are now: whoever has been taken out stays out from now on."""
        await self._lock.acquire()
        try:
            await self._look()
        finally:
            self._lock.release()
        return self._entries

    async def _look(self) -> None:
        try:
            found = await self._pool.run(_read_blocking, self._path, self._owner, self._stamp)
        except AnnexdError as error:
            self._stamp, self._entries = (), ()
            if str(error) != self._problem:
                _log.error("{error}", error=str(error))
            self._problem = str(error)
            return
        self._problem = ""
        if found is not None:
            self._stamp, self._entries, problems = found
            for problem in problems:
                _log.error("{place}: {sentence}", place=problem.place, sentence=clean(problem.sentence))


def problems_of(file: str | None, directory: str | None) -> list[str]:
    """What is wrong with the one file, or with those in the directory; blocks."""
    if file is not None:
        return list(_problems(file, ""))
    assert directory is not None
    try:
        names = sorted(name for name in os.listdir(directory) if _LOGIN.fullmatch(name))
    except OSError as error:
        return [f"{directory}: {error.strerror}, so nobody can log in"]
    return [
        problem
        for name in names
        for problem in _problems(os.path.join(directory, name), name.removesuffix(_PUB))
    ]


def _problems(path: str, owner: str) -> Iterator[str]:
    try:
        found = _read_blocking(path, owner, ())
    except ConfigError as error:
        yield str(error)
        return
    for problem in found[2] if found is not None else ():
        yield f"{problem.place}: {clean(problem.sentence)}"


def _read_blocking(
    path: str, owner: str, known: Stamp
) -> tuple[Stamp, Sequence[Entry], Sequence[Problem]] | None:
    """
    For a thread.  `None` when the file is as it was.  One that is not there is
    an empty one where it is that of one user.  Raises `ConfigError`.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            _check(path, status)
            if stamp == known:
                return None
            entries, problems = parse(file.read(_MOST_BYTES), path, owner)
            return stamp, entries, problems
    except FileNotFoundError:
        if not owner:
            raise ConfigError(f"{path} does not exist, so nobody can log in") from None
        return (), (), ()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def _check(path: str, status: os.stat_result) -> None:
    """As sshd does: keys that anybody could have added are worth nothing.  Raises `ConfigError`."""
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{path} is not a file")
    if status.st_size > _MOST_BYTES:
        raise ConfigError(f"{path} has more than {_MOST_BYTES} bytes, and is not used")
    directory = os.stat(os.path.dirname(path)).st_mode
    if status.st_mode & 0o022 or (directory & 0o022 and not directory & stat.S_ISVTX):
        raise ConfigError(f"{path} is not used: others than its owner may change it, or its directory")
