"""
Packs on their way into a repository.

Until a reference leads to what is in a pack, ``git repack`` throws it away
with the pack, unless there is a file ``.keep`` beside it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time

from annexd.repo.packs import Packed

MOST_PACKS = 50
"""Git wants to repack where there are more; whatever comes then is left loose, which slows nobody down."""

_KEPT = b"annexd: until the git-annex branch has moved\n"
_FORGOTTEN_S = 3600.0
_SERIAL = itertools.count()


class PackFiles:
    """The files of one pack, of which ``names`` are all but the one that keeps it."""

    def __init__(self, directory: bytes, packed: Packed) -> None:
        stem = os.path.join(directory, b"pack-" + packed.name)
        self.names = (stem + b".pack", stem + b".idx")
        self._directory = directory
        self._contents = (packed.pack, packed.index)
        self._keep = stem + b".keep"

    def write(self) -> None:
        """Kept until `let_go`; the index, by which git knows a pack, comes last.  Raises `OSError`."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._directory)
        try:
            _put(self._keep, _KEPT, 0o666)
            for path, content in zip(self.names, self._contents, strict=True):
                _put(path, content, 0o444)
        except BaseException:
            self._take_back()
            self.let_go()
            raise

    def _take_back(self) -> None:
        """A pack without an index is of no use to anybody, and most likely there is no room for it."""
        pack, index = self.names
        if not os.path.exists(index):
            with contextlib.suppress(OSError):
                os.unlink(pack)

    def let_go(self) -> None:
        """A reference leads there now, or never will."""
        with contextlib.suppress(OSError):
            os.unlink(self._keep)


def count_packs(directory: bytes) -> int:
    """How many there are; lets go of those whose writers were killed."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return 0
    for name in names:
        if name.endswith(b".keep"):
            _let_go_if_forgotten(os.path.join(directory, name))
    return sum(name.endswith(b".pack") for name in names)


def _let_go_if_forgotten(keep: bytes) -> None:
    with contextlib.suppress(OSError), open(keep, "rb") as file:
        old = os.fstat(file.fileno()).st_mtime < time.time() - _FORGOTTEN_S
        if old and file.read(len(_KEPT) + 1) == _KEPT:
            os.unlink(keep)


def _put(path: bytes, content: bytes, mode: int) -> None:
    temporary = os.path.join(os.path.dirname(path), b"tmp_annexd_%d_%d" % (os.getpid(), next(_SERIAL)))
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(fd, rest) :]
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
