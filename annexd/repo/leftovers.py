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

from annexd.errors import Absent
from annexd.protocol.keys import Key
from annexd.repo.branch import branch_path
from annexd.repo.locks import Locked, try_lock
from annexd.repo.objects import discard
from annexd.repo.parts import Parts

_LOCK = b"lck."
_MOST_JOURNALLED = 10_000
"""With more than that it is not we who left them, but somebody who does not commit."""


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
            brought = record if direction == b"download" else None
            for name in _dead(directory):
                _bury(parts, os.path.join(directory, name), os.path.join(failed, name), brought)


def undo_removals(parts: Parts, record: Callable[[Key], None]) -> None:
    """
    ``record`` keys that the journal says are gone from here, and whose
    content is here; for a thread.  A removal is logged before it is done, and
    nothing that we commit comes between the two, so one that was killed there
    is in the journal.
    """
    names = _names(parts.layout.journal)
    for name in names if len(names) <= _MOST_JOURNALLED else ():
        directories, _, log = branch_path(name).rpartition(b"/")
        key = _key_of(log.removesuffix(b".log")) if directories and log.endswith(b".log") else None
        if key is not None and parts.settings.uuid not in parts.branch.holders(key):
            _record_if_here(parts, key, record)


def _dead(directory: bytes) -> Iterator[bytes]:
    """Names of keys in ``directory`` whose transfer nobody has locked; removes the locks."""
    names = set(_names(directory))
    for lock_name in [name for name in names if name.startswith(_LOCK)]:
        names.discard(lock_name)
        name = lock_name.removeprefix(_LOCK)
        names.discard(name)
        path = os.path.join(directory, lock_name)
        with contextlib.suppress(OSError):  # gone meanwhile, or somebody else's
            held = try_lock(path, exclusive=True, flags=os.O_RDWR)
            if held is None:
                continue
            try:
                yield name  # brief transfers have no note, so the lock stays until this is dealt with
                discard(path)
            finally:
                held.release()
    yield from names


def _bury(parts: Parts, note: bytes, failed: bytes, record: Callable[[Key], None] | None) -> None:
    key = _key_of(os.path.basename(note))
    if key is None:
        return
    if parts.objects.find(key) is None:
        parts.transfers.bury(note, failed)
        return
    if record is not None:
        _record_if_here(parts, key, record)
    discard(note)


def _record_if_here(parts: Parts, key: Key, record: Callable[[Key], None]) -> None:
    """Under a lock: another process may be about to remove the content, and have said so in the log."""
    found = parts.objects.find(key)
    if found is None:
        return
    try:
        held = parts.locks.share(found[0])
    except (Absent, Locked):
        return
    try:
        record(key)
    finally:
        held.release()


def _key_of(file_name: bytes) -> Key | None:
    try:
        return Key.from_file_name(file_name)
    except ValueError:
        return None


def _names(directory: bytes) -> list[bytes]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
