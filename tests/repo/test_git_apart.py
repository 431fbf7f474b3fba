"""The git side of a repository, read by another process."""

from __future__ import annotations

import os
import signal

from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import Refused
from annexd.repo.combining import united
from annexd.repo.git import BRANCH, Git
from annexd.repo.git_apart import GitApart
from annexd.repo.uniting import United
from tests.support.repositories import make_repository

LOG, OTHER = b"123/456/KEY.log", b"789/456/KEY.log"


class Apart(SynchronousTestCase):
    def setUp(self) -> None:
        self.git_dir = make_repository(os.path.realpath(self.mktemp()))
        self.git = GitApart(self.git_dir)
        self.addCleanup(self.git.close)

    def commit(self, text: bytes, parent: bytes | None = None) -> bytes:
        return self.git.write_commit({LOG: text, OTHER: text + b"3s 1 w\n"}, b"update", parent).name

    def test_says_what_git_says(self) -> None:
        same = Git(self.git_dir)
        self.assertEqual((self.git.bare, self.git.work_tree), (True, None))
        self.assertEqual(self.git.config(), same.config())
        self.assertEqual(self.git.common_dir, same.common_dir)
        self.assertIsNone(self.git.branch_head())
        commit = self.commit(b"1s 1 u\n")
        self.assertTrue(self.git.move_branch(commit, None))
        self.assertEqual(self.git.refs(), {BRANCH: commit})
        self.assertEqual(self.git.branch_file(LOG), b"1s 1 u\n")
        self.assertEqual(same.branch_file(LOG), b"1s 1 u\n")
        self.assertFalse(self.git.move_branch(commit, b"0" * 40))
        self.assertIsNone(self.git.checked_in(b"file"))
        self.assertEqual(self.git.content(self.git.tree_of(commit)), same.content(same.tree_of(commit)))

    def test_merges_in_slices(self) -> None:
        ours, theirs = self.commit(b"1s 1 u\n"), self.commit(b"2s 1 v\n")
        known: United = {}
        slices = 0
        while not self.git.unite_some(ours, theirs, united, known, lambda: True)[0]:
            slices += 1
        self.assertGreater(slices, 0)
        self.assertTrue(known)
        merged = self.git.write_merge(ours, theirs, b"merge", united, known).name
        self.assertTrue(self.git.contains(merged, ours))
        self.assertFalse(self.git.same_tree(merged, ours))
        self.assertEqual(self.git.branch_file(LOG, merged), b"1s 1 u\n2s 1 v\n")

    def test_refusals_come_back(self) -> None:
        said = str(self.assertRaises(Refused, self.git.content, b"0" * 40))
        self.assertIn("cannot be used", said)
        self.assertEqual(self.git.refs(), {})

    def test_a_process_that_was_killed(self) -> None:
        self.git.refs()
        assert self.git._process is not None
        os.kill(self.git._process.pid, signal.SIGKILL)
        self.assertRaises(Refused, self.git.refs)
        self.assertEqual(self.git.refs(), {})

    def test_closed_and_used_again(self) -> None:
        self.git.refs()
        process = self.git._process
        assert process is not None
        self.git.close()
        self.assertEqual(process.returncode, 0)
        self.assertEqual(self.git.refs(), {})
