"""
What git-annex is to know about a transfer while it lasts and when it fails:
lock files, a file with its beginning and its associated file, and a copy of
that among the failed ones.  All of this blocks, for moments; it is for threads.

Of a brief upload there is only the lock, and only while its content is put
into place: see `Draft`.

Only downloads (into this repository) exclude each other.  An upload that
finds the lock taken goes on without: the first one speaks for it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import Callable

from annexd.protocol.keys import Key
from annexd.repo.layout import Layout
from annexd.repo.locks import FileLock, Locked, try_lock
from annexd.repo.modes import Modes
from annexd.repo.othertmp import write_all

BRIEF = 64 * 1024
"""Bytes that are here before anybody could look at a note of their transfer, so there is none."""

_IN_PROGRESS = "transfer already in progress, or unable to take transfer lock"


def is_brief(key: Key) -> bool:
    return key.size is not None and key.size <= BRIEF


class Transfer:
    """One that is under way; `end` it."""

    def __init__(
        self, transfers: Transfers, locks: list[FileLock], info: bytes, failed: bytes, text: bytes
    ) -> None:
        self._transfers = transfers
        self._locks = locks
        self._info = info
        self._failed = failed
        self._text = text

    def end(self, ok: bool | None) -> None:
        """
        Give the locks back and leave, or remove, the note of a failure; with
        `None` nothing was tried.  Ending it again does nothing.
        """
        locks, self._locks = self._locks, []
        if not locks:
            return
        try:
            if ok is None:
                _unlink(self._info)
            elif ok:
                _unlink(self._info, self._failed)
            else:
                self._transfers.note_failure(self._info, self._failed, self._text)
        finally:
            _remove(locks)


class Draft:
    """
    The lock on the upload of a key, whose file becomes the entry of that key
    in the journal; `end` it.

    A file that serves twice is one less to make and to remove.  Found after a
    kill it says, as any lock does, that there may be content of which the
    location log does not know.
    """

    def __init__(self, held: FileLock) -> None:
        self._held = held

    def become(self, path: bytes, content: bytes, *, durable: bool) -> bool:
        """
        Give ``path`` this content, whole or not at all; the lock ends with
        that.  `False` when it cannot be moved there.
        """
        fd = self._held.fd
        if fd < 0:
            return False
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        write_all(fd, content)
        if durable:
            os.fsync(fd)
        try:
            os.rename(self._held.path, path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EXDEV):
                return False
            raise
        self._held.release()
        return True

    def end(self) -> None:
        """Give the lock back; ending it again does nothing."""
        if self._held.fd >= 0:
            _remove([self._held])


class Transfers:
    """The transfers of one repository.  ``now`` is the time of day in nanoseconds."""

    def __init__(self, layout: Layout, modes: Modes, now: Callable[[], int] = time.time_ns) -> None:
        self._layout = layout
        self._modes = modes
        self._now = now

    def upload(self, uuid: bytes, key: Key, file: bytes) -> Transfer:
        """From here to ``uuid``."""
        layout = self._layout
        info, failed = layout.upload_info(uuid, key), layout.upload_failed(uuid, key)
        held = self._lock(layout.upload_lock(uuid, key))
        if held is None:
            return Transfer(self, [], info, failed, b"")
        return self._begin([held], info, failed, file)

    def draft(self, key: Key) -> Draft:
        """Raises `Locked` when somebody uploads ``key`` to here."""
        path = self._layout.download_locks(b"", key)[0]
        held = self._lock(path)
        if held is None:
            raise Locked(_IN_PROGRESS)
        return Draft(held)

    def download(self, uuid: bytes, key: Key, file: bytes) -> Transfer:
        """From ``uuid`` to here.  Raises `Locked` when there is another one of that key."""
        brief = is_brief(key)
        layout = self._layout
        locks: list[FileLock] = []
        try:
            for path in layout.download_locks(uuid, key):
                held = self._lock(path)
                if held is None:
                    raise Locked(_IN_PROGRESS)
                locks.append(held)
        except BaseException:
            _remove(locks)
            raise
        info, failed = layout.download_info(uuid, key), layout.download_failed(uuid, key)
        return self._begin(locks, info, failed, file, brief)

    def _begin(
        self, locks: list[FileLock], info: bytes, failed: bytes, file: bytes, brief: bool = False
    ) -> Transfer:
        text = b"%d.%09ds\n%b\n" % (*divmod(self._now(), 10**9), file)
        try:
            if not brief:
                self._write(info, text)
        except BaseException:
            _unlink(info)
            _remove(locks)
            raise
        return Transfer(self, locks, info, failed, text)

    def _write(self, path: bytes, text: bytes) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            self._modes.created_file(fd)
            os.write(fd, text)
        finally:
            os.close(fd)

    def _lock(self, path: bytes) -> FileLock | None:
        """The directories stay when a transfer is over, so that they are rarely missing."""
        try:
            held = try_lock(path, exclusive=True)
        except FileNotFoundError:
            self._modes.make_dirs(os.path.dirname(path), self._layout.annex)
            held = try_lock(path, exclusive=True)
        return None if held is None else self._modes.created_lock(held)

    def forget_failure(self, uuid: bytes, key: Key) -> None:
        """Of a download that has succeeded now."""
        _unlink(self._layout.download_failed(uuid, key))

    def bury(self, info: bytes, failed: bytes) -> None:
        """The note of a transfer that died becomes that of a failure; without one nothing happens."""
        with contextlib.suppress(FileNotFoundError):
            with open(info, "rb") as file:
                text = file.read()
            self.note_failure(info, failed, text)

    def note_failure(self, info: bytes, failed: bytes, text: bytes) -> None:
        """A convenience for ``git annex transfers``; it must not make anything worse."""
        _unlink(info)
        try:
            self._write(failed, text)
        except FileNotFoundError:
            with contextlib.suppress(OSError):
                # These directories are not shared by git-annex either.
                Modes(None).make_dirs(os.path.dirname(failed), self._layout.annex)
                self._write(failed, text)
        except OSError:
            pass  # a full disk, most likely


def _remove(locks: list[FileLock]) -> None:
    """Whoever opened one of them meanwhile sees that it is gone, and makes another."""
    for held in locks:
        _unlink(held.path)
        held.release()


def _unlink(*paths: bytes) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path)
