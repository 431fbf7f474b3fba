"""Content on its way out of a repository on this disk."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass

from annexd.errors import Absent
from annexd.flow.body import FileSource, Source
from annexd.flow.workers import Workers
from annexd.protocol.keys import Key
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
        return _same(os.fstat(self.fd), self.status)


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return one.st_size == other.st_size and one.st_mtime_ns == other.st_mtime_ns


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
    where one is needed.  On a local disk only: the reactor looks for objects
    there anyway (`Objects.find`), opening what was just found reads nothing
    more from it, and what the page cache does not have is not waited for.
    """
    if not parts.is_local:
        return None
    found = parts.objects.find(key)
    if found is None:
        return None
    path, status = found
    if status.st_size - offset > BRIEF or may_have_changed(status) or not stat.S_ISREG(status.st_mode):
        return None
    try:
        fd = os.open(path, _AT_ONCE)
    except (FileNotFoundError, BlockingIOError, PermissionError):
        return None
    try:
        data = _read_from_memory(fd, max(0, status.st_size - offset), offset)
        return data if offset + len(data) >= status.st_size and _same(os.fstat(fd), status) else None
    finally:
        os.close(fd)


_AT_ONCE = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOATIME
# Else a lease on the file would be waited for, and the file system's journal to
# note the time.  Of other users' files the time may not be left out.


def _read_from_memory(fd: int, length: int, offset: int) -> bytes:
    """As much as the page cache has; nothing where the file system cannot tell."""
    data = bytearray(length)
    try:
        count = os.preadv(fd, [data], offset, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EOPNOTSUPP):
            return b""
        raise
    return bytes(data[:count])


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
        self.source: Source = FileSource(
            GatedWorkers(workers, self._gate),
            opened.fd,
            opened.offset,
            opened.status.st_size - opened.offset,
            opened.head,
        )

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
