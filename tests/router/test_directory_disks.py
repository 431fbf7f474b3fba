"""Repositories on several disks, one of which hangs."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import Refused
from annexd.flow.disk import Hung
from annexd.flow.disks import Disks
from annexd.flow.mounts import ROOT, Mount, Mounts
from annexd.flow.workers import InlineWorkers
from annexd.router.directory import Directory
from annexd.router.places import Place, Served
from tests.flow.test_mounts import table
from tests.router.test_directory import Pretended
from tests.router.test_places import make
from tests.support.freezing import DEADLINE, FreezingPool


class SeveralDisks(SynchronousTestCase):
    """Served are ``here``, ``nas`` and all in ``many``, where ``link`` leads to another one on the nas."""

    def setUp(self) -> None:
        self.top = os.path.realpath(os.fsencode(self.mktemp()))
        for name in (b"here", b"nas/x", b"nas/y", b"many/z"):
            make(os.path.join(self.top, name))
        os.symlink(b"../nas/y", self.top + b"/many/link")
        self.clock = Clock()
        nas = Mount(self.top + b"/nas", b"0:40", b"nfs")
        self.disks = Disks(self.clock, Mounts(lambda: table(ROOT, nas)), lambda: DEADLINE, probe=self.probe)
        self.nas: Any = self.disks.at(nas.point)
        self.root: Any = self.disks.at(self.top)
        self.pools = FreezingPool(), FreezingPool()
        for disk, pool in zip((self.nas, self.root), self.pools, strict=True):
            disk.disk._pool = pool
        served = [Served(self.top + b"/nas/x"), Served(self.top + b"/here")]
        served += [Served(self.top + b"/many", nested=True), Served(self.top + b"/nas", nested=True)]
        self.directory = Directory(self.clock, InlineWorkers().disk, self.open, served, disks=self.disks)

    def probe(self, *_: object) -> None:
        """It is not answered."""

    async def open(self, place: Place) -> Pretended:
        return Pretended(place)

    def locate(self, name: bytes) -> Deferred[Place]:
        return Deferred.fromCoroutine(self.directory.locate(os.path.join(self.top, name)))

    def found(self, name: bytes) -> bytes:
        return os.path.relpath(self.successResultOf(self.locate(name)).git_dir, self.top)

    def test_all_are_found(self) -> None:
        for name, found in (
            (b"here", b"here"),
            (b"nas/x", b"nas/x"),
            (b"nas/y", b"nas/y"),
            (b"many/z", b"many/z"),
            (b"many/link", b"nas/y"),
        ):
            self.assertEqual(self.found(name).removesuffix(b"/.git"), found)
        self.failureResultOf(self.locate(b"nowhere"), Refused)
        place = self.successResultOf(self.locate(b"many/link"))
        self.assertIs(self.directory.disk(place), self.nas)

    def test_what_hangs_keeps_nobody_from_the_others(self) -> None:
        self.pools[0].frozen = Deferred()
        asked = [self.locate(name) for name in (b"nas/x", b"many/link")]
        self.assertEqual((self.found(b"here"), self.found(b"many/z")), (b"here", b"many/z"))
        self.failureResultOf(self.locate(b"nowhere"), Refused)
        for _ in range(2):
            self.clock.advance(DEADLINE / 2)
        for one in (*asked, self.locate(b"nas/y")):
            self.failureResultOf(one, Hung)
        self.assertEqual(self.found(b"here"), b"here")
        self.assertEqual(self.pools[1].stuck, 0)

    def test_closing(self) -> None:
        visit = self.successResultOf(Deferred.fromCoroutine(self.directory.find(self.top + b"/nas/x")))
        visit.repository.closing = Deferred()
        self.pools[0].frozen = Deferred()
        stuck = Deferred.fromCoroutine(self.nas.disk.run(int))
        closing = Deferred.fromCoroutine(self.directory.close())
        self.assertNoResult(closing)
        for _ in range(2):
            self.clock.advance(DEADLINE / 2)
        self.successResultOf(closing)
        self.assertNoResult(stuck)
