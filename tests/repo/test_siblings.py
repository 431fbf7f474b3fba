"""Git-annex branches that come from elsewhere, and what ours becomes."""

from __future__ import annotations

import os

import pygit2
from pygit2.enums import ObjectType
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import Refused
from annexd.protocol.keys import Key
from annexd.repo import git, trees
from annexd.repo.git import Git
from tests.repo.test_branch import line
from tests.support.branch_scene import OTHER, UUID, Scene

KEY = Key.parse(b"SHA256E-s3--abc")
SYNCED = "refs/heads/synced/git-annex"


class Siblings(SynchronousTestCase):
    def setUp(self) -> None:
        self.scene = Scene(self.mktemp())
        self.branch = self.scene.branch()
        self.log = self.scene.layout.log_name(KEY)
        self.start = self.scene.put({b"uuid.log": b"u1 one timestamp=1s\n", self.log: line(5, 1)})

    def came(self, files: dict[bytes, bytes], parent: bytes | None = None, name: str = SYNCED) -> bytes:
        """Somebody pushes a branch with these files changed."""
        commit = Git(self.scene.git_dir).write_commit(files, b"elsewhere", parent or self.start).name
        self.scene.repository.references.create(name, commit.decode(), force=True)
        return commit

    def file(self, name: bytes) -> bytes | None:
        return self.scene.git.branch_file(name)


class MergeTests(Siblings):
    def test_nothing_has_come(self) -> None:
        self.assertFalse(self.branch.merge())
        self.assertEqual(self.scene.git.branch_head(), self.start)

    def test_what_only_they_have(self) -> None:
        theirs = self.came({self.log: line(5, 1) + line(6, 1, OTHER)})
        self.assertTrue(self.branch.merge())
        self.assertEqual(self.scene.git.branch_head(), theirs)
        self.assertEqual(self.branch.holders(KEY), {UUID, OTHER})
        self.assertFalse(self.branch.merge())

    def test_both_have_something(self) -> None:
        theirs = self.came(
            {
                self.log: line(7, 0) + line(6, 1, OTHER),
                b"uuid.log": b"u1 one timestamp=1s\nu2 two timestamp=1s\n",
                b"a/new.log": b"x\n",
            }
        )
        ours = self.scene.put({b"uuid.log": b"u1 one timestamp=1s\nu3 three timestamp=1s\n"})
        self.assertTrue(self.branch.merge())
        self.assertEqual(self.branch.holders(KEY), {OTHER})
        united = b"u1 one timestamp=1s\nu3 three timestamp=1s\nu2 two timestamp=1s\n"
        self.assertEqual((self.file(b"uuid.log"), self.file(b"a/new.log")), (united, b"x\n"))
        commit = self.scene.repository[str(self.scene.git.branch_head(), "ascii")]
        parents = [str(one).encode() for one in commit.parent_ids]  # type: ignore[attr-defined]
        self.assertEqual(parents, [ours, theirs])
        self.assertFalse(os.path.exists(self.scene.layout.index_state))

    def test_several_and_a_journal(self) -> None:
        self.came({b"trust.log": b"t\n"}, name="refs/remotes/a/git-annex")
        self.came({b"group.log": b"g\n"}, name="refs/remotes/b/git-annex")
        self.branch.record(KEY, False)
        self.assertTrue(self.branch.merge())
        self.assertTrue(self.branch.commit())
        self.assertEqual(
            (self.file(b"trust.log"), self.file(b"group.log"), self.branch.holders(KEY)),
            (b"t\n", b"g\n", frozenset()),
        )

    def test_before_there_is_one_of_ours(self) -> None:
        theirs = self.came({b"trust.log": b"t\n"})
        self.scene.repository.references.delete("refs/heads/git-annex")
        self.assertTrue(self.branch.merge())
        self.assertEqual(self.scene.git.branch_head(), theirs)

    def test_what_was_forgotten_stays_so(self) -> None:
        theirs = self.came({b"trust.log": b"t\n"})
        with open(os.path.join(self.scene.layout.annex, b"ignoredrefs"), "wb") as file:
            file.write(theirs + b"\trefs/heads/synced/git-annex\n")
        self.assertFalse(self.branch.merge())

    def test_transitions_are_for_git_annex(self) -> None:
        self.came({b"transitions.log": b"ForgetGitHistory 5s\n"})
        ours = self.scene.put({b"trust.log": b"t\n"})
        with self.assertRaises(Refused):
            self.branch.merge()
        self.assertEqual(self.scene.git.branch_head(), ours)

    def test_the_settings_leave_it_to_git_annex(self) -> None:
        self.came({b"trust.log": b"t\n"})
        self.assertFalse(self.scene.branch(always_commit=False).merge())


class SlicedTests(Siblings):
    def test_a_large_one_in_slices(self) -> None:
        """The clock goes on with each look; what we commit meanwhile is merged, too."""
        keys = [Key.parse(b"SHA256E-s3--%d" % number) for number in range(10)]
        logs = [self.scene.layout.log_name(key) for key in keys]
        start = self.scene.put({log: line(1, 1) for log in logs})
        self.came({log: line(1, 1) + line(2, 1, OTHER) for log in logs}, start)
        self.scene.put({log: line(3, 0) for log in logs})
        ticks = iter(range(10_000))
        self.branch._clock = lambda: next(ticks)
        slices = 0
        while not self.branch.prepare_merge():
            slices += 1
            self.scene.put({logs[slices % 10]: line(5 + slices, 1)})
        self.assertGreater(slices, 8)
        self.assertTrue(self.branch.merge())
        self.assertFalse(self.branch.merge())
        self.assertEqual({self.branch.holders(key) for key in keys[1:slices]}, {frozenset((UUID, OTHER))})


class HostileTests(Siblings):
    """What somebody has pushed who means no good, or whose disk is broken."""

    def object(self, kind: ObjectType, content: bytes) -> bytes:
        return str(self.scene.repository.write(kind, content)).encode()

    def tree(self, **entries: tuple[bytes, bytes]) -> bytes:
        """The name of a tree with these modes and objects."""
        found = {name.encode(): (mode, bytes.fromhex(oid.decode())) for name, (mode, oid) in entries.items()}
        return self.object(ObjectType.TREE, trees.joined(found))

    def pushed(self, tree: bytes, name: str = "refs/heads/a/git-annex") -> None:
        who = pygit2.Signature("x", "x@example.com")
        self.scene.repository.create_commit(None, who, who, "x", tree.decode(), [])
        commit = self.scene.repository.create_commit(None, who, who, "x", tree.decode(), [])
        self.scene.repository.references.create(name, commit, force=True)

    def fails_alone(self) -> None:
        """The others are merged all the same, and nothing of ours is lost."""
        self.came({b"trust.log": b"t\n"}, name="refs/heads/z/git-annex")
        self.assertRaises(Refused, self.branch.merge)
        self.assertEqual((self.file(b"trust.log"), self.branch.holders(KEY)), (b"t\n", {UUID}))

    def test_no_commit(self) -> None:
        blob = self.object(ObjectType.BLOB, b"x")
        self.scene.repository.references.create("refs/remotes/a/git-annex", blob.decode())
        self.fails_alone()

    def test_a_commit_that_is_not_there(self) -> None:
        path = os.path.join(self.scene.path, "refs/heads/a/git-annex")
        os.makedirs(os.path.dirname(path))
        with open(path, "w") as file:
            file.write("1234567890" * 4 + "\n")
        self.fails_alone()

    def test_a_file_that_is_not_there(self) -> None:
        self.pushed(self.tree(**{"uuid.log": (trees.FILE, b"1234567890" * 4)}))
        self.fails_alone()

    def test_a_file_larger_than_any_log(self) -> None:
        self.patch(git, "_LARGEST", 1000)
        self.came({b"uuid.log": b"x" * 1001}, name="refs/heads/a/git-annex")
        self.scene.put({b"uuid.log": b"u1 other timestamp=1s\n"})
        self.fails_alone()

    def test_not_again_at_once(self) -> None:
        self.came({b"transitions.log": b"ForgetGitHistory 5s\n"})
        self.scene.put({b"trust.log": b"t\n"})
        self.assertRaises(Refused, self.branch.merge)
        self.assertFalse(self.branch.merge())
        self.scene.ticks += 100
        self.assertRaises(Refused, self.branch.merge)

    def test_a_submodule_in_place_of_a_file(self) -> None:
        self.scene.put({b"x": b"1"})
        self.pushed(self.tree(x=(b"160000", b"1234567890" * 4)))
        self.assertTrue(self.branch.merge())
        self.assertEqual(self.file(b"x"), b"1")

    def test_directories_without_end(self) -> None:
        for content in (b"1", b"2"):
            oid, mode = self.object(ObjectType.BLOB, content), trees.FILE
            for _ in range(1100):
                oid, mode = self.tree(d=(mode, oid)), trees.TREE
            self.pushed(oid, f"refs/heads/a{content.decode()}/git-annex")
        self.fails_alone()

    def test_a_few_directories_that_are_millions(self) -> None:
        for content in (b"1", b"2"):
            oid, mode = self.object(ObjectType.BLOB, content), trees.FILE
            for _ in range(12):
                oid, mode = self.tree(**dict.fromkeys("abcdefgh", (mode, oid))), trees.TREE
            self.pushed(oid, f"refs/heads/a{content.decode()}/git-annex")
        self.assertTrue(self.branch.merge())
        self.assertEqual(self.file(b"/".join([b"a"] * 12)), b"1\n2\n")
