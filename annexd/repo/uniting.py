"""New trees of old ones: with files changed, or two made into one.  Pure, but for the objects."""

from __future__ import annotations

from typing import Callable, Protocol

from annexd.errors import Refused
from annexd.repo import trees

Unite = Callable[[bytes, bytes, bytes], bytes]
"""What one file becomes: its path, our content, theirs."""

United = dict[tuple[str, str, int], str]
"""What two directories become, by their names and how deep they are: a few trees can stand for millions."""

_DEEPEST = 32  # git-annex makes three levels of directories


class Objects(Protocol):
    """Git's, by their names in hex."""

    def read(self, name: str) -> bytes: ...

    def write_file(self, content: bytes) -> str: ...

    def write_tree(self, content: bytes) -> str: ...


class Enough(Exception):
    """It has been got further, and the rest is for another time."""


def changed(objects: Objects, base: str | None, changes: trees.Directory) -> str:
    """The tree ``base`` with these changes; its name."""
    entries = {} if base is None else trees.cut(objects.read(base))
    for name, change in changes.items():
        if isinstance(change, bytes):
            entries[name] = trees.FILE, bytes.fromhex(objects.write_file(change))
            continue
        mode, oid = entries.get(name, (b"", b""))
        inner = changed(objects, oid.hex() if mode == trees.TREE else None, change)
        entries[name] = trees.TREE, bytes.fromhex(inner)
    return objects.write_tree(trees.joined(entries))


class Uniting:
    """
    ``known`` is what has been found out so far, and grows.  Raises `Enough`
    when it is ``enough``, but never before anything new is known.
    """

    def __init__(
        self,
        objects: Objects,
        unite: Unite,
        known: United | None = None,
        enough: Callable[[], bool] = lambda: False,
    ) -> None:
        self._objects = objects
        self._unite = unite
        self._known: United = {} if known is None else known
        self._enough = enough
        self._is_further = False

    def of(self, ours: str, theirs: str, path: bytes = b"") -> str:
        """
        One tree of two; its name.  What is a file in one and a directory in
        the other stays ours.  Raises `Refused` for what cannot be a git-annex branch.
        """
        depth = path.count(b"/")
        known = self._known.get((ours, theirs, depth))
        if known is None:
            if depth > _DEEPEST:
                raise Refused("a git-annex branch has come whose directories are nested without end")
            if self._is_further and self._enough():
                raise Enough
            known = self._objects.write_tree(trees.joined(self._entries(ours, theirs, path)))
            self._known[ours, theirs, depth] = known
            self._is_further = True
        return known

    def _entries(self, ours: str, theirs: str, path: bytes) -> trees.Entries:
        entries, others = (trees.cut(self._objects.read(name)) for name in (ours, theirs))
        for name, (mode, oid) in others.items():
            known_mode, known = entries.setdefault(name, (mode, oid))
            if known == oid or mode != known_mode:
                continue
            if mode == trees.TREE:
                new = self.of(known.hex(), oid.hex(), path + name + b"/")
            elif mode in trees.CONTENT:
                contents = (self._objects.read(one.hex()) for one in (known, oid))
                new = self._objects.write_file(self._unite(path + name, *contents))
            else:
                continue
            entries[name] = mode, bytes.fromhex(new)
        return entries
