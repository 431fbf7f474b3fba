"""
Who may do what where: principals, rights, rules, and a `Store` that keeps to
them.  Everything that decides is here, whatever way a peer came in by.

A principal is a text: the name of an SSH user or of an account, or
``token:NAME``, or ``certificate:NAME``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Union

from annexd.errors import Denied
from annexd.protocol.keys import Key
from annexd.store import Lease, Outcome, Reader, Store, Writer

_READ_ONLY = "this repository is read-only; write access denied"
_APPEND_ONLY = "this repository is append-only; removal denied"
# Clients and scripts know the beginnings of these sentences from git-annex itself.


class Rights(Enum):
    """From the strictest to the widest; the values are those of the configuration."""

    NONE = "none"
    READ_ONLY = "read-only"
    APPEND_ONLY = "append-only"
    READ_WRITE = "read-write"

    def allow(self, operation: Operation) -> bool:
        return _WIDTH[self] >= _WIDTH[_NEEDED[operation]]


class Operation(Enum):
    """What there is to be allowed, by the names that `annexd access check` knows."""

    ENTER = "enter"
    CHECK = "check"
    GET = "get"
    LOCK = "lock"
    WATCH = "watch"
    PULL = "pull"
    PUT = "put"
    INIT = "init"
    REMOVE = "remove"
    PUSH = "push"


_WIDTH = {rights: width for width, rights in enumerate(Rights)}
_NEEDED = {
    Operation.ENTER: Rights.READ_ONLY,
    Operation.CHECK: Rights.READ_ONLY,
    Operation.GET: Rights.READ_ONLY,
    # Readers count on the content that they lock; nothing changes by it.
    Operation.LOCK: Rights.READ_ONLY,
    Operation.WATCH: Rights.READ_ONLY,
    Operation.PULL: Rights.READ_ONLY,
    Operation.PUT: Rights.APPEND_ONLY,
    Operation.INIT: Rights.APPEND_ONLY,
    Operation.REMOVE: Rights.READ_WRITE,
    # A push may rewind branches, which is to remove.
    Operation.PUSH: Rights.READ_WRITE,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What somebody may do in a repository.  ``because`` says which rule says so,
    for the log; ``hint`` is what the peer learns of that.
    """

    rights: Rights
    because: str = ""
    hint: str = ""

    def require(self, operation: Operation, sentence: str | None = None) -> None:
        """
        Raises `Denied`, with ``sentence`` or the one that users of git-annex know.
        """
        if not self.rights.allow(operation):
            sentence = sentence or _sentence(self.rights, operation)
            raise Denied(sentence + _in_brackets(self.hint), sentence + _in_brackets(self.because))

    def within(self, limits: Verdict) -> Verdict:
        """The stricter of the two."""
        return limits if _WIDTH[limits.rights] < _WIDTH[self.rights] else self


def _sentence(rights: Rights, operation: Operation) -> str:
    if rights is Rights.NONE:
        return "access to this repository is denied"
    if operation is Operation.INIT:
        return "this is no git-annex repository yet, and read-only access cannot make it one"
    return _APPEND_ONLY if (rights, operation) == (Rights.APPEND_ONLY, Operation.REMOVE) else _READ_ONLY


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""


def environment_limits(readonly: bool, appendonly: bool) -> Verdict:
    """
    What GIT_ANNEX_SHELL_READONLY and GIT_ANNEX_SHELL_APPENDONLY leave; the
    former wins when both are set, as in git-annex.  Peers are refused in its
    very words.
    """
    if readonly:
        return Verdict(Rights.READ_ONLY, "GIT_ANNEX_SHELL_READONLY")
    if appendonly:
        return Verdict(Rights.APPEND_ONLY, "GIT_ANNEX_SHELL_APPENDONLY")
    return Verdict(Rights.READ_WRITE)


TOKEN = "token:"
CERTIFICATE = "certificate:"

# --- rules ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rule:
    """
    ``users``, ``repositories`` and ``nodes`` are shell patterns, in which
    ``*`` also matches a slash; ``origin`` says where the rule was written.  A
    rule with ``nodes`` is for what the repository proxies under these names or
    UUIDs, one without is for the repository and all that it proxies.
    """

    users: tuple[str, ...]
    repositories: tuple[str, ...]
    rights: Rights
    origin: str = ""
    nodes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """A peer may know the line, but not where the file is."""
        return Verdict(self.rights, self.origin, os.path.basename(self.origin))

    def names(self, principal: str) -> bool:
        return any(fnmatchcase(principal, pattern) for pattern in self.users)

    def covers(self, paths: Sequence[bytes], node: Sequence[str]) -> bool:
        if self.nodes and not any(fnmatchcase(name, pattern) for name in node for pattern in self.nodes):
            return False
        return any(fnmatchcase(os.fsdecode(p), pattern) for p in paths for pattern in self.repositories)


class Access:
    """
    The rules, in order: the first that names the principal and covers the
    repository decides.  Whom no rule names may do all that the way in allows,
    and nothing with a certificate: a CA may know many whom we do not.
    """

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._rules = tuple(rules)

    def verdict(self, principal: str, *paths: bytes, node: Sequence[str] = ()) -> Verdict:
        """
        ``paths`` are all the names of one repository: the one that was
        configured, and where its files really are.  A rule that covers any of
        them covers the repository.  ``node`` are the names (and the UUID) of
        what is meant behind it: a proxied repository, or a cluster.
        """
        named = [rule for rule in self._rules if rule.names(principal)]
        for rule in named:
            if rule.covers(paths, node):
                return rule.verdict
        if named:
            what = f"{node[0]} in this repository" if node else "this repository"
            return Verdict(Rights.NONE, f"there are rules for {principal}, but none for {what}")
        if principal.startswith(CERTIFICATE):
            return Verdict(Rights.NONE, f"no rule names {principal}")
        return Verdict(Rights.READ_WRITE, f"no rule names {principal}")

    def rights(self, principal: str, *paths: bytes) -> Rights:
        return self.verdict(principal, *paths).rights


# --- stores --------------------------------------------------------------------


def restricted(store: Store, verdict: Verdict) -> Store:
    """``store`` for a caller with these rights."""
    return store if verdict.rights is Rights.READ_WRITE else _Restricted(store, verdict)


class _Restricted:
    """A `Store` that does less than the one it wraps."""

    def __init__(self, store: Store, verdict: Verdict) -> None:
        self._store = store
        self._verdict = verdict

    @property
    def uuid(self) -> bytes:
        return self._store.uuid

    async def present(self, key: Key) -> bool:
        self._verdict.require(Operation.CHECK)
        return await self._store.present(key)

    def present_now(self, key: Key) -> bool | None:
        return self._store.present_now(key) if self._verdict.rights.allow(Operation.CHECK) else None

    async def lock(self, key: Key) -> Lease:
        self._verdict.require(Operation.LOCK)
        return await self._store.lock(key)

    async def remove(self, key: Key, before: int | None = None) -> Outcome:
        self._verdict.require(Operation.REMOVE)
        return await self._store.remove(key, before)

    async def timestamp(self) -> int:
        return await self._store.timestamp()

    async def read(self, key: Key, offset: int, file: bytes) -> Reader:
        self._verdict.require(Operation.GET)
        return await self._store.read(key, offset, file)

    def read_now(self, key: Key, offset: int, file: bytes) -> bytes | None:
        allowed = self._verdict.rights.allow(Operation.GET)
        return self._store.read_now(key, offset, file) if allowed else None

    async def write(self, key: Key, file: bytes) -> Union[Writer, Outcome]:
        self._verdict.require(Operation.PUT)
        return await self._store.write(key, file)

    async def changes(self) -> tuple[bytes, ...]:
        self._verdict.require(Operation.WATCH)
        return await self._store.changes()

    async def close(self) -> None:
        await self._store.close()
