"""What is known about the disk that a repository is on."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import threading
from collections.abc import Iterator
from typing import Callable

from annexd.errors import Refused

# The types of `statfs` (linux/magic.h) that answer out of memory or from a
# disk of this machine, in microseconds.  NFS, CIFS, FUSE, 9p and whatever
# else is not here may take a network's time, or forever.
_LOCAL = frozenset(
    {
        0xEF53,  # ext2, ext3, ext4
        0x58465342,  # xfs
        0x9123683E,  # btrfs
        0x01021994,  # tmpfs
        0x858458F6,  # ramfs
        0x2FC12FC1,  # zfs
        0xF2F52010,  # f2fs
        0x794C7630,  # overlayfs
        0xCA451A4E,  # bcachefs
        0x3153464A,  # jfs
        0x52654973,  # reiserfs
        0x4D44,  # vfat
        0x2011BAB0,  # exfat
    }
)

_libc = ctypes.CDLL(None, use_errno=True)


def is_local(path: bytes) -> bool:
    """
    Does a `stat` there cost less than asking a thread to do it?

    Raises `OSError`.
    """
    # The structure differs between architectures, but the type is always first; 120 bytes are the most.
    answer = (ctypes.c_long * 64)()
    if _libc.statfs(path, answer):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return answer[0] & 0xFFFFFFFF in _LOCAL


class Space:
    """
    The room on a repository's disk.  ``reserve`` bytes stay free; every
    running upload keeps what it still needs from the others.
    """

    def __init__(self, path: bytes, reserve: int) -> None:
        self._path = path
        self._reserve = reserve
        self._lock = threading.Lock()
        self._needs: dict[object, Callable[[], int]] = {}

    def claim(self, owner: object, need: Callable[[], int]) -> None:
        """
        Room for what ``need()`` still asks for, until `let_go`; raises
        `Refused` when there is not enough, and `OSError`.
        """
        with self._lock:
            self._needs.pop(owner, None)
            wanted = need()
            if wanted:
                # Who wants nothing, because he has it all already, gets it from a full disk, too.
                wanted += sum(each() for each in self._needs.values())
                missing = self._reserve + wanted - self._free()
                if missing > 0:
                    raise Refused(
                        f"not enough free space: {missing} more bytes would have to be free, "
                        f"{self._reserve} of which annex.diskreserve keeps"
                    )
            self._needs[owner] = need

    def let_go(self, owner: object) -> None:
        with self._lock:
            self._needs.pop(owner, None)

    def _free(self) -> int:
        disk = os.statvfs(self._path)
        return disk.f_bavail * disk.f_frsize


def sentence(error: OSError) -> str:
    """What went wrong on the disk, in words that tell nothing of its paths."""
    known = _SENTENCES.get(error.errno or 0)
    return known or f"the repository's disk cannot be used: {error.strerror or error}"


_GONE = "the repository, or a part of it, has vanished"
_FORBIDDEN = "the daemon's user has not the permissions for that in this repository"
_CROWDED = "the daemon has too many files open; try again later"

_SENTENCES = {
    errno.ENOSPC: "there is no space left on the repository's disk",
    errno.EDQUOT: "the disk quota of the repository's owner is used up",
    errno.EROFS: "the repository is on a read-only file system",
    errno.EFBIG: "the content is larger than the repository's file system allows",
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EMFILE: _CROWDED,
    errno.ENFILE: _CROWDED,
    errno.ENOLCK: _CROWDED,
    errno.ENOMEM: "the machine has no memory left; try again later",
    errno.ENOENT: _GONE,
    errno.ENOTDIR: _GONE,
    errno.ESTALE: _GONE,
    errno.EIO: "the repository's disk reports an input/output error",
    errno.ENAMETOOLONG: "the key is too long for a file name",
}


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Turn what the operating system says into what a user can read."""
    try:
        yield
    except OSError as error:
        raise Refused(sentence(error)) from error
