"""
All keys that a location log knows, a few at a time: there may be millions.

The git-annex branch is walked as it was at the beginning, directory by
directory.  What comes later is for whoever uploads it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from annexd.errors import Refused
from annexd.protocol.keys import Key
from annexd.repo import presence, trees
from annexd.repo.branch import branch_path
from annexd.repo.disks import refusing
from annexd.repo.git import Git
from annexd.repo.local import Repository

_AT_ONCE = 200
"""About 15 ms of a thread, in which others wait for the log."""

_LOG = b".log"
_POINTER = b"/annex/objects/"
_LONGEST_POINTER = 32 * 1024


@dataclass(frozen=True, slots=True)
class Logged:
    """A key, and the repositories that are known to have it."""

    key: Key
    holders: frozenset[bytes]


class Census:
    """Made by `begin`."""

    def __init__(self, repository: Repository, head: bytes | None) -> None:
        self._repository = repository
        self._walk = _walk(repository, head)

    async def some(self) -> list[Logged]:
        """The next ones; none when these were all."""
        with refusing():
            return await self._repository.ledger.run(lambda: list(islice(self._walk, _AT_ONCE)))


async def begin(repository: Repository) -> Census:
    """What waits in the journal is committed, so that it is seen as well."""
    await repository.settle()
    with refusing():
        return Census(repository, await repository.ledger.run(repository.git.branch_head))


def _walk(repository: Repository, head: bytes | None) -> Iterator[Logged]:
    """For the ledger's thread, anew for each step; between the steps it keeps only plain bytes."""
    yield from _journalled(repository)
    if head is not None:
        for name, blob in _location_logs(repository.git, head):
            key = _key(name)
            if key is not None:
                yield Logged(key, _holders(repository.git, blob))


def _holders(git: Git, blob: bytes) -> frozenset[bytes]:
    """One log that cannot be read is no reason not to read the others."""
    try:
        return presence.holders(git.content(blob))
    except Refused:
        return frozenset()


def _journalled(repository: Repository) -> Iterator[Logged]:
    """What is not to be committed, or cannot be; on the branch the same key may come again."""
    try:
        files = os.scandir(repository.parts.layout.journal)
    except FileNotFoundError:
        return
    with files:
        for file in files:
            path = branch_path(file.name)
            key = _key(path.rpartition(b"/")[2]) if path.count(b"/") == 2 else None
            if key is not None:
                yield Logged(key, repository.ledger.branch.holders(key))


def _location_logs(git: Git, head: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and blobs of the files two directories deep."""
    for outer in _directories(git, git.tree_of(head)):
        for inner in _directories(git, outer):
            for name, (mode, oid) in trees.cut(git.content(inner)).items():
                if mode == trees.FILE and name.endswith(_LOG):
                    yield name, oid.hex().encode("ascii")


def _directories(git: Git, tree: bytes) -> list[bytes]:
    """Each once: no two have the same keys, but a few trees can be made to stand for millions."""
    entries = trees.cut(git.content(tree)).values()
    found = dict.fromkeys(oid for mode, oid in entries if mode == trees.TREE)
    return [oid.hex().encode("ascii") for oid in found]


def _key(log_name: bytes) -> Key | None:
    """`None` for what is no location log, or that of no key."""
    if not log_name.endswith(_LOG):
        return None
    try:
        return Key.from_file_name(log_name[: -len(_LOG)])
    except ValueError:
        return None


def pointed_at(content: bytes) -> Key | None:
    """By what a symlink to content, or a pointer file, holds."""
    first = content[:_LONGEST_POINTER].partition(b"\n")[0].rstrip(b"\r")
    if _POINTER not in b"/" + first:
        return None
    try:
        return Key.from_file_name(first.rpartition(b"/")[2])
    except ValueError:
        return None
