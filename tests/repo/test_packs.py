"""Packs, as libgit2 reads them."""

from __future__ import annotations

import os
import random

import pygit2
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from annexd.repo import packs, trees
from annexd.repo.packing import PackFiles

_SIZES = (0, 1, 15, 16, 2047, 2048, 300_000)


class PackTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = self.mktemp()
        pygit2.init_repository(self.path, bare=True)

    def assert_packed(self, contents: set[bytes], branches: int = 0) -> None:
        objects = {packs.name_of(packs.FILE, content): (packs.FILE, content) for content in contents}
        for number in range(branches):
            entries = {name.hex().encode() + b"%d" % number: (trees.FILE, name) for name in objects}
            content = trees.joined(entries)
            objects[packs.name_of(packs.TREE, content)] = packs.TREE, content
        pack = PackFiles(os.fsencode(self.path) + b"/objects/pack", packs.packed(objects))
        pack.write()
        pack.let_go()
        repository = pygit2.Repository(self.path)
        self.assertEqual({bytes.fromhex(str(name)) for name in repository}, set(objects))
        for name, (kind, content) in objects.items():
            found = repository[name.hex()]
            self.assertEqual((int(found.type), found.read_raw()), (kind, content))
        for path in pack.names:
            os.unlink(path)

    @settings(max_examples=30)
    @given(st.sets(st.binary(max_size=300), min_size=1, max_size=50), st.integers(0, 3))
    def test_any(self, contents: set[bytes], branches: int) -> None:
        self.assert_packed(contents, branches)

    def test_sizes(self) -> None:
        self.assert_packed({random.Random(size).randbytes(size) for size in _SIZES})

    def test_many(self) -> None:
        self.assert_packed({b"%d" % number for number in range(3000)})

    def test_names(self) -> None:
        self.assertEqual(packs.name_of(packs.FILE, b"x").hex(), str(pygit2.hash(b"x")))
        self.assertEqual(packs.name_of(packs.TREE, b"").hex(), "4b825dc642cb6eb9a060e54bf8d69288fbee4904")
