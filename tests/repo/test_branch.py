from __future__ import annotations

import errno
import os
import resource
import signal
import stat
from typing import Callable

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import Refused
from annexd.protocol.keys import Key
from annexd.repo import branch as branch_module
from annexd.repo.branch import branch_path
from annexd.repo.combining import combined
from annexd.repo.git import BranchLocked
from annexd.repo.layout import journal_name
from annexd.repo.locks import Locked, try_lock
from tests.support.branch_scene import OTHER, UUID, Scene

KEY = Key.parse(b"SHA256E-s6--5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03")
LOG = b"992/280/" + KEY.raw + b".log"
JOURNALLED = b"992_280_" + KEY.raw + b".log"
ODD = Key.parse(b"WORM-s3-m1--a_b%c:d/e&f__g caf\xe9")


def line(clock: int, status: int, uuid: bytes = UUID) -> bytes:
    return b"%ds %d %s\n" % (clock, status, uuid)


class BranchCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.scene = Scene(self.mktemp())
        self.branch = self.scene.branch()

    def on_branch(self, name: bytes = LOG) -> bytes | None:
        return self.scene.git.branch_file(name)


class RecordTests(BranchCase):
    def test_the_first_line(self) -> None:
        self.assertTrue(self.branch.record(KEY, True))
        self.assertEqual(self.scene.journal(), {JOURNALLED: line(1000, 1)})
        self.assertEqual(self.branch.holders(KEY), {UUID})
        self.assertIsNone(self.on_branch())

    def test_nothing_is_written_when_nothing_changes(self) -> None:
        self.scene.put({LOG: line(5, 1)})
        self.assertFalse(self.branch.record(KEY, True))
        self.assertEqual(self.scene.journal(), {})

    def test_starts_from_what_the_branch_says(self) -> None:
        self.scene.put({LOG: line(5000, 1) + line(3, 1, OTHER)})
        self.assertTrue(self.branch.record(KEY, False))
        self.assertEqual(self.scene.journal()[JOURNALLED], line(3, 1, OTHER) + line(5001, 0))
        self.assertEqual(self.branch.holders(KEY), {OTHER})

    def test_starts_from_the_journal_where_that_has_the_log(self) -> None:
        self.scene.put({LOG: line(5, 1)})
        self.scene.put_in_journal(JOURNALLED, line(2000, 1, OTHER))
        self.assertTrue(self.branch.record(KEY, True))
        self.assertEqual(self.scene.journal()[JOURNALLED], line(2000, 1, OTHER) + line(1000, 1))

    def test_a_line_that_a_crash_cut_off_is_no_line(self) -> None:
        self.scene.put_in_journal(JOURNALLED, line(5, 1, OTHER) + line(7, 1)[:-1])
        self.assertEqual(self.branch.holders(KEY), {OTHER})
        self.branch.record(KEY, False)
        self.assertEqual(self.scene.journal()[JOURNALLED], line(5, 1, OTHER) + line(1000, 0))

    def test_within_one_second(self) -> None:
        for present in (True, False, True):
            self.assertTrue(self.branch.record(KEY, present))
        self.assertEqual(self.scene.journal()[JOURNALLED], line(1002, 1))

    def test_names_of_keys_may_be_anything(self) -> None:
        self.branch.record(ODD, True)
        (name,) = self.scene.journal()
        self.assertIn(b"_WORM-s3-m1--a__b&sc&cd%e&af____g caf\xe9.log", name)
        self.branch.commit()
        self.assertEqual(self.scene.journal(), {})
        self.assertEqual(self.branch.holders(ODD), {UUID})

    def test_one_hash_directory(self) -> None:
        branch = self.scene.branch(branch_hash1=True)
        branch.record(KEY, True)
        branch.commit()
        self.assertEqual(self.on_branch(b"992/" + KEY.raw + b".log"), line(1000, 1))

    def test_waits_for_the_journal_lock_and_gives_up(self) -> None:
        self.patch(branch_module, "_LOCK_SECONDS", 0)
        self.scene.put_in_journal(JOURNALLED, line(1, 1))
        held = try_lock(self.scene.layout.journal_lock, exclusive=True)
        assert held is not None
        self.addCleanup(held.release)
        for act in (lambda: self.branch.record(KEY, False), self.branch.commit):
            self.assertIn("journal.lck", str(self.assertRaises(Locked, act)))
        self.assertEqual(self.scene.journal(), {JOURNALLED: line(1, 1)})

    def test_makes_the_directories_that_are_missing(self) -> None:
        os.rmdir(self.scene.layout.annex)
        self.assertTrue(self.branch.record(KEY, True))

    def test_a_disk_that_fails(self) -> None:
        os.makedirs(os.path.join(self.scene.layout.journal, JOURNALLED))
        self.assertRaises(Refused, self.branch.record, KEY, True)

    def test_a_disk_that_becomes_full_in_the_middle(self) -> None:
        """The kernel writes what fits, and fails only when it is asked for the rest."""
        old = b"".join(line(1, 1, b"%036d" % number) for number in range(100))
        self.scene.put_in_journal(JOURNALLED, old)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(old), limits[1]))
        try:
            self.assertRaises(Refused, self.branch.record, KEY, True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        self.assertEqual(self.scene.journal(), {JOURNALLED: old})
        self.assertEqual(os.listdir(self.scene.layout.othertmp), [])

    def test_modes_of_shared_repositories(self) -> None:
        scene = Scene(self.mktemp(), {"core.sharedrepository": "group"})
        mask = os.umask(0o077)
        self.addCleanup(os.umask, mask)
        scene.branch().record(KEY, True)
        self.assertEqual(self.mode(os.path.join(scene.layout.journal, JOURNALLED)) & 0o060, 0o060)
        self.assertEqual(self.mode(scene.layout.journal) & 0o070, 0o070)
        for lock_file in (scene.layout.journal_lock, scene.layout.othertmp_lock):
            self.assertEqual(self.mode(lock_file) & 0o060, 0o060)

    def mode(self, path: bytes) -> int:
        return stat.S_IMODE(os.stat(path).st_mode)


class PrivateTests(BranchCase):
    def setUp(self) -> None:
        super().setUp()
        self.branch = self.scene.branch(private=True)

    def test_is_never_committed(self) -> None:
        self.scene.put({LOG: line(5, 1, OTHER)})
        self.assertTrue(self.branch.record(KEY, True))
        self.assertEqual(self.scene.journal(private=True), {JOURNALLED: line(1000, 1)})
        self.assertEqual(self.scene.journal(), {})
        self.assertFalse(self.branch.commit())
        self.assertEqual(self.on_branch(), line(5, 1, OTHER))
        self.assertEqual(self.branch.holders(KEY), {UUID, OTHER})
        self.assertFalse(self.branch.record(KEY, True))
        self.assertTrue(self.branch.record(KEY, False))
        self.assertEqual(self.branch.holders(KEY), {OTHER})

    def test_what_was_public_once_is_overruled(self) -> None:
        self.scene.put({LOG: line(5000, 1)})
        self.assertTrue(self.branch.record(KEY, False))
        self.assertEqual(self.scene.journal(private=True), {JOURNALLED: line(5001, 0)})
        self.assertEqual(self.branch.holders(KEY), frozenset())


class RecordAllTests(BranchCase):
    def test_several_at_once(self) -> None:
        self.scene.put({LOG: line(5, 1) + line(7, 0, OTHER)})
        self.assertTrue(self.branch.record_all(KEY, {UUID: False, OTHER: True}))
        self.assertEqual(self.scene.journal(), {JOURNALLED: line(1000, 0) + line(1000, 1, OTHER)})
        self.assertFalse(self.branch.record_all(KEY, {UUID: False, OTHER: True}))

    def test_what_only_we_may_know(self) -> None:
        branch = self.scene.branch(private_remotes=frozenset({OTHER}))
        self.assertTrue(branch.record_all(KEY, {UUID: True, OTHER: True}))
        self.assertEqual(self.scene.journal(), {JOURNALLED: line(1000, 1)})
        self.assertEqual(self.scene.journal(private=True), {JOURNALLED: line(1000, 1, OTHER)})

    def test_texts(self) -> None:
        self.scene.put({b"uuid.log": b"old\n", b"trust.log": b"trust\n"})
        self.scene.put_in_journal(b"uuid.log", b"new\n")
        texts = self.branch.texts([b"uuid.log", b"trust.log", b"group.log"])
        self.assertEqual(texts, {b"uuid.log": b"new\n", b"trust.log": b"trust\n", b"group.log": b""})


class CommitTests(BranchCase):
    def test_nothing_to_do(self) -> None:
        self.assertFalse(self.branch.commit())
        self.assertEqual(self.scene.history(), [])

    def test_the_first_commit(self) -> None:
        self.branch.record(KEY, True)
        self.assertTrue(self.branch.commit())
        self.assertEqual(self.on_branch(), line(1000, 1))
        self.assertEqual(self.scene.journal(), {})
        self.assertEqual(self.scene.history(), ["update\n"])
        self.assertFalse(self.branch.commit())

    def test_takes_what_git_annex_has_left_in_the_journal(self) -> None:
        self.scene.put({b"uuid.log": b"a A timestamp=1s\n", b"group.log": b"g\n"})
        self.scene.put_in_journal(b"uuid.log", b"a B timestamp=2s\n")
        self.scene.put_in_journal(b"992_280_x__y.log.met", b"1s +a\n")
        self.branch.record(KEY, True)
        self.assertTrue(self.branch.commit())
        self.assertEqual(self.on_branch(b"uuid.log"), b"a A timestamp=1s\na B timestamp=2s\n")
        self.assertEqual(self.on_branch(b"992/280/x_y.log.met"), b"1s +a\n")
        self.assertEqual(self.on_branch(b"group.log"), b"g\n")
        self.assertEqual(self.scene.journal(), {})

    def test_stays_in_the_journal_when_the_settings_say_so(self) -> None:
        self.branch.record(KEY, True)
        for settings in ({"always_commit": False}, {"commit_message_command": b"true"}):
            self.assertFalse(self.scene.branch(**settings).commit())
        self.assertEqual(len(self.scene.journal()), 1)

    def test_the_message_can_be_set(self) -> None:
        self.branch.record(KEY, True)
        self.scene.branch(commit_message=b"mine").commit()
        self.assertEqual(self.scene.history(), ["mine\n"])

    def test_what_the_branch_says_already_is_not_committed_again(self) -> None:
        self.scene.put({LOG: line(5, 1)})
        self.scene.put_in_journal(JOURNALLED, line(5, 1))
        self.assertTrue(self.branch.commit())
        self.assertEqual(self.scene.history(), ["elsewhere\n"])
        self.assertEqual(self.scene.journal(), {})

    def test_the_newest_line_wins_whether_journal_or_branch(self) -> None:
        self.scene.put({LOG: line(9, 0) + line(5, 1, OTHER)})
        self.scene.put_in_journal(JOURNALLED, line(7, 1) + line(6, 0, OTHER))
        self.branch.commit()
        self.assertEqual(self.on_branch(), line(6, 0, OTHER) + line(9, 0))

    def test_what_cannot_be_a_file_on_the_branch_stays(self) -> None:
        os.mkdir(self.scene.layout.journal)
        os.mkdir(os.path.join(self.scene.layout.journal, b"directory"))
        os.symlink("/etc/passwd", os.path.join(self.scene.layout.journal, b"link"))
        for name in (b"_", b".._x", b".git_x"):
            self.scene.put_in_journal(name, b"x\n")
        self.assertFalse(self.branch.commit())
        self.assertEqual(len(os.listdir(self.scene.layout.journal)), 5)

    def test_git_annex_is_told_that_its_index_is_old(self) -> None:
        with open(self.scene.layout.index_state, "w") as file:
            file.write("0" * 40)
        self.branch.record(KEY, True)
        self.branch.commit()
        self.assertFalse(os.path.exists(self.scene.layout.index_state))

    def test_a_great_many_are_committed_in_parts(self) -> None:
        self.patch(branch_module, "_MOST_FILES", 10)
        keys = [Key.parse(b"WORM-s1--%d" % number) for number in range(25)]
        for key in keys:
            self.branch.record(key, True)
        self.assertTrue(self.branch.commit())
        self.assertEqual(len(self.scene.history()), 3)
        self.assertTrue(all(self.branch.holders(key) for key in keys))

    def test_a_disk_that_fails(self) -> None:
        def fail(fd: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        self.branch.record(KEY, True)
        self.patch(os, "fsync", fail)
        self.assertRaises(Refused, self.scene.branch(durable=True).commit)
        self.assertIsNone(self.on_branch())
        self.assertEqual(self.scene.journal(), {JOURNALLED: line(1000, 1)})

    def test_durable(self) -> None:
        synced: list[str] = []
        fsync = os.fsync

        def remember(fd: int) -> None:
            synced.append(os.readlink(f"/proc/self/fd/{fd}"))
            fsync(fd)

        self.patch(os, "fsync", remember)
        branch = self.scene.branch(durable=True)
        branch.record(KEY, True)
        self.assertEqual(synced[-1], os.fsdecode(self.scene.layout.journal))
        self.assertEqual(os.path.dirname(synced[0]), os.fsdecode(self.scene.layout.othertmp))
        synced.clear()
        branch.commit()
        objects = os.path.join(self.scene.path, "objects")
        self.assertEqual(
            len([path for path in synced if os.path.dirname(os.path.dirname(path)) == objects]), 5
        )
        self.assertIn(objects, synced)
        self.assertIn(os.path.join(self.scene.path, "refs/heads/git-annex"), synced)
        synced.clear()
        self.scene.branch().record(KEY, False)
        self.scene.branch().commit()
        self.assertEqual(synced, [])

    def test_modes_of_shared_repositories(self) -> None:
        scene = Scene(self.mktemp(), {"core.sharedrepository": "0660"})
        mask = os.umask(0o077)
        self.addCleanup(os.umask, mask)
        branch = scene.branch()
        branch.record(KEY, True)
        branch.commit()
        for top, _, files in os.walk(os.path.join(scene.path, "objects")):
            for name in files:
                mode = os.stat(os.path.join(top, name)).st_mode
                self.assertEqual(stat.S_IMODE(mode), 0o440, (top, name))
            if files:
                self.assertEqual(stat.S_IMODE(os.stat(top).st_mode) & 0o777, 0o770)
        mode = os.stat(os.path.join(scene.path, "refs/heads/git-annex")).st_mode
        self.assertEqual(stat.S_IMODE(mode), 0o660)


class RaceTests(BranchCase):
    def meanwhile(self, *acts: Callable[[], object]) -> None:
        """Do these things, one each time, just before the branch is moved."""
        move, left = self.scene.git.move_branch, list(acts)

        def late(commit: bytes, parent: bytes | None) -> bool:
            if left:
                left.pop(0)()
            return move(commit, parent)

        self.patch(self.scene.git, "move_branch", late)

    def test_nothing_that_is_pushed_meanwhile_is_lost(self) -> None:
        self.scene.put({LOG: line(5, 1, OTHER), b"uuid.log": b"a\n"})
        self.meanwhile(
            lambda: self.scene.put({LOG: line(6, 0, OTHER), b"x": b"1"}),
            lambda: self.scene.put({b"uuid.log": b"a\nb\n"}),
        )
        self.scene.put_in_journal(b"uuid.log", b"a\nc\n")
        self.branch.record(KEY, True)
        self.assertTrue(self.branch.commit())
        self.assertEqual(self.on_branch(), line(1000, 1) + line(6, 0, OTHER))
        self.assertEqual(self.on_branch(b"uuid.log"), b"a\nb\nc\n")
        self.assertEqual(self.on_branch(b"x"), b"1")
        self.assertEqual(self.scene.history(), ["update\n", *["elsewhere\n"] * 3])

    def test_the_branch_is_made_meanwhile(self) -> None:
        self.meanwhile(lambda: self.scene.put({b"x": b"1"}))
        self.branch.record(KEY, True)
        self.assertTrue(self.branch.commit())
        self.assertEqual([self.on_branch(b"x"), self.on_branch()], [b"1", line(1000, 1)])

    def test_pushes_without_end(self) -> None:
        def push() -> None:
            self.scene.put({b"x": b"%f" % self.scene.ticks})
            self.scene.ticks += 1

        self.meanwhile(*[push] * 100)
        self.branch.record(KEY, True)
        self.assertIn("all the time", str(self.assertRaises(Refused, self.branch.commit)))
        self.assertEqual(self.scene.journal(), {JOURNALLED: line(1000, 1)})

    def test_somebody_fills_the_journal_as_fast_as_it_is_emptied(self) -> None:
        self.branch.record(KEY, True)
        names = [b"aaa_bbb_WORM--%d.log" % number for number in range(3)]
        self.meanwhile(*[lambda: self.scene.put_in_journal(names.pop(), line(1, 1))] * 3)
        self.assertTrue(self.branch.commit())
        self.assertEqual(len(self.scene.journal()), 1)
        self.assertEqual(self.scene.history(), ["update\n"])

    def test_a_lock_that_goes_away(self) -> None:
        path = os.path.join(self.scene.path, "refs/heads/git-annex.lock")

        def lock() -> None:
            with open(path, "w"):
                pass

        self.branch.record(KEY, True)
        self.meanwhile(lock, lambda: os.unlink(path))
        self.assertTrue(self.branch.commit())

    def killed(self, holding: Callable[[bytes], bytes]) -> str:
        """A process is killed while it has git's lock, in which is what ``holding`` makes of the commit."""
        path = os.path.join(self.scene.path, "refs/heads/git-annex.lock")

        def die(commit: bytes, parent: bytes | None) -> bool:
            with open(path, "xb") as lock:
                lock.write(holding(commit))
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError

        self.branch.record(KEY, True)
        child = os.fork()
        if not child:
            try:
                self.scene.git.move_branch = die  # type: ignore[method-assign]
                self.branch.commit()
            finally:
                os._exit(1)
        self.assertEqual(os.waitpid(child, 0)[1], signal.SIGKILL)
        self.assertTrue(os.path.exists(path))
        return path

    def test_the_lock_of_one_who_was_killed(self) -> None:
        for holding in (lambda commit: commit + b"\n", lambda commit: b""):
            path = self.killed(holding)
            with capturedLogs() as events:
                self.assertTrue(self.branch.commit())
            self.assertIn(f"{path} is removed", "".join(map(formatEvent, events)))
            self.assertEqual((self.on_branch(), self.scene.journal()), (line(1000, 1), {}))
            self.assertFalse(os.path.exists(path))
            self.assertFalse(os.path.exists(self.scene.layout.branch_claim))
            self.setUp()

    def test_the_lock_of_another_when_one_was_killed(self) -> None:
        path = self.killed(lambda commit: b"0" * 40 + b"\n")
        self.assertRaises(BranchLocked, self.branch.commit)
        self.assertTrue(os.path.exists(path))

    def test_the_lock_of_another_who_came_later(self) -> None:
        path = self.killed(lambda commit: b"")
        later = os.stat(path).st_mtime + 2
        os.utime(path, (later, later))
        self.assertRaises(BranchLocked, self.branch.commit)
        self.assertTrue(os.path.exists(path))

    def test_the_lock_of_another_when_the_note_was_not_finished(self) -> None:
        path = self.killed(lambda commit: b"")
        noted = os.stat(self.scene.layout.branch_claim).st_mtime
        os.truncate(self.scene.layout.branch_claim, 0)
        os.utime(self.scene.layout.branch_claim, (noted, noted))
        self.assertRaises(BranchLocked, self.branch.commit)
        self.assertTrue(os.path.exists(path))

    def test_the_lock_of_another_who_takes_it_and_lets_go_when_one_was_killed(self) -> None:
        path = self.killed(lambda commit: b"")
        sleep = self.scene._sleep

        def anew(seconds: float) -> None:
            sleep(seconds)
            os.rename(path, path + ".old")
            with open(path, "x"):
                pass

        self.patch(self.branch._tip, "_sleep", anew)
        self.patch(self.scene.git, "move_branch", lambda *_: self.assertTrue(os.path.exists(path)) or True)
        self.assertTrue(self.branch.commit())

    def test_a_lock_that_stays(self) -> None:
        with open(os.path.join(self.scene.path, "refs/heads/git-annex.lock"), "w"):
            pass
        self.branch.record(KEY, True)
        self.assertIn("git-annex.lock", str(self.assertRaises(BranchLocked, self.branch.commit)))
        self.assertEqual(self.scene.journal(), {JOURNALLED: line(1000, 1)})
        self.assertGreater(self.scene.ticks, 1)
        self.assertTrue(self.branch.record(KEY, False))


class NamesTests(SynchronousTestCase):
    def test_journal_names(self) -> None:
        for path, name in (
            (b"uuid.log", b"uuid.log"),
            (b"a/b_c/d", b"a_b__c_d"),
            (b"d12/7ce/B-s1--__.log", b"d12_7ce_B-s1--____.log"),
        ):
            self.assertEqual((journal_name(path), branch_path(name)), (name, path))

    def test_only_location_logs_are_merged_by_state(self) -> None:
        for path in (b"aaa/bbb/K.log", b"aaa/K.log"):
            self.assertEqual(combined(path, line(2, 0), line(1, 1)), line(2, 0))
            self.assertEqual(combined(path, line(2, 0) + b"1s 1", None), line(2, 0))
        for path in (b"uuid.log", b"aaa/bbb/K.log.web", b"aaa/bbb/K.log.met"):
            self.assertEqual(combined(path, line(2, 0), line(1, 1)), line(1, 1) + line(2, 0))
            self.assertEqual(combined(path, b"as it is", None), b"as it is")
