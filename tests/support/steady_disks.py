"""Disks of which nothing is known, where no test is about them."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Callable, TypeVar

from annexd.flow.workers import Pool
from annexd.router.directory import Disk
from annexd.router.places import ALL

T = TypeVar("T")


class _SteadyDisk:
    """One that always answers."""

    down, since, plain, sight = "", 0.0, True, ALL

    def __init__(self, pool: Pool) -> None:
        self.disk = pool

    async def patiently(
        self,
        work: Coroutine[Any, Any, T],
        give_back: Callable[[T], Coroutine[Any, Any, object]] | None = None,
        anyway: bool = False,
    ) -> T:
        return await work


class SteadyDisks:
    """See `annexd.flow.disks.Disks`; one for all paths."""

    def __init__(self, pool: Pool) -> None:
        self._disk = _SteadyDisk(pool)

    def at(self, path: bytes) -> Disk:
        return self._disk

    async def of(self, path: bytes) -> Disk:
        return self._disk

    def under(self, *paths: bytes) -> Disk:
        return self._disk
