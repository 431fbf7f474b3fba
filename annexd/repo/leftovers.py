"""
What transfers leave behind whose process was killed, annexd's or git-annex's.

Between the moment when content is in its place and the one when the location
log says so a kill leaves content that nobody knows of.  The files of that
transfer are still there, so it can be made up for.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Callable

from annexd.protocol.keys import Key
from annexd.repo.locks import try_lock
from annexd.repo.objects import discard
from annexd.repo.parts import Parts

_LOCK = b"lck."


def clear(parts: Parts, record: Callable[[Key], None]) -> None:
    """
    Remove the traces of dead transfers; for a thread.  ``record`` is called
    for content that one of them has brought here.  Raises `OSError`.
    """
    for direction in (b"upload", b"download"):
        top = os.path.join(parts.layout.transfer, direction)
        for peer in _names(top):
            directory = os.path.join(top, peer)
            failed = os.path.join(parts.layout.transfer, b"failed", direction, peer)
            brought = record if direction == b"download" else _nothing
            for name in _dead(directory):
                _bury(parts, os.path.join(directory, name), os.path.join(failed, name), brought)


def _dead(directory: bytes) -> Iterator[bytes]:
    """Names of keys in ``directory`` whose transfer nobody has locked; removes the locks."""
    names = set(_names(directory))
    for lock_name in [name for name in names if name.startswith(_LOCK)]:
        names.discard(lock_name)
        path = os.path.join(directory, lock_name)
        with contextlib.suppress(FileNotFoundError):
            held = try_lock(path, exclusive=True, flags=os.O_RDWR)
            if held is None:
                names.discard(lock_name.removeprefix(_LOCK))
                continue
            discard(path)
            held.release()
            names.add(lock_name.removeprefix(_LOCK))  # brief transfers have no note
    yield from names


def _bury(parts: Parts, note: bytes, failed: bytes, record: Callable[[Key], None]) -> None:
    try:
        key = Key.from_file_name(os.path.basename(note))
    except ValueError:
        return
    if parts.objects.find(key) is None:
        parts.transfers.bury(note, failed)
        return
    record(key)
    discard(note)


def _nothing(key: Key) -> None:
    pass


def _names(directory: bytes) -> list[bytes]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
