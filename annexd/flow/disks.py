"""All file systems that repositories are on; see `annexd.flow.disk` for one of them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Callable

from twisted.logger import Logger

from annexd.flow.disk import Disk
from annexd.flow.mounts import Mount, Mounts
from annexd.flow.probe import Probe, ThreadedProbe
from annexd.flow.workers import ThreadedWorkers

_log = Logger()

_FEW = 4
"""Threads of either kind for a file system that may hang; each costs memory for as long as it does."""


class Disks:
    """
    All of them, as far as somebody has used them.  Those on disks of this
    machine have ``disk`` and ``bulk`` threads each, others a few.
    """

    def __init__(
        self,
        reactor: Any,
        mounts: Mounts,
        deadline: Callable[[], float],
        disk: int = 8,
        bulk: int = 8,
        probe: Probe | None = None,
    ) -> None:
        self._reactor = reactor
        self.mounts = mounts
        self._deadline = deadline
        self._most = disk, bulk
        self._probe = probe or ThreadedProbe(reactor)
        self._known: dict[bytes, Disk] = {}
        self._former: list[Disk] = []

    def at(self, path: bytes) -> Disk:
        """For an absolute path as it is written; nothing is touched."""
        return self._of(self.mounts.at(path))

    async def of(self, path: bytes) -> Disk:
        """Symlinks followed.  Raises `Hung`."""
        written = self.at(path)
        if not written.plain:
            return written
        mount, _ = await written.patiently(written.disk.run(self.mounts.behind, path))
        return self._of(mount)

    def under(self, *paths: bytes) -> Disk:
        """Of several that are used together, the one that is most likely to hang; nothing is touched."""
        disks = [self.at(path) for path in paths]
        return next((disk for disk in disks if not disk.plain), disks[0])

    def is_near(self, mount: Mount) -> bool:
        """May it be looked at by whoever has nothing to do with it?  From any thread."""
        known = self._known.get(mount.device)
        return mount.plain and not (known is not None and known.down)

    @property
    def down(self) -> str:
        """A sentence about one that does not answer, if there is any."""
        return next((disk.down for disk in self._known.values() if disk.down), "")

    def stop(self) -> None:
        for disk in (*self._known.values(), *self._former):
            if not disk.stop():
                _log.warn("{point} hangs; it is left alone", point=os.fsdecode(disk.mount.point))

    def _of(self, mount: Mount) -> Disk:
        known = self._known.get(mount.device)
        if known is not None and known.mount.kind != mount.kind:
            self._former.append(self._known.pop(mount.device))  # the number is that of another one now
            known = None
        if known is None:
            disk, bulk = self._most
            if not mount.plain:
                disk, bulk = min(disk, _FEW), min(bulk, _FEW)
            workers = ThreadedWorkers(self._reactor, disk, bulk)
            sight = Sight(self, mount.device)
            known = Disk(self._reactor, mount, sight, workers, self._deadline, self._probe)
            self._known[mount.device] = known
        known.mount = mount
        return known


class Sight:
    """What those may look at who work on one of the disks; from any thread."""

    def __init__(self, disks: Disks, device: bytes) -> None:
        self._disks = disks
        self._device = device

    def has(self, paths: Iterable[bytes]) -> bool:
        """Whether all are there, symlinks followed."""
        return all(self._disks.mounts.behind(path)[0].device == self._device for path in paths)

    def near(self, path: bytes) -> bool:
        mount, _ = self._disks.mounts.behind(path)
        return mount.device == self._device or self._disks.is_near(mount)

    def real(self, path: bytes) -> bytes:
        """As `os.path.realpath`; on other disks that may hang, symlinks are taken for what is there."""
        mount, real = self._disks.mounts.behind(path)
        return os.path.realpath(real) if mount.device == self._device and not mount.plain else real
