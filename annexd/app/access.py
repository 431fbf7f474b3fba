"""
Who may do what where: the rules of the configuration, and a `Store` that
keeps to them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Union

from annexd.errors import Refused
from annexd.protocol.keys import Key
from annexd.store import Lease, Outcome, Reader, Store, Writer

READ_ONLY_REFUSAL = "this repository is read-only; write access denied"
APPEND_ONLY_REFUSAL = "this repository is append-only; removal denied"
# Clients and scripts know these two sentences from git-annex itself.


class Rights(Enum):
    """From the strictest to the widest; the values are those of the configuration."""

    NONE = "none"
    READ_ONLY = "read-only"
    APPEND_ONLY = "append-only"
    READ_WRITE = "read-write"

    @property
    def may_add(self) -> bool:
        return self in (Rights.APPEND_ONLY, Rights.READ_WRITE)

    @property
    def may_remove(self) -> bool:
        return self is Rights.READ_WRITE


_BY_WIDTH = list(Rights)


def stricter(first: Rights, second: Rights) -> Rights:
    return min(first, second, key=_BY_WIDTH.index)


def environment_rights(readonly: bool, appendonly: bool) -> Rights:
    """
    What GIT_ANNEX_SHELL_READONLY and GIT_ANNEX_SHELL_APPENDONLY leave; the
    former wins when both are set, as in git-annex.
    """
    if readonly:
        return Rights.READ_ONLY
    return Rights.APPEND_ONLY if appendonly else Rights.READ_WRITE


@dataclass(frozen=True, slots=True)
class Rule:
    """
    ``users`` and ``repositories`` are shell patterns, in which ``*`` also
    matches a slash; ``origin`` says where the rule was written.
    """

    users: tuple[str, ...]
    repositories: tuple[str, ...]
    rights: Rights
    origin: str = ""

    def names(self, principal: str) -> bool:
        return any(fnmatchcase(principal, pattern) for pattern in self.users)

    def covers(self, paths: Sequence[bytes]) -> bool:
        return any(fnmatchcase(os.fsdecode(p), pattern) for p in paths for pattern in self.repositories)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a principal may do in a repository, and which rule says so."""

    rights: Rights
    because: str


class Access:
    """The rules, in order: the first that names the user and covers the repository decides."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._rules = tuple(rules)

    def verdict(self, principal: str, *paths: bytes) -> Verdict:
        """
        ``paths`` are all the names of one repository: the one that was
        configured, and where its files really are.  A rule that covers any of
        them covers the repository.
        """
        named = [rule for rule in self._rules if rule.names(principal)]
        for rule in named:
            if rule.covers(paths):
                return Verdict(rule.rights, rule.origin)
        if named:
            return Verdict(Rights.NONE, "there are rules for this user, but none for this repository")
        return Verdict(Rights.READ_WRITE, "there are no rules for this user")

    def rights(self, principal: str, *paths: bytes) -> Rights:
        return self.verdict(principal, *paths).rights


def restricted(store: Store, rights: Rights) -> Store:
    """``store`` for a caller with these rights."""
    return store if rights is Rights.READ_WRITE else _Restricted(store, rights)


class _Restricted:
    """A `Store` that does less than the one it wraps."""

    def __init__(self, store: Store, rights: Rights) -> None:
        self._store = store
        self._rights = rights

    @property
    def uuid(self) -> bytes:
        return self._store.uuid

    def _check_readable(self) -> None:
        if self._rights is Rights.NONE:
            raise Refused("access to this repository is denied")

    async def present(self, key: Key) -> bool:
        self._check_readable()
        return await self._store.present(key)

    def present_now(self, key: Key) -> bool | None:
        return None if self._rights is Rights.NONE else self._store.present_now(key)

    async def lock(self, key: Key) -> Lease:
        """Readers may lock: the content that they count on stays a while, nothing changes."""
        self._check_readable()
        return await self._store.lock(key)

    async def remove(self, key: Key, before: int | None = None) -> Outcome:
        self._check_readable()
        if not self._rights.may_add:
            raise Refused(READ_ONLY_REFUSAL)
        if not self._rights.may_remove:
            raise Refused(APPEND_ONLY_REFUSAL)
        return await self._store.remove(key, before)

    async def timestamp(self) -> int:
        return await self._store.timestamp()

    async def read(self, key: Key, offset: int, file: bytes) -> Reader:
        self._check_readable()
        return await self._store.read(key, offset, file)

    async def write(self, key: Key, file: bytes) -> Union[Writer, Outcome]:
        self._check_readable()
        if not self._rights.may_add:
            raise Refused(READ_ONLY_REFUSAL)
        return await self._store.write(key, file)

    async def changes(self) -> tuple[bytes, ...]:
        self._check_readable()
        return await self._store.changes()

    async def close(self) -> None:
        await self._store.close()
