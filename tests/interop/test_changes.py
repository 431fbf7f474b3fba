"""What is announced when references move: ours beside git-annex's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial import unittest

from annexd.flow.workers import InlineWorkers
from annexd.repo.changes import Changes, InotifyWatch
from annexd.repo.git import Git
from tests.support.annex import Machine
from tests.support.branch_hammer import git_dir


class ChangesTests(unittest.TestCase):
    timeout = 60

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.machine = Machine(Path(self.mktemp()).absolute())
        self.repo = self.machine.new("repo")
        where = git_dir(str(self.repo))
        git = Git(where)

        async def refs() -> dict[bytes, bytes]:
            return git.refs()

        workers = InlineWorkers()
        self.changes = Changes(
            where,
            refs,
            lambda touched: InotifyWatch(reactor, touched),
            reactor,
            workers.disk,  # type: ignore[arg-type]
        )
        self.follower = self.changes.follow()
        self.theirs = subprocess.Popen(
            ["git-annex-shell", "notifychanges", str(self.repo)],
            env=self.machine.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.addCleanup(self.stop)
        assert self.theirs.stdout is not None
        self.assertEqual(self.theirs.stdout.readline(), b"READY\n")

    def stop(self) -> None:
        self.theirs.kill()
        self.theirs.communicate()

    def git(self, *argv: str) -> str:
        return self.machine.git(self.repo, *argv).decode().strip()

    def commit(self) -> str:
        tree = self.git("rev-parse", "HEAD^{tree}")
        self.number = getattr(self, "number", 0) + 1
        return self.git("commit-tree", "-m", str(self.number), tree)

    def wait_for_theirs(self, wanted: set[str]) -> None:
        """
        Read what they announce until all of this was.  In the beginning they
        also announce what has moved just before, which is no part of the test.
        """
        assert self.theirs.stdout is not None
        said: set[str] = set()
        while not wanted <= said:
            line = self.theirs.stdout.readline().split()
            if line[:1] == [b"CHANGED"]:
                said |= {word.decode() for word in line[1:]}
            self.assertTrue(line)

    async def check(self, wanted: set[str], *argv: str) -> None:
        waiting = Deferred.fromCoroutine(self.follower.next())
        self.git(*argv)
        said: set[str] = set()
        while True:
            said |= {name.decode() for name in await waiting}
            if wanted <= said:
                break
            waiting = Deferred.fromCoroutine(self.follower.next())
        self.assertEqual(said, wanted)
        self.wait_for_theirs(wanted)

    async def test_all_that_moves_is_announced(self) -> None:
        for name in (
            *(
                "refs/heads/new",
                "refs/heads/deep/er/one",
                "refs/heads/new",
                "refs/tags/t",
                "refs/notes/commits",
            ),
            *("refs/remotes/origin/main", "refs/annex/x", "refs/top"),
        ):
            commit = self.commit()
            await self.check({commit}, "update-ref", name, commit)

    async def test_a_tag_is_announced_by_its_own_name(self) -> None:
        waiting = Deferred.fromCoroutine(self.follower.next())
        self.git("tag", "-a", "-m", "x", "annotated")
        tag = self.git("rev-parse", "annotated")
        self.assertEqual(await waiting, (tag.encode(),))
        self.wait_for_theirs({tag})

    async def test_packed_and_deleted_references_are_not_announced(self) -> None:
        commit = self.commit()
        await self.check({commit}, "update-ref", "refs/heads/deep/er/one", commit)
        waiting = Deferred.fromCoroutine(self.follower.next())
        self.git("pack-refs", "--all")
        self.git("update-ref", "-d", "refs/heads/deep/er/one")
        commit = self.commit()
        self.git("update-ref", "refs/heads/deep/er/two", commit)
        self.assertEqual(await waiting, (commit.encode(),))
        self.wait_for_theirs({commit})
