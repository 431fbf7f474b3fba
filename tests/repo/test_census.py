"""All keys of a git-annex branch, some at a time."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pygit2
from pygit2.enums import ObjectType
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from annexd.flow.workers import InlineWorkers
from annexd.protocol.keys import Key
from annexd.repo import census, trees
from annexd.repo.census import Logged
from annexd.repo.local import Repository
from annexd.repo.whereabouts import Whereabouts
from tests.support.branch_scene import OTHER, UUID, Scene


def key(number: int) -> Key:
    return Key.parse(b"SHA256E-s%d--%s.a&b" % (number, hashlib.sha256(b"%d" % number).hexdigest().encode()))


def log(key: Key) -> bytes:
    return key.hash_lower + b"/" + key.file_name + b".log"


class Walked(SynchronousTestCase):
    def setUp(self) -> None:
        self.scene = Scene(self.mktemp())

    def open(self) -> Repository:
        opening = Repository.open(self.scene.git_dir, workers=InlineWorkers(), clock=Clock())
        return self.successResultOf(Deferred.fromCoroutine(opening))

    def slices(self, repository: Repository) -> list[list[Logged]]:
        async def all_of_them() -> list[list[Logged]]:
            walk = await Whereabouts(repository).census()
            found = []
            while some := await walk.some():
                found.append(some)
            return found

        return self.successResultOf(Deferred.fromCoroutine(all_of_them()))

    def test_an_empty_branch(self) -> None:
        self.assertEqual(self.slices(self.open()), [])

    def test_every_key_once_in_slices(self) -> None:
        self.patch(census, "_AT_ONCE", 7)
        keys = [key(number) for number in range(40)]
        files = {log(key): b"5s 1 %s\n6s 0 %s\n" % (UUID, OTHER) for key in keys}
        beside = {
            log(keys[0]) + b".web": b"5s 1 http://x\n",
            b"proxy.log": b"5s x\n",
            b"a/b/no-key.log": b"x\n",
        }
        self.scene.put({**files, **beside})
        slices = self.slices(self.open())
        self.assertEqual({len(some) for some in slices[:-1]} | {len(slices[-1])}, {7, 40 % 7})
        found = [logged for some in slices for logged in some]
        self.assertEqual(
            sorted(found, key=lambda one: one.key.raw),
            [Logged(key, frozenset((UUID,))) for key in sorted(keys, key=lambda one: one.raw)],
        )

    def test_a_log_that_is_not_there(self) -> None:
        self.scene.put({log(key(1)): b"5s 1 %s\n" % UUID, log(key(2)): b"6s 1 %s\n" % UUID})
        lost = str(pygit2.hash(b"5s 1 %s\n" % UUID))
        os.unlink(os.path.join(self.scene.path, "objects", lost[:2], lost[2:]))
        found = {logged.key: logged.holders for some in self.slices(self.open()) for logged in some}
        self.assertEqual(found, {key(1): frozenset(), key(2): frozenset((UUID,))})

    def test_a_tree_that_stands_for_many(self) -> None:
        self.scene.put({log(key(1)): b"5s 1 %s\n" % UUID})
        top = trees.cut(self.scene.git.content(self.scene.git.tree_of(self.scene.git.branch_head() or b"")))
        everywhere = {b"%03d" % number: entry for number in range(500) for entry in top.values()}
        bomb = str(self.scene.repository.write(ObjectType.TREE, trees.joined(everywhere)))
        who = pygit2.Signature("x", "x@example.com")
        self.scene.repository.references.delete("refs/heads/git-annex")
        self.scene.repository.create_commit("refs/heads/git-annex", who, who, "x", bomb, [])
        self.assertEqual(sum(map(len, self.slices(self.open()))), 1)

    def test_what_stays_in_the_journal(self) -> None:
        self.scene.repository.config["annex.alwayscommit"] = "false"
        self.scene.put({log(key(1)): b"5s 1 %s\n" % OTHER})
        self.assertTrue(self.scene.branch(always_commit=False).record(key(2), True))
        found = {one.key: one.holders for some in self.slices(self.open()) for one in some}
        self.assertEqual(found, {key(1): {OTHER}, key(2): {UUID}})

    def test_files_of_head(self) -> None:
        repository = self.scene.repository
        content = b"/annex/objects/" + key(3).file_name + b"\n"
        entries = {
            "locked": (b"../.git/annex/objects/xx/yy/%s/%s" % ((key(3).file_name,) * 2), 0o120000),
            "unlocked": (content, 0o100644),
            "plain": (b"text about annex/objects\n", 0o100644),
        }
        inner, outer = repository.TreeBuilder(), repository.TreeBuilder()
        for name, (data, mode) in entries.items():
            inner.insert(name, repository.create_blob(data), mode)
        outer.insert("dir", inner.write(), 0o040000)
        who = repository.default_signature
        repository.create_commit("HEAD", who, who, "x", outer.write(), [])
        whereabouts = Whereabouts(self.open())

        def key_of(path: bytes) -> Key | None:
            return self.successResultOf(Deferred.fromCoroutine(whereabouts.key_of(path)))

        def file_of(*noted: bytes) -> bytes | None:
            pointers: Any = SimpleNamespace(files=lambda key: list(noted))
            whereabouts._repository.parts = replace(whereabouts._repository.parts, pointers=pointers)
            return self.successResultOf(Deferred.fromCoroutine(whereabouts.file_of(key(3))))

        self.assertIsNone(self.successResultOf(Deferred.fromCoroutine(whereabouts.file_of(key(3)))))
        self.assertIsNone(file_of())
        self.assertEqual(file_of(b"gone", b"dir/plain", b"dir/locked"), b"dir/locked")
        self.assertIsNone(file_of(*[b"dir/plain"] * 5, b"dir/locked"))
        self.assertEqual((key_of(b"dir/locked"), key_of(b"dir/unlocked")), (key(3), key(3)))
        for path in (b"dir/plain", b"dir", b"dir/locked/x", b"none", b"none/x"):
            self.assertIsNone(key_of(path), path)

    def test_without_a_commit(self) -> None:
        whereabouts = Whereabouts(self.open())
        self.assertIsNone(self.successResultOf(Deferred.fromCoroutine(whereabouts.key_of(b"x"))))


class Rewritten(SynchronousTestCase):
    def setUp(self) -> None:
        self.scene = Scene(self.mktemp())
        self.branch = self.scene.branch()

    def test_and_committed(self) -> None:
        self.scene.put({b"proxy.log": b"1s a old\n2s b other\n"})

        def change(text: bytes, now: float) -> bytes:
            self.assertEqual((text, now), (b"1s a old\n2s b other\n", self.scene.now))
            return b"2s b other\n9s a new\n"

        self.assertTrue(self.branch.rewrite(b"proxy.log", change))
        self.assertTrue(self.branch.commit())
        self.assertEqual(self.scene.git.branch_file(b"proxy.log"), b"2s b other\n9s a new\n")
        self.assertFalse(self.branch.rewrite(b"proxy.log", lambda text, now: text))
        self.assertEqual(os.listdir(os.path.join(self.scene.path, "annex", "journal")), [])

    def test_what_came_meanwhile_is_kept(self) -> None:
        self.branch.rewrite(b"cluster.log", lambda text, now: b"5s a x\n")
        self.scene.put({b"cluster.log": b"6s b y\n4s a z\nodd\n"})
        self.branch.commit()
        self.assertEqual(self.scene.git.branch_file(b"cluster.log"), b"6s b y\nodd\n5s a x\n")
