from __future__ import annotations

import errno
import os
import shutil

import pygit2
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import Refused
from annexd.repo import trees
from annexd.repo.git import BranchLocked, Git
from annexd.repo.layout import journal_name
from tests.support.branch_scene import Scene


class GitCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.scene = Scene(self.mktemp())
        self.git = self.scene.git

    def commit(self, files: dict[bytes, bytes]) -> bytes:
        head = self.git.branch_head()
        commit = self.git.write_commit(files, b"update", head)
        self.assertTrue(self.git.move_branch(commit.name, head))
        return commit.name

    def reflog(self) -> list[str]:
        with open(os.path.join(self.scene.path, "logs/refs/heads/git-annex")) as file:
            return file.readlines()


class OpeningTests(GitCase):
    def test_says_where_things_are(self) -> None:
        self.assertTrue(self.git.bare)
        self.assertIsNone(self.git.work_tree)
        self.assertEqual(self.git.common_dir, self.scene.git_dir)
        path = os.path.abspath(os.fsencode(self.mktemp()) + b" caf\xe9")
        pygit2.init_repository(os.fsdecode(path))
        git = Git(path + b"/.git")
        self.assertFalse(git.bare)
        self.assertEqual(git.work_tree, path)

    def test_is_opened_only_when_used(self) -> None:
        git = Git(b"/does/not/exist")
        self.assertIn("cannot be used", str(self.assertRaises(Refused, git.config)))
        self.assertRaises(Refused, git.branch_head)
        self.assertRaises(Refused, git.refs)

    def test_does_not_search_upwards(self) -> None:
        inner = os.path.join(self.scene.path, "inner")
        os.mkdir(inner)
        self.assertRaises(Refused, Git(os.fsencode(inner)).config)

    def test_can_be_used_again_after_closing(self) -> None:
        self.commit({b"x": b"1"})
        self.git.close()
        self.assertEqual(self.git.branch_file(b"x"), b"1")

    def test_says_what_it_cannot_do(self) -> None:
        for name, value in (("objectformat", "sha256"), ("refstorage", "reftable")):
            scene = Scene(self.mktemp())
            scene.repository.config["core.repositoryformatversion"] = 1
            scene.repository.config[f"extensions.{name}"] = value
            refusal = self.assertRaises(Refused, Git(scene.git_dir).config)
            self.assertRegex(str(refusal), value + "|" + name)

    def test_a_linked_work_tree_has_its_branches_elsewhere(self) -> None:
        linked = os.path.join(self.scene.path, "worktrees/x")
        os.makedirs(linked)
        with open(os.path.join(linked, "commondir"), "w") as file:
            file.write("../..\n")
        self.assertEqual(Git(os.fsencode(linked)).common_dir, self.scene.git_dir)


class ConfigTests(GitCase):
    def test_the_last_value_counts_and_includes_are_read(self) -> None:
        with open(os.path.join(self.scene.path, "more"), "w") as file:
            file.write('[annex]\n\tDiskReserve = 1\n[remote "A.b"]\n\tAnnex-Ignore\n\turl = caf\xe9 "#x"\n')
        with open(os.path.join(self.scene.path, "config"), "a") as file:
            file.write("[include]\n\tpath = more\n[annex]\n\tdiskreserve = 2\n\tempty =\n")
        config = self.git.config()
        self.assertEqual(config[b"annex.diskreserve"], b"2")
        self.assertEqual(config[b"remote.A.b.annex-ignore"], b"true")
        self.assertEqual(config[b"remote.A.b.url"], "caf\xe9 #x".encode())
        self.assertEqual(config[b"annex.empty"], b"")

    def test_sees_changes(self) -> None:
        self.assertNotIn(b"annex.foo", self.git.config())
        with open(os.path.join(self.scene.path, "config"), "a") as file:
            file.write("[annex]\n\tfoo = bar\n")
        self.assertEqual(self.git.config()[b"annex.foo"], b"bar")

    def test_a_broken_file(self) -> None:
        with open(os.path.join(self.scene.path, "config"), "a") as file:
            file.write("[annex\n")
        self.assertRaises(Refused, Git(self.scene.git_dir).config)


class ReadingTests(GitCase):
    def test_without_a_branch(self) -> None:
        self.assertIsNone(self.git.branch_head())
        self.assertIsNone(self.git.branch_file(b"x"))
        self.assertEqual(self.git.refs(), {})

    def test_files_and_what_is_none(self) -> None:
        names = (b"top.log", b"aaa/bbb/caf\xe9.log", "aaa/bbb/é.log".encode(), b"aaa/bbb/a\\b\n:.log")
        self.commit({name: b"of " + name for name in names})
        for name in names:
            self.assertEqual(self.git.branch_file(name), b"of " + name)
        for name in (b"aaa", b"aaa/bbb", b"aaa/ccc/x", b"top.log/x", b"aaa/bbb/no\xe9", b"", b"/top.log"):
            self.assertIsNone(self.git.branch_file(name), name)

    def test_sees_what_others_commit(self) -> None:
        first = self.commit({b"x": b"1"})
        self.assertEqual(self.git.branch_file(b"x"), b"1")
        self.scene.put({b"x": b"2"})
        self.assertEqual(self.git.branch_file(b"x"), b"2")
        self.assertEqual(self.git.branch_file(b"x", first), b"1")

    def test_packed_references(self) -> None:
        self.commit({b"x": b"1"})
        self.scene.repository.references.compress()
        self.assertFalse(os.path.exists(os.path.join(self.scene.path, "refs/heads/git-annex")))
        self.assertEqual(self.git.branch_file(b"x"), b"1")
        self.commit({b"x": b"2"})
        self.assertEqual(self.git.branch_file(b"x"), b"2")

    def test_references(self) -> None:
        commit = self.commit({b"x": b"1"})
        self.scene.repository.references.create("refs/remotes/o/m", commit.decode())
        self.scene.repository.references.create("refs/heads/sym", "refs/heads/git-annex")
        self.assertEqual(self.git.refs(), {b"refs/heads/git-annex": commit, b"refs/remotes/o/m": commit})

    def test_objects_of_alternates(self) -> None:
        self.commit({b"x": b"1"})
        other = Scene(self.mktemp())
        with open(os.path.join(other.path, "objects/info/alternates"), "w") as file:
            file.write(os.path.join(self.scene.path, "objects") + "\n")
        head = self.git.branch_head()
        assert head is not None
        other.repository = pygit2.Repository(other.path)
        other.repository.references.create("refs/heads/git-annex", head.decode())
        self.assertEqual(other.git.branch_file(b"x"), b"1")
        commit = other.git.write_commit({b"y": b"2"}, b"update", head)
        self.assertTrue(other.git.move_branch(commit.name, head))
        self.assertEqual([other.git.branch_file(name) for name in (b"x", b"y")], [b"1", b"2"])


class WritingTests(GitCase):
    def test_keeps_what_is_there(self) -> None:
        self.commit({b"aaa/bbb/one": b"1", b"aaa/ccc/two": b"2", b"aaa.log": b"3", b"aaa-log": b"4"})
        self.commit({b"aaa/bbb/three": b"5", b"new/dir/x": b"6", b"aaa/ccc/two": b"7"})
        self.assertEqual(self.git.branch_file(b"aaa/bbb/one"), b"1")
        self.assertEqual(self.git.branch_file(b"aaa/ccc/two"), b"7")
        self.assertEqual(self.git.branch_file(b"new/dir/x"), b"6")
        tree = self.scene.repository.revparse_single("refs/heads/git-annex").peel(pygit2.Tree)
        self.assertEqual([entry.name for entry in tree], ["aaa-log", "aaa.log", "aaa", "new"])

    def test_the_commit(self) -> None:
        first = self.commit({b"x": b"1"})
        head = self.git.branch_head()
        commit = self.git.write_commit({b"x": b"2"}, b"caf\xe9 message", head)
        found = self.scene.repository[commit.name.decode()]
        assert isinstance(found, pygit2.Commit)
        self.assertEqual(found.raw_message, b"caf\xe9 message\n")
        self.assertEqual([str(parent).encode() for parent in found.parent_ids], [first])
        self.assertEqual((found.author.name, found.committer.email), ("T", "t@example.com"))
        self.assertEqual(self.git.branch_head(), first)

    def test_without_an_identity(self) -> None:
        for name in ("user.name", "user.email"):
            self.scene.repository.config[name] = " <> "
        commit = self.git.write_commit({b"x": b"1"}, b"update", None)
        found = self.scene.repository[commit.name.decode()]
        assert isinstance(found, pygit2.Commit)
        self.assertTrue(found.author.name)
        self.assertEqual(found.author.name, found.author.email)

    def test_names_the_files_of_new_objects(self) -> None:
        commit = self.git.write_commit({b"aaa/bbb/x": b"1"}, b"update", None)
        self.assertEqual(len(commit.object_files), 5)
        self.assertTrue(all(os.path.isfile(path) for path in commit.object_files))

    def test_tries_again_when_git_removes_the_directory_of_an_object(self) -> None:
        repository = self.git._repository
        written, failures = repository.write, [OSError("No such file or directory")] * 2

        class Flaky:
            def __getattr__(self, name: str) -> object:
                return getattr(repository, name)

            def __getitem__(self, name: str) -> object:
                return repository[name]

            def write(self, kind: int, content: bytes) -> object:
                if failures:
                    raise failures.pop()
                return written(kind, content)

        self.git._opened = Flaky()  # type: ignore[assignment]
        self.git.write_commit({b"x": b"1"}, b"update", None)
        self.assertEqual(failures, [])
        failures += [OSError("No space left on device")] * 5
        self.assertIn(
            "No space", str(self.assertRaises(Refused, self.git.write_commit, {b"x": b"2"}, b"u", None))
        )

    def test_a_read_only_repository(self) -> None:
        objects = os.path.join(self.scene.path, "objects")
        shutil.rmtree(objects)
        with open(objects, "w"):
            pass
        self.assertRaises(Refused, Git(self.scene.git_dir).write_commit, {b"x": b"2"}, b"u", None)


class PackTests(GitCase):
    """Many objects, in a pack."""

    FILES = {b"%03x/%03x/key%d.log" % (n % 7, n, n): b"%d\n" % n for n in range(60)}

    def changed(self, text: bytes) -> dict[bytes, bytes]:
        return {path: text + content for path, content in self.FILES.items()}

    def setUp(self) -> None:
        super().setUp()
        self.directory = os.path.join(self.scene.path, "objects", "pack")

    def ends(self) -> list[str]:
        """Of the files that there are."""
        return sorted(name.rpartition(".")[2] for name in os.listdir(self.directory))

    def test_kept_until_it_is_let_go_of(self) -> None:
        head = self.commit({b"old": b"1"})
        commit = self.git.write_commit(self.FILES, b"update", head)
        self.assertEqual(self.ends(), ["idx", "keep", "pack"])
        self.assertEqual(len(commit.object_files), 3)  # the commit is loose
        self.assertTrue(all(os.path.isfile(path) for path in commit.object_files))
        self.assertTrue(self.git.move_branch(commit.name, head))
        commit.let_go()
        self.assertEqual(self.ends(), ["idx", "pack"])
        for git in (self.git, Git(self.scene.git_dir)):
            self.assertEqual(git.branch_file(b"old"), b"1")
            for path, content in self.FILES.items():
                self.assertEqual(git.branch_file(path), content)

    def test_on_top_of_each_other(self) -> None:
        for text in (b"1", b"2", b"3"):
            self.commit(self.changed(text))
            self.assertEqual({path: self.git.branch_file(path) for path in self.FILES}, self.changed(text))
        self.assertEqual(self.ends().count("pack"), 3)

    def test_let_go_of_by_whoever_moves_the_branch(self) -> None:
        branch = self.scene.branch(durable=True)
        for name, content in self.FILES.items():
            self.scene.put_in_journal(journal_name(name), content)
        self.assertTrue(branch.commit())
        self.assertEqual(self.ends(), ["idx", "pack"])
        lock = os.path.join(self.scene.path, "refs/heads/git-annex.lock")
        with open(lock, "w"):
            pass
        for name, content in self.changed(b"2").items():
            self.scene.put_in_journal(journal_name(name), content)
        self.assertRaises(BranchLocked, branch.commit)
        self.assertNotIn("keep", self.ends())

    def test_few_are_loose_and_so_is_all_where_there_are_many_packs(self) -> None:
        self.commit(dict(list(self.FILES.items())[:9]))
        self.assertEqual(self.ends(), [])
        for number in range(50):
            with open(os.path.join(self.directory, f"pack-{number}.pack"), "w"):
                pass
        self.commit(self.FILES)
        self.assertEqual(set(self.ends()), {"pack"})
        self.assertEqual(len(self.ends()), 50)

    def test_what_the_killed_have_kept(self) -> None:
        self.git.write_commit(self.FILES, b"update", None)
        [keep] = [name for name in os.listdir(self.directory) if name.endswith(".keep")]
        others = os.path.join(self.directory, "pack-1.keep")
        with open(others, "w") as file:
            file.write("somebody else's")
        self.commit(self.changed(b"2"))
        self.assertIn(keep, os.listdir(self.directory))
        for name in (keep, "pack-1.keep"):
            os.utime(os.path.join(self.directory, name), (1, 1))
        self.git.write_commit(self.changed(b"3"), b"update", None).let_go()
        self.assertNotIn(keep, os.listdir(self.directory))
        self.assertTrue(os.path.exists(others))

    def test_a_full_disk(self) -> None:
        write = os.write

        def fail(fd: int, data: bytes) -> int:
            if len(data) < 100:  # what keeps it
                return write(fd, data)
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(os, "write", fail)
        error = self.assertRaises(Refused, self.git.write_commit, self.FILES, b"update", None)
        self.assertIn("No space", str(error))
        self.assertEqual(os.listdir(self.directory), [])

    def test_a_disk_that_is_full_when_the_pack_is_there(self) -> None:
        write = os.write

        def fail(fd: int, data: bytes) -> int:
            if bytes(data[:4]) != b"\xfftOc":  # an index
                return write(fd, data)
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(os, "write", fail)
        self.assertRaises(Refused, self.git.write_commit, self.FILES, b"update", None)
        self.assertEqual(os.listdir(self.directory), [])


class MovingTests(GitCase):
    def test_only_from_where_it_is_thought_to_be(self) -> None:
        commit = self.git.write_commit({b"x": b"1"}, b"update", None).name
        self.scene.put({b"y": b"1"})
        self.assertFalse(self.git.move_branch(commit, None))
        head = self.git.branch_head()
        commit = self.git.write_commit({b"x": b"1"}, b"update", head).name
        moved = self.scene.put({b"y": b"2"})
        self.assertFalse(self.git.move_branch(commit, head))
        self.assertEqual(self.git.branch_head(), moved)

    def test_the_branch_was_deleted(self) -> None:
        head = self.commit({b"x": b"1"})
        commit = self.git.write_commit({b"x": b"2"}, b"update", head).name
        self.scene.repository.references.delete("refs/heads/git-annex")
        self.assertFalse(self.git.move_branch(commit, head))

    def test_a_stale_lock(self) -> None:
        head = self.commit({b"x": b"1"})
        commit = self.git.write_commit({b"x": b"2"}, b"update", head).name
        lock = os.path.join(self.scene.path, "refs/heads/git-annex.lock")
        with open(lock, "w"):
            pass
        refusal = self.assertRaises(BranchLocked, self.git.move_branch, commit, head)
        self.assertIn(lock, str(refusal))
        os.unlink(lock)
        self.assertTrue(self.git.move_branch(commit, head))

    def test_no_reference_can_be_written(self) -> None:
        commit = self.git.write_commit({b"x": b"1"}, b"update", None).name
        heads = os.path.join(self.scene.path, "refs/heads")
        os.rmdir(heads)
        with open(heads, "w"):
            pass
        refusal = self.assertRaises(Refused, self.git.move_branch, commit, None)
        self.assertNotIsInstance(refusal, BranchLocked)

    def test_the_reflog_is_kept_where_git_would(self) -> None:
        self.scene.repository.config["core.logallrefupdates"] = True
        head = self.commit({b"x": b"1"})
        commit = self.commit({b"x": b"2"})
        lines = self.reflog()
        self.assertEqual(lines[-1].split()[:2], [head.decode(), commit.decode()])
        self.assertTrue(lines[-1].endswith("\tupdate\n"))
        self.assertEqual(len(self.git.branch_files()), 2)


class TreesTests(SynchronousTestCase):
    def test_nested(self) -> None:
        files = {b"a/b/c": b"1", b"a/b/d": b"2", b"a/e": b"3", b"f": b"4"}
        self.assertEqual(
            trees.nested(files), {b"a": {b"b": {b"c": b"1", b"d": b"2"}, b"e": b"3"}, b"f": b"4"}
        )
        self.assertEqual(trees.nested({b"a": b"1", b"a/b": b"2"}), {b"a": {b"b": b"2"}})

    def test_cut_and_joined(self) -> None:
        oid = bytes(range(20))
        entries = {b"a": (trees.TREE, oid), b"a.b": (trees.FILE, oid), b"\xff 1": (trees.FILE, oid)}
        content = trees.joined(entries)
        self.assertEqual(trees.cut(content), entries)
        self.assertLess(content.index(b"a.b\0"), content.index(b"40000 a\0"))

    def test_paths(self) -> None:
        for path in (b"a", b"a/b.git", b"...", b"caf\xe9"):
            self.assertTrue(trees.is_path(path), path)
        for path in (b"", b"/a", b"a/", b"a//b", b"a/../b", b".", b".git/x", b"x/.GIT", b"a\0"):
            self.assertFalse(trees.is_path(path), path)
