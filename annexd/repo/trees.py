"""
Git's trees as bytes.  Pure.

libgit2's own builder takes no names but in UTF-8, and the names in a
git-annex branch are made of keys, which may be anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

FILE = b"100644"
TREE = b"40000"
CONTENT = (FILE, b"100755", b"120000")
"""Files, and symlinks."""

Entries = dict[bytes, tuple[bytes, bytes]]
"""The entries of one tree: name -> mode, binary object name."""

Directory = dict[bytes, "bytes | Directory"]
"""Name -> the content of a file, or the directory of that name."""

_ENTRY = re.compile(rb"([0-7]+) ([^\0]+)\0(.{20})", re.DOTALL)
_NO_NAMES = (b"", b".", b"..", b".git")


def cut(content: bytes) -> Entries:
    return {name: (mode, oid) for mode, name, oid in _ENTRY.findall(content)}


def joined(entries: Entries) -> bytes:
    ordered = sorted(entries.items(), key=_order)
    return b"".join(b"%b %b\0%b" % (mode, name, oid) for name, (mode, oid) in ordered)


def nested(files: Mapping[bytes, bytes]) -> Directory:
    """The same files by directory.  A file whose name is needed for a directory gives way."""
    top: Directory = {}
    for path, content in sorted(files.items()):
        *directories, name = path.split(b"/")
        directory = top
        for part in directories:
            inner = directory.setdefault(part, {})
            if isinstance(inner, bytes):
                inner = directory[part] = {}
            directory = inner
        directory[name] = content
    return top


def is_path(path: bytes) -> bool:
    """Whether a file of this name can be in a tree."""
    return all(part.lower() not in _NO_NAMES and b"\0" not in part for part in path.split(b"/"))


def _order(entry: tuple[bytes, tuple[bytes, bytes]]) -> bytes:
    """Directories are sorted as if their names ended with a slash."""
    name, (mode, _) = entry
    return name + b"/" if mode == TREE else name
