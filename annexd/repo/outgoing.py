"""Content on its way out of a repository on this disk."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass

from annexd.errors import Absent
from annexd.flow.body import CarriedSource, FileSource, Source
from annexd.flow.workers import Workers
from annexd.protocol.keys import Key
from annexd.repo.cached import open_cached, read_cached
from annexd.repo.objects import may_have_changed
from annexd.repo.parts import Parts
from annexd.repo.transfer import BRIEF, Transfer
from annexd.repo.trips import Gate, GatedWorkers

_HEAD = BRIEF
"""Read when the file is opened: small files need no second trip to a thread."""


@dataclass(slots=True)
class Opened:
    """An object that is being sent, and what it was when it was opened."""

    fd: int
    status: os.stat_result
    offset: int
    head: bytes
    transfer: Transfer | None

    @property
    def in_memory(self) -> bool:
        """All that is to be sent was read when it was opened."""
        return self.offset + len(self.head) >= self.status.st_size

    def close(self, taken: bool) -> None:
        os.close(self.fd)
        if self.transfer is not None:
            self.transfer.end(taken)

    def unchanged(self) -> bool:
        """Only a hard link of the work tree can be written to; what is removed meanwhile stays what it is."""
        now = os.fstat(self.fd)
        return now.st_size == self.status.st_size and now.st_mtime_ns == self.status.st_mtime_ns


def open_object(parts: Parts, peer: bytes, key: Key, offset: int, file: bytes) -> Opened:
    """For a thread.  Raises `Absent`, also for content that was modified, and `OSError`."""
    found = parts.objects.find(key)
    if found is None:
        raise Absent("the content is not here")
    path, status = found
    if not is_unmodified(parts, key, path, status):
        raise Absent("the content has been modified")
    brief = status.st_size - offset <= BRIEF
    transfer = None if brief else _note(parts, peer, key, file)
    try:
        return _open(path, offset, transfer)
    except BaseException as error:
        if transfer is not None:
            transfer.end(False)
        if isinstance(error, FileNotFoundError):
            raise Absent("the content is not here any more") from None
        raise


def read_now(parts: Parts, key: Key, offset: int) -> bytes | None:
    """
    All that is left of what is brief and in memory, without a thread; `None`
    where one is needed, or where there is nothing to be had.
    """
    if not (parts.is_local and key.storable):
        return None
    for path in parts.layout.object_paths(key):
        with contextlib.suppress(OSError):
            fd = open_cached(path)
            try:
                return _cached(fd, offset)
            finally:
                os.close(fd)
    return None


def _cached(fd: int, offset: int) -> bytes | None:
    status = os.fstat(fd)
    left = max(0, status.st_size - offset)
    if left > BRIEF or may_have_changed(status) or not stat.S_ISREG(status.st_mode):
        return None
    data = read_cached(fd, left, offset) if left else b""
    return data if len(data) == left else None


def is_unmodified(parts: Parts, key: Key, path: bytes, status: os.stat_result) -> bool:
    """Is an object still what it was stored as?  For a thread."""
    if parts.pointers is None or not may_have_changed(status):
        return True
    return parts.pointers.unmodified(key, path, status)


def _note(parts: Parts, peer: bytes, key: Key, file: bytes) -> Transfer | None:
    """
    Nobody depends on this note, so a disk that cannot be written to (full,
    read-only, somebody else's) is no reason not to send what is on it.
    """
    if parts.settings.pidlock:
        return None
    try:
        return parts.transfers.upload(peer, key, file)
    except OSError:
        return None


def _open(path: bytes, offset: int, transfer: Transfer | None) -> Opened:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        offset = min(offset, status.st_size)
        head = os.pread(fd, min(_HEAD, status.st_size - offset), offset)
        return Opened(fd, status, offset, head, transfer)
    except BaseException:
        os.close(fd)
        raise


class LocalReader:
    """See `annexd.store.Reader`."""

    def __init__(self, parts: Parts, workers: Workers, opened: Opened) -> None:
        self._parts = parts
        self._workers = workers
        self._opened: Opened | None = opened
        self._gate = Gate()
        file = FileSource(
            GatedWorkers(workers, self._gate),
            opened.fd,
            opened.offset,
            opened.status.st_size - opened.offset,
            opened.head,
        )
        self.source: Source = file if parts.is_local else CarriedSource(file)

    async def valid(self) -> bool:
        opened = self._opened
        assert opened is not None
        if self._parts.is_local:
            return opened.unchanged()
        return await self._workers.disk.run(opened.unchanged)

    async def close(self, taken: bool) -> None:
        opened, self._opened = self._opened, None
        if opened is None:
            return
        if self._parts.is_local and opened.in_memory and opened.transfer is None:
            self._close(opened, taken)  # no thread was or is needed
        else:
            await self._workers.disk.run(self._close, opened, taken)

    def _close(self, opened: Opened, taken: bool) -> None:
        self._gate.close()
        opened.close(taken)
