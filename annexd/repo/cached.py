"""
Files as far as they are in memory: opened and read without waiting for any
disk, or not at all.  So little time does that take that the reactor may do it.
"""

from __future__ import annotations

import ctypes
import os

_OPENAT2 = 437
"""The system call, on all architectures that matter."""

_RESOLVE_CACHED = 0x20
_AT_FDCWD = -100


class _How(ctypes.Structure):
    """``struct open_how`` (linux/openat2.h)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


# Without O_NONBLOCK a lease on the file would be waited for, and without
# O_NOATIME the file system's journal, to note the time.
_HOW = _How(os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOATIME, 0, _RESOLVE_CACHED)

# PyDLL: to give the interpreter lock away takes longer than the call.
_syscall = ctypes.PyDLL(None, use_errno=True).syscall
_syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)
_syscall.restype = ctypes.c_long


def open_cached(path: bytes) -> int:
    """
    Open a file to read it, if every part of its path is known to the kernel
    already.  Raises `OSError`: `BlockingIOError` where the disk would have to
    be looked at, also for what is not there; others where the kernel is too
    old for this (before 5.12), and for other users' files.
    """
    fd = _syscall(_OPENAT2, _AT_FDCWD, path, ctypes.addressof(_HOW), ctypes.sizeof(_HOW))
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return int(fd)


def read_cached(fd: int, length: int, offset: int) -> bytes:
    """
    ``length`` bytes, or as many as the page cache has from ``offset`` on.
    Raises `OSError` where it has none, or the file system cannot tell.
    """
    data = bytearray(length)
    count = os.preadv(fd, [data], offset, os.RWF_NOWAIT)
    return bytes(data[:count])
