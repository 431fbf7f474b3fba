"""Git-annex branches that come from elsewhere, and what ours becomes."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import Refused
from annexd.protocol.keys import Key
from annexd.repo.git import Git
from tests.repo.test_branch import line
from tests.support.branch_scene import OTHER, UUID, Scene

KEY = Key.parse(b"SHA256E-s3--abc")
SYNCED = "refs/heads/synced/git-annex"


class MergeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.scene = Scene(self.mktemp())
        self.branch = self.scene.branch()
        self.log = self.scene.layout.log_name(KEY)
        self.start = self.scene.put({b"uuid.log": b"u1 one timestamp=1s\n", self.log: line(5, 1)})

    def came(self, files: dict[bytes, bytes], parent: bytes | None = None, name: str = SYNCED) -> bytes:
        """Somebody pushes a branch with these files changed."""
        git = Git(self.scene.git_dir)
        commit = git.write_commit(files, b"elsewhere", parent or self.start).name
        self.scene.repository.references.create(name, commit.decode(), force=True)
        return commit

    def file(self, name: bytes) -> bytes | None:
        return self.scene.git.branch_file(name)

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
