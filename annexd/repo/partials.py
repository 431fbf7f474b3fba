"""
Partial files: what has arrived of a key, and how more of it comes in.
"""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import dataclass

from annexd.errors import Refused
from annexd.flow.body import Buffer, Digest, FileSink
from annexd.flow.workers import Workers
from annexd.protocol.keys import Key
from annexd.repo.disks import Space
from annexd.repo.objects import discard
from annexd.repo.parts import Parts
from annexd.repo.transfer import Transfer

_PIECE = 1 << 20
_STEP = 32 << 20
"""Hashed in one trip to a thread: some 20 ms."""

_CLOSE_BEHIND = 2 << 20
"""So near, the rest is hashed while the sink waits."""


@dataclass(slots=True, eq=False)
class Upload:
    """
    A partial file, locked for us; ``offset`` bytes were there, ``wanted``
    are to be there in the end, if that is known.
    """

    path: bytes
    fd: int
    offset: int
    wanted: int | None
    transfer: Transfer
    space: Space
    over: bool = False

    def needed(self) -> int:
        """Bytes that are still to come, as far as is known."""
        if self.wanted is None:
            return 0
        return max(0, self.wanted - os.fstat(self.fd).st_size)

    def close(self, done: bool | None) -> None:
        """
        Give everything back; for a thread.  What has arrived stays for the
        next try, unless it is nothing.  ``done``: the content is here;
        `None`: nothing was to be sent after all.  Closing it again does nothing.
        """
        self.space.let_go(self)
        fd, self.fd = self.fd, -1
        try:
            if fd >= 0 and os.fstat(fd).st_size == 0:
                discard(self.path)
        finally:
            if fd >= 0:
                os.close(fd)
            self.transfer.end(done)
            self.over = True


def open_upload(parts: Parts, peer: bytes, key: Key, file: bytes) -> Upload | None:
    """
    Lock the upload of ``key`` and open its partial file; for a thread.
    `None` when its content has just arrived by other means.

    Raises `Refused` when an upload is under way already, or when there is no
    room, and `OSError`.
    """
    transfer = parts.transfers.download(peer, key, file)
    try:
        if parts.objects.find(key) is not None:
            transfer.end(True)
            return None
        path = parts.layout.tmp(key)
        fd = _open_partial(parts, path)
    except BaseException:
        transfer.end(False)
        raise
    upload = Upload(path, fd, 0, key.size, transfer, parts.space)
    try:
        upload.offset = _usable(fd, key.size)
        parts.space.claim(upload, upload.needed)
    except BaseException:
        upload.close(False)
        raise
    return upload


def _usable(fd: int, size: int | None) -> int:
    """How much of a partial file can be built upon."""
    there = os.fstat(fd).st_size
    if size is not None and there > size:
        # More than all of it: that can only be rubbish.
        os.ftruncate(fd, 0)
        return 0
    return there


def _open_partial(parts: Parts, path: bytes) -> int:
    # Not through a symlink, and never waiting for a FIFO's other end.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        parts.modes.make_dirs(os.path.dirname(path), parts.layout.annex)
        return os.open(path, flags, 0o666)


class PartialSink(FileSink):
    """
    Appends to a partial file.  Somebody else may be reading it from its
    beginning, see `CatchUp`, hence the mutex.
    """

    def __init__(self, workers: Workers, upload: Upload, digest: Digest) -> None:
        super().__init__(workers, upload.fd, upload.offset, digest, upload.wanted)
        self.mutex = threading.Lock()
        self.refusal: Refused | None = None
        self._upload = upload

    def write_blocking(self, data: Buffer) -> None:
        with self.mutex:
            if self._upload.wanted is None and self.limit is not None:
                self._admit(self.limit)
            super().write_blocking(data)

    def _admit(self, wanted: int) -> None:
        """The size was not known when the upload was opened, so the disk is looked at now."""
        self._upload.wanted = wanted
        try:
            self._upload.space.claim(self._upload, self._upload.needed)
        except Refused as error:
            self.refusal = error
            self.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self.error = error


class CatchUp:
    """
    Hashes what was there before an upload was resumed, while more comes in,
    and hands the digest to the sink when it has come up with it.
    """

    def __init__(self, sink: PartialSink, digest: Digest) -> None:
        self._sink = sink
        self._digest = digest
        self._done = 0

    def step(self) -> bool:
        """For a thread; `True` when there is nothing left to do.  Raises `OSError`."""
        sink = self._sink
        self._feed(min(sink.offset, self._done + _STEP))
        if sink.offset - self._done > _CLOSE_BEHIND:
            return False
        with sink.mutex:
            self._feed(sink.offset)
            sink.digest = self._digest
        return True

    def _feed(self, end: int) -> None:
        while self._done < end:
            data = os.pread(self._sink.fd, min(_PIECE, end - self._done), self._done)
            if not data:
                raise Refused("the partial upload became shorter while it was read")
            self._digest.update(data)
            self._done += len(data)
