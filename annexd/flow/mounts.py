"""
Which file system a path is on, found out without touching any that may hang.

What is mounted where, the kernel says by itself (``/proc/self/mountinfo``).
Symlinks are followed only where that costs no more than a look into memory or
onto a disk of this machine.
"""

from __future__ import annotations

import os
import re
import select
import stat
import threading
from dataclasses import dataclass
from typing import Callable, Iterable

_PLAIN = frozenset(
    b"bcachefs btrfs devtmpfs erofs exfat ext2 ext3 ext4 f2fs iso9660 jfs msdos nilfs2 ntfs3 overlay "
    b"ramfs reiserfs rootfs squashfs tmpfs udf vfat xfs zfs".split()
)
"""
Those on disks of this machine.  NFS, CIFS, FUSE, 9p, ceph and whatever else
is not here may take a network's time, or forever.
"""

_TABLE = "/proc/self/mountinfo"
_ESCAPE = re.compile(rb"\\([0-7]{3})")
_MOST_LINKS = 40


@dataclass(frozen=True, slots=True)
class Mount:
    """``device`` is the file system's: what is mounted in several places has one."""

    point: bytes
    device: bytes
    kind: bytes

    @property
    def plain(self) -> bool:
        return self.kind in _PLAIN


ROOT = Mount(b"/", b"", b"rootfs")


class MountTable:
    """The kernel's, read again only when it has changed; a descriptor stays open.  For any thread."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._poll = select.poll()
        self._fd = -1
        self._text: bytes | None = None

    def __call__(self) -> bytes:
        """Raises `OSError`."""
        with self._mutex:
            if self._fd < 0:
                self._fd = os.open(_TABLE, os.O_RDONLY | os.O_CLOEXEC)
                self._poll.register(self._fd, select.POLLERR | select.POLLPRI)
            if self._text is None or self._poll.poll(0):
                self._text = _whole(self._fd)
            return self._text

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._text = None


class Mounts:
    """``table`` gives the text of a mountinfo; where it cannot be had, all is taken to be plain."""

    def __init__(self, table: Callable[[], bytes]) -> None:
        self._table = table
        self._known: bytes | None = None
        self._points: dict[bytes, Mount] = {b"/": ROOT}

    def at(self, path: bytes) -> Mount:
        """Of an absolute path as it is written: nothing is touched, no symlink followed."""
        points = self._now()
        path = os.path.normpath(b"/" + path.lstrip(b"/"))  # two slashes at the beginning would stay
        while path != b"/":
            mount = points.get(path)
            if mount is not None:
                return mount
            path = os.path.dirname(path)
        return points.get(b"/", ROOT)

    def behind(self, path: bytes) -> tuple[Mount, bytes]:
        """
        The same where symlinks lead, and the real path as far as it can be
        known: they are not followed beyond the first file system that may
        hang.  What is not there counts as no symlink.
        """
        points = self._now()
        mount, real = points.get(b"/", ROOT), b"/"
        left = _parts(path)
        links = 0
        while left:
            name = left.pop()
            if name == b"..":
                real = os.path.dirname(real)
                mount = self.at(real)
                continue
            real = os.path.join(real, name)
            mount = points.get(real, mount)
            if not mount.plain:
                rest = os.path.normpath(b"/".join((real, *reversed(left))))
                return self.at(rest), rest
            target = _link(real) if links < _MOST_LINKS else None
            if target is not None:
                links += 1
                left += _parts(target)
                real = b"/" if target.startswith(b"/") else os.path.dirname(real)
                mount = self.at(real)
        return mount, real

    def _now(self) -> dict[bytes, Mount]:
        try:
            text = self._table()
        except OSError:
            text = b""
        if text is not self._known:
            self._points = {b"/": ROOT} | {mount.point: mount for mount in _mounts(text)}
            self._known = text
        return self._points


def _mounts(text: bytes) -> Iterable[Mount]:
    """What is mounted over something comes after it."""
    for line in text.splitlines():
        fields = line.split(b" ")
        try:
            kind = fields[fields.index(b"-", 6) + 1]
        except (ValueError, IndexError):
            continue
        yield Mount(_ESCAPE.sub(_unescaped, fields[4]), fields[2], kind)


def _unescaped(match: re.Match[bytes]) -> bytes:
    return bytes((int(match[1], 8),))


def _parts(path: bytes) -> list[bytes]:
    """The last one first."""
    return [part for part in reversed(path.split(b"/")) if part not in (b"", b".")]


def _link(path: bytes) -> bytes | None:
    try:
        return os.readlink(path) if stat.S_ISLNK(os.lstat(path).st_mode) else None
    except (OSError, ValueError):
        return None


def _whole(fd: int) -> bytes:
    os.lseek(fd, 0, os.SEEK_SET)
    pieces = []
    while piece := os.read(fd, 1 << 16):
        pieces.append(piece)
    return b"".join(pieces)
