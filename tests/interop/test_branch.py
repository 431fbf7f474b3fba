"""The location log of annexd and of git-annex, on the same repository."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Iterator

from twisted.trial import unittest

from annexd.errors import Refused
from annexd.protocol.keys import Key
from annexd.repo import presence
from annexd.repo.branch import Branch
from annexd.repo.git import Git
from annexd.repo.locks import lock
from tests.support.annex import Machine
from tests.support.branch_hammer import git_dir, open_branch
from tests.support.hammering import hammer
from tests.support.programs import MIDDLE, NEWEST, OLDEST

OTHER = "11111111-1111-4111-8111-111111111111"
OURS = (
    "33333333-3333-4333-8333-333333333333"  # not the repository's own: fsck would correct what we say of it
)
DEAD = "22222222-2222-4222-8222-222222222222"

# Runs git, and when that was the moment, kills who called it.
KILLING_GIT = """\
#!/bin/sh
{git} "$@"; code=$?
case "$*" in *update-ref*refs/heads/git-annex*) kill -9 $PPID;; esac
exit $code
"""


class BranchCase(unittest.TestCase):
    bare = True
    version = NEWEST
    timeout = 120

    def setUp(self) -> None:
        self.machine = Machine(Path(self.mktemp()).absolute(), self.version)
        self.repo = self.machine.new("repo", bare=self.bare)
        self.git_dir = git_dir(str(self.repo))
        self.git = Git(self.git_dir)
        self.uuid = OURS
        self.branch = open_branch(str(self.repo), OURS)
        self.expected: dict[tuple[str, str], bool] = {}

    def annex(self, *argv: str, repo: Path | None = None) -> bytes:
        return self.machine.annex(repo or self.repo, *argv)

    def holders(self, name: bytes, repo: Path | None = None) -> set[bytes]:
        """As git-annex knows them."""
        _, said = self.machine.tries(repo or self.repo, "whereis", "--json", b"--key=" + name)
        (line,) = (line for line in said.splitlines() if line.startswith(b"{"))
        return {place["uuid"].encode() for place in json.loads(line)["whereis"]}

    def record(self, name: str, present: bool, branch: Branch | None = None) -> None:
        (branch or self.branch).record(Key.parse(name.encode()), present)
        self.expected[name, self.uuid] = present

    def set_present(self, name: str, present: bool, uuid: str = OTHER, repo: Path | None = None) -> None:
        self.annex("setpresentkey", name, uuid, str(int(present)), repo=repo)
        self.expected[name, uuid] = present

    def text(self, name: str) -> bytes:
        key = Key.parse(name.encode())
        return self.git.branch_file(key.hash_lower + b"/" + key.file_name + b".log") or b""

    def check(self) -> None:
        """All is committed, and the branch says what was said last; so does git-annex."""
        self.annex("merge")
        journal = os.path.join(self.git_dir, b"annex/journal")
        self.assertEqual(os.listdir(journal) if os.path.isdir(journal) else [], [])
        for (name, uuid), present in self.expected.items():
            line = presence.newest(self.text(name)).get(uuid.encode())
            self.assertIsNotNone(line, (name, uuid))
            assert line is not None
            self.assertEqual(line.status == b"1", present, (name, uuid))
            self.assertEqual(uuid.encode() in self.holders(name.encode()), present)
        self.machine.git(self.repo, "fsck", "--strict")


class TogetherTests(BranchCase):
    """Turn by turn: git-annex commands that write to the branch, between commits of ours."""

    def test_turn_by_turn(self) -> None:
        for number in range(3):
            self.record("WORM-s1--a", number % 2 == 0)
            self.branch.commit()
            self.set_present("WORM-s1--a", number % 2 == 1)
            self.record(f"WORM-s1--n{number}", True)
            self.annex("merge")
            self.set_present(f"WORM-s1--n{number}", True)
            self.branch.commit()
            self.machine.tries(self.repo, "fsck", "--fast", "--quiet")
            self.annex("numcopies", str(number + 1))
            self.record("WORM-s1--b", number % 2 == 1)
        self.check()
        self.assertEqual(self.annex("numcopies").strip(), b"3")

    def test_journal_of_either_is_read_and_committed_by_the_other(self) -> None:
        self.record("WORM-s1--a", True)
        self.assertEqual(self.holders(b"WORM-s1--a"), {self.uuid.encode()})
        self.set_present("WORM-s1--a", True)
        self.assertEqual(self.branch.holders(Key.parse(b"WORM-s1--a")), {self.uuid.encode(), OTHER.encode()})
        self.record("WORM-s1--a", False)
        self.set_present("WORM-s1--b", True)
        self.assertTrue(self.branch.commit())
        self.assertEqual(self.branch.holders(Key.parse(b"WORM-s1--b")), {OTHER.encode()})
        self.check()

    def test_an_index_that_was_left_behind(self) -> None:
        annex = Path(os.fsdecode(self.git_dir)) / "annex"
        self.record("WORM-s1--a", True)
        self.branch.commit()
        self.annex("merge")
        old = {name: (annex / name).read_bytes() for name in ("index", "index.lck")}
        self.record("WORM-s1--a", False)
        self.record("WORM-s1--b", True)
        self.branch.commit()
        for name, content in old.items():
            (annex / name).write_bytes(content)
        self.set_present("WORM-s1--b", True)
        self.check()
        (annex / "index").unlink()
        self.record("WORM-s1--a", True)
        self.branch.commit()
        self.set_present("WORM-s1--a", True)
        self.check()

    def test_odd_names(self) -> None:
        for name in (b"WORM-s3-m1--a_b%c:d/e&f__g caf\xe9", b"URL--http://x/y?z=1_", b"B-s1--__"):
            self.branch.record(Key.parse(name), True)
            self.branch.commit()
            self.assertEqual(self.holders(name), {self.uuid.encode()})
            self.machine.annex(self.repo, "setpresentkey", name, OTHER, "1")
            self.assertEqual(self.branch.holders(Key.parse(name)), {self.uuid.encode(), OTHER.encode()})
        self.check()

    def test_tuned_hash_directories(self) -> None:
        self.repo = self.machine.new("tuned", bare=self.bare, settings=("annex.tune.branchhash1=true",))
        self.git_dir = git_dir(str(self.repo))
        self.git = Git(self.git_dir)
        branch = open_branch(str(self.repo), OTHER)
        branch.record(Key.parse(b"WORM-s1--a"), True)
        branch.commit()
        self.assertEqual(self.holders(b"WORM-s1--a"), {OTHER.encode()})

    def test_forgetting(self) -> None:
        """What git-annex forgets does not come back with what we commit."""
        self.set_present("WORM-s1--a", True, DEAD)
        self.record("WORM-s1--a", True)
        self.record("WORM-s1--b", True)
        self.branch.commit()
        with open(os.path.join(self.git_dir, b"annex/journal/uuid.log"), "wb") as file:
            file.write(self.git.branch_file(b"uuid.log") or b"")
            file.write(f"{DEAD} somebody timestamp=1s\n".encode())
        self.annex("dead", DEAD)
        self.record("WORM-s1--b", False)
        self.annex("forget", "--drop-dead", "--force")
        del self.expected["WORM-s1--a", DEAD]
        self.record("WORM-s1--a", False)
        self.branch.commit()
        self.set_present("WORM-s1--c", True)
        self.check()
        self.assertNotIn(DEAD.encode(), self.text("WORM-s1--a"))

    def test_private_repositories(self) -> None:
        repo = self.machine.new("private", bare=self.bare, settings=("annex.private=true",))
        branch, uuid = open_branch(str(repo)), self.machine.uuid(repo)
        key = Key.parse(b"WORM-s1--a")
        branch.record(key, True)
        branch.commit()
        self.assertEqual(self.holders(b"WORM-s1--a", repo), {uuid})
        self.annex("setpresentkey", "WORM-s1--a", OTHER, "1", repo=repo)
        self.annex("setpresentkey", "WORM-s1--a", uuid.decode(), "0", repo=repo)
        self.assertEqual(branch.holders(key), {OTHER.encode()})
        branch.record(key, True)
        self.annex("merge", repo=repo)
        self.assertEqual(self.holders(b"WORM-s1--a", repo), {uuid, OTHER.encode()})
        log = self.machine.git(repo, "log", "-p", "git-annex")
        self.assertNotIn(uuid, log)


class TogetherWithWorkTreeTests(TogetherTests):
    bare = False

    def test_files(self) -> None:
        for number in range(3):
            (self.repo / f"f{number}").write_text(f"content {number}")
            self.record("WORM-s1--a", number % 2 == 0)
            self.annex("add", "-q", f"f{number}")
            key = self.machine.key(self.repo, f"f{number}").decode()
            own = self.machine.uuid(self.repo).decode()
            self.expected[key, own] = True
            self.branch.commit()
            self.record("WORM-s1--b", number % 2 == 0)
            self.annex("drop", "-q", "--force", f"f{number}")
            self.expected[key, own] = False
            self.branch.commit()
            self.annex("sync", "-q", "--no-push", "--no-pull")
        self.machine.tries(self.repo, "fsck", "-q")
        self.check()


class ClonesTests(BranchCase):
    def setUp(self) -> None:
        super().setUp()
        self.other = self.machine.clone(str(self.repo), "clone")

    def push(self) -> None:
        self.machine.git(self.other, "fetch", "-q", "origin")
        self.annex("merge", repo=self.other)
        self.machine.git(self.other, "push", "-q", "origin", "git-annex")

    def test_a_push_between_journal_and_commit(self) -> None:
        self.record("WORM-s1--a", True)
        self.branch.commit()
        self.record("WORM-s1--a", False)
        self.set_present("WORM-s1--a", True, repo=self.other)
        self.push()
        self.branch.commit()
        self.record("WORM-s1--b", True)
        self.check()

    def test_a_push_while_a_commit_is_made(self) -> None:
        self.record("WORM-s1--a", True)
        move, pushes = Git.move_branch, [self.push]

        def late(git: Git, commit: bytes, parent: bytes | None) -> bool:
            if pushes:
                self.set_present("WORM-s1--a", True, repo=self.other)
                pushes.pop()()
            return move(git, commit, parent)

        self.patch(Git, "move_branch", late)
        self.branch.commit()
        self.check()

    def test_a_branch_of_another_that_is_not_merged_yet(self) -> None:
        self.machine.git(self.repo, "remote", "add", "other", str(self.other))
        self.set_present("WORM-s1--a", True, repo=self.other)
        self.annex("merge", repo=self.other)
        self.machine.git(self.repo, "fetch", "-q", "other", "+git-annex:refs/remotes/other/git-annex")
        self.record("WORM-s1--a", True)
        self.branch.commit()
        self.record("WORM-s1--b", True)
        self.check()

    def test_the_branch_is_only_at_the_origin(self) -> None:
        fresh = self.machine.directory / "fresh"
        self.set_present("WORM-s1--a", True)
        self.annex("merge")
        self.machine.git(self.machine.directory, "clone", "-q", "--bare", str(self.repo), str(fresh))
        self.machine.git(fresh, "config", "annex.uuid", DEAD)
        self.machine.git(fresh, "config", "annex.version", "10")
        branch = open_branch(str(fresh))
        branch.record(Key.parse(b"WORM-s1--a"), True)
        branch.commit()
        self.assertEqual(self.holders(b"WORM-s1--a", fresh), {DEAD.encode(), OTHER.encode()})


class WaitingTests(BranchCase):
    """A git-annex that has looked at the branch, and then waits for the journal while we commit."""

    def merge_behind_us(self, env: dict[str, str]) -> int:
        self.record("WORM-s1--a", True)
        self.branch.commit()
        self.annex("merge")
        held = lock(self.git_dir + b"/annex/journal.lck", exclusive=True, seconds=5)
        branch = open_branch(str(self.repo), OURS)
        branch._journal_locked = contextlib.nullcontext  # type: ignore[method-assign]
        # There must be something in the journal for git-annex to wait for it.
        branch.record(Key.parse(b"WORM-s1--z"), True)
        process = subprocess.Popen(["git-annex", "merge"], cwd=self.repo, env=env, stdout=subprocess.DEVNULL)
        try:
            _wait_until(lambda: _waits_for_a_lock(process.pid))
            self.record("WORM-s1--a", False, branch)
            self.record("WORM-s1--b", True, branch)
            branch.commit()
            self.record("WORM-s1--c", True, branch)
        finally:
            held.release()
        return process.wait()

    def test_loses_nothing(self) -> None:
        self.assertEqual(self.merge_behind_us(self.machine.env), 0)
        self.check()

    def test_loses_nothing_even_if_it_is_killed(self) -> None:
        tools = self.machine.directory / "killing"
        tools.mkdir()
        git = self.machine.git(self.repo, "--exec-path").decode().strip() + "/git"
        (tools / "git").write_text(KILLING_GIT.format(git=git))
        (tools / "git").chmod(0o755)
        env = {**self.machine.env, "PATH": f"{tools}:{self.machine.env['PATH']}"}
        self.assertEqual(self.merge_behind_us(env), -9)
        for name, present in (("WORM-s1--a", False), ("WORM-s1--b", True), ("WORM-s1--z", True)):
            holders = presence.holders(self.text(name))
            self.assertEqual(self.uuid.encode() in holders, present, name)
        self.check()


class WaitingOldestTests(WaitingTests):
    version = OLDEST


class WaitingMiddleTests(WaitingTests):
    version = MIDDLE


class HammerTests(unittest.TestCase):
    timeout = 180

    def hammer(self, bare: bool, roles: list[str]) -> None:
        machine = Machine(Path(self.mktemp()).absolute())
        repository = machine.new("hammered", bare=bare)
        # On a busy machine git's own 100 ms for the others' locks are too few, for git-annex as for git.
        for name in ("core.filesRefLockTimeout", "core.packedRefsTimeout"):
            machine.git(repository, "config", name, "5000")
        self.assertEqual("\n".join(hammer(str(repository), roles, 8, "1", machine.env)), "")

    def test_bare(self) -> None:
        self.hammer(True, ["annexd", "annexd", "git-annex", "clone", "chores"])

    def test_with_work_tree(self) -> None:
        self.hammer(False, ["annexd", "git-annex", "chores"])


class GitTests(BranchCase):
    def test_the_configuration_is_what_git_says(self) -> None:
        more = self.machine.directory / "more"
        more.write_text(
            '[annex]\n\tfromInclude\n\tdiskreserve = 1\n[x "A b.C"]\n\tK = "a # b" ; c\n\tempty =\n'
        )
        only_here = self.machine.directory / "onlyhere"
        only_here.write_text("[annex]\n\tconditional = yes\n")
        for name, value in (
            ("include.path", str(more)),
            (f"includeIf.gitdir:{self.repo.parent}/.path", str(only_here)),
            ("annex.diskreserve", "2"),
            ("annex.multi", "a\nb"),
            ("remote.caf\u00e9.url", "\u00e9"),
        ):
            self.machine.git(self.repo, "config", name, value)
        self.machine.git(self.repo, "config", "--add", "annex.diskreserve", "3")
        # Only the repository's own file: the other two are those of whoever runs this.
        listed = self.machine.git(self.repo, "config", "--list", "--local", "--includes", "-z")
        ours = self.git.config()
        expected = {}
        for entry in listed.split(b"\0")[:-1]:
            name, _, value = entry.partition(b"\n")
            expected[name] = value if b"\n" in entry else b"true"
        self.assertGreater(len(expected), 10)
        self.assertIn(b"annex.conditional", expected)
        self.assertEqual({name: ours.get(name) for name in expected}, expected)

    def test_repositories_that_libgit2_cannot_open(self) -> None:
        path = self.machine.directory / "sha256"
        self.machine.git(self.machine.directory, "init", "-q", "--bare", "--object-format=sha256", str(path))
        self.assertIn("sha256", str(self.assertRaises(Refused, Git(os.fsencode(path)).branch_head)))

    def test_objects_are_as_shared_as_those_of_git(self) -> None:
        for shared in ("group", "all", "0640"):
            repo = self.machine.new(shared, bare=True, settings=(f"core.sharedRepository={shared}",))
            source = self.machine.directory / "source"
            source.write_bytes(_content_elsewhere(repo))
            with _umask(0o077):
                name = self.machine.git(repo, "hash-object", "-w", str(source)).decode().strip()
                before = {path for found in _objects(repo) for path in (found, found.parent)}
                branch = open_branch(str(repo))
                branch.record(Key.parse(b"WORM-s1--a"), True)
                branch.commit()
            wanted = repo / "objects" / name[:2] / name[2:]
            new = _objects(repo) - before
            self.assertGreater(len(new), 3)
            for path in new:
                self.assertEqual(oct(path.stat().st_mode), oct(wanted.stat().st_mode), (shared, path))
            for path in {path.parent for path in new} - before:
                self.assertEqual(oct(path.stat().st_mode), oct(wanted.parent.stat().st_mode), (shared, path))


def _content_elsewhere(repo: Path) -> bytes:
    """Of an object in a directory that is not there yet."""
    for number in itertools.count():
        content = b"%d" % number
        name = hashlib.sha1(b"blob %d\0%s" % (len(content), content)).hexdigest()
        if not (repo / "objects" / name[:2]).exists():
            return content
    raise AssertionError


def _objects(repo: Path) -> set[Path]:
    return set((repo / "objects").glob("??/*"))


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def _waits_for_a_lock(pid: int) -> bool:
    with open("/proc/locks") as file:
        return any("->" in line and f" {pid} " in line for line in file)


def _wait_until(true: object, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        if time.monotonic() > end:
            raise AssertionError("it did not happen")
        time.sleep(0.01)
