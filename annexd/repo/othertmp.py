"""Small files that others read, and replace, at any time."""

from __future__ import annotations

import contextlib
import itertools
import os

from annexd.flow.body import Buffer
from annexd.repo.layout import Layout
from annexd.repo.locks import lock
from annexd.repo.modes import Modes

_LOCK_SECONDS = 30.0  # whoever cleans up there holds it exclusively, for moments
_PIECE = 64 * 1024
_SERIAL = itertools.count()


def replace_file(layout: Layout, modes: Modes, path: bytes, content: bytes, *, durable: bool = False) -> None:
    """
    Give ``path`` this content, whole or not at all; ``durable``: even if the power fails right afterwards.

    What a crash leaves half-written is in annex/othertmp, which git-annex
    empties when nobody has it locked.
    """
    flags = os.O_RDONLY | os.O_CREAT
    held = lock(layout.othertmp_lock, exclusive=False, seconds=_LOCK_SECONDS, flags=flags)
    modes.created_lock(held)
    try:
        temporary, fd = modes.in_made_dir(layout.othertmp, layout.annex, lambda: _create(layout.othertmp))
        try:
            try:
                write_all(fd, content)
                modes.created_file(fd)
                if durable:
                    os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    finally:
        held.release()


def _create(directory: bytes) -> tuple[bytes, int]:
    """A new file, open for writing.  In another container somebody else may be the same process number."""
    while True:
        path = os.path.join(directory, b"annexd.%d.%d" % (os.getpid(), next(_SERIAL)))
        with contextlib.suppress(FileExistsError):
            return path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def write_all(fd: int, content: Buffer) -> None:
    """All of it: on a full disk the first write may come back short, and only the next one fails."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest) :]


def read_small(path: bytes) -> bytes | None:
    """
    All that is in a file; `None` where there is none.  Without `open`, which
    takes several times as long to find that out.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        pieces = [os.read(fd, _PIECE)]
        while pieces[-1]:
            pieces.append(os.read(fd, _PIECE))
        return b"".join(pieces)
    finally:
        os.close(fd)
