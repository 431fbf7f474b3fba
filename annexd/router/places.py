"""
From a path that a client named to a repository that is served, or to none.

What counts is where a path really leads, symlinks and dots resolved: a
configured repository, or one inside a configured directory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from annexd.errors import Refused

_SUFFIXES = (b"/.git", b"", b".git/.git", b".git")
# The order in which git's own servers try them.


@dataclass(frozen=True, slots=True)
class Served:
    """
    One repository (its work tree, its .git, or a bare one), or with ``nested``
    a directory and everything in it.  ``path`` is absolute.  With
    ``git_annex_tokens``, those that git-annex made for it are good.
    """

    path: bytes
    nested: bool = False
    fsync: bool = True
    git_annex_tokens: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """
    A repository that is served.  ``name`` is what it is called in rules, logs
    and status; ``aliases`` are all its paths, that one included.
    """

    name: bytes
    aliases: tuple[bytes, ...]
    git_dir: bytes
    served: Served
    identity: tuple[int, int]
    """Device and inode of the git directory: another one may come to the same path."""

    content: bytes = field(default=b"", compare=False)
    """Where the objects are, which may be another disk; as far as that can be seen from here."""


class Sight(Protocol):
    """What the thread that looks for a repository may look at."""

    def near(self, path: bytes) -> bool:
        """A disk that hangs must not keep those from a repository that is elsewhere."""

    def real(self, path: bytes) -> bytes:
        """As `os.path.realpath`, as far as that can be seen from here."""


class _All:
    def has(self, paths: Iterable[bytes]) -> bool:
        return True

    def near(self, path: bytes) -> bool:
        return True

    def real(self, path: bytes) -> bytes:
        return os.path.realpath(path)


ALL = _All()


class Map:
    """What is served, by path; it looks at the disk, so it is for a thread."""

    def __init__(self, served: Iterable[Served]) -> None:
        everything = tuple(served)
        self._directories = tuple(s for s in everything if s.nested)
        self._single = tuple(s for s in everything if not s.nested)
        self._singles: dict[bytes, Served] = {}

    def locate(self, path: bytes, home: bytes | None, sight: Sight = ALL) -> Place:
        """See `annexd.router.directory.Directory.locate`."""
        for candidate in candidates(path, home):
            place = self._at(candidate, sight) if sight.near(candidate) else None
            if place is not None:
                return place
        raise Refused(f"no repository is served at {os.fsdecode(path)}")

    def _at(self, candidate: bytes, sight: Sight) -> Place | None:
        """The place whose git directory ``candidate`` is, or the file that points at it."""
        top = _top(candidate)
        served = self._serving(top, sight)
        if served is None:
            return None
        try:
            git_dir = os.path.realpath(_pointed_at(candidate))
            inside = not served.nested or _within(git_dir, sight.real(served.path))
            if not inside or not is_git_dir(git_dir):
                return None
            status = os.stat(git_dir)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Refused(f"{os.fsdecode(top)} cannot be looked at: {error.strerror}") from None
        name = _renamed(top, served, sight)
        own = _top(git_dir)
        aliases = tuple(dict.fromkeys((name, top, own, _renamed(own, served, sight))))
        content = sight.real(os.path.join(git_dir, b"annex", b"objects"))
        return Place(name, aliases, git_dir, served, (status.st_dev, status.st_ino), content)

    def _serving(self, top: bytes, sight: Sight) -> Served | None:
        """What serves the repository at ``top``, a real path: itself, else the innermost directory."""
        single = self._single_at(top, sight)
        if single is not None:
            return single
        if b"/.git/" in top + b"/":
            # A submodule's or a worktree's: they are served by their own names, which rules know.
            return None
        real = {sight.real(s.path): s for s in self._directories}
        return real[max(around, key=len)] if (around := [d for d in real if _within(top, d)]) else None

    def _single_at(self, top: bytes, sight: Sight) -> Served | None:
        found = self._singles.get(top)
        if found is None or not sight.near(found.path) or _top_of(found.path) != top:
            elsewhere = {top: s for top, s in self._singles.items() if not sight.near(s.path)}
            near = {_top_of(s.path): s for s in reversed(self._single) if sight.near(s.path)}
            self._singles = {**elsewhere, **near}
            found = near.get(top)
        return found


def candidates(path: bytes, home: bytes | None) -> list[bytes]:
    """Where the git directory, or the file that points at it, may be.  Raises `Refused`."""
    plain = absolute(path, home)
    return [plain + suffix for suffix in _SUFFIXES]


def absolute(path: bytes, home: bytes | None) -> bytes:
    """
    The path as git-annex's and git's clients mean it: ``~/x``, ``/~/x`` and
    relative ones start at ``home``; without a slash at the end.
    """
    if not path or b"\0" in path:
        raise Refused("the path of the repository is missing or malformed")
    if path.startswith(b"/~"):
        path = path[1:]
    if path.startswith(b"~") and path[1:2] not in (b"", b"/"):
        path = os.path.expanduser(path)
    elif path.startswith(b"~"):
        path = path[1:].lstrip(b"/")
    if not path.startswith(b"/"):
        if not home or not home.startswith(b"/"):
            raise Refused("the path is relative to a home directory that is not known")
        path = os.path.join(home, path)
    return path.rstrip(b"/") or b"/"


def is_git_dir(path: bytes) -> bool:
    """By what git itself looks for. Raises `OSError` when it cannot be seen."""
    for part in (b"HEAD", b"objects", b"refs"):
        try:
            os.lstat(os.path.join(path, part))
        except (FileNotFoundError, NotADirectoryError):
            return False
    return True


def _top(candidate: bytes) -> bytes:
    """The work tree that a .git is in, or the bare repository; a real path."""
    parent, last = os.path.split(candidate)
    return os.path.realpath(parent if last == b".git" else candidate)


def _top_of(path: bytes) -> bytes:
    """The same for a path that somebody wrote: a trailing slash or ``.git`` may be too much, or missing."""
    path = path.rstrip(b"/") or b"/"
    for suffix in _SUFFIXES:
        candidate = path + suffix
        try:
            if is_git_dir(os.path.realpath(_pointed_at(candidate))):
                return _top(candidate)
        except OSError:
            continue
    return _top(path)


def _pointed_at(candidate: bytes) -> bytes:
    """Submodules and worktrees have a file for a .git, which says where it is."""
    if os.path.basename(candidate) != b".git" or not os.path.isfile(candidate):
        return candidate
    with open(candidate, "rb") as file:
        text = file.read(8192)
    if not text.startswith(b"gitdir: ") or b"\0" in text:
        return candidate
    return os.path.join(os.path.dirname(candidate), text[8:].rstrip(b"\r\n"))


def _within(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")


def _renamed(path: bytes, served: Served, sight: Sight) -> bytes:
    """``path`` as the configuration would spell it."""
    if not served.nested:
        return served.path.rstrip(b"/") or b"/"
    real = sight.real(served.path)
    if not _within(path, real):
        return path
    return os.path.normpath(os.path.join(served.path, path[len(real) :].lstrip(b"/")))
