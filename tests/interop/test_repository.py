"""
One repository, used by annexd and by git-annex's own programs in turn and at
the same time, without a daemon in between.
"""

from __future__ import annotations

import os
import shutil
import stat
import unittest
from collections.abc import Awaitable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from annexd.errors import Refused
from annexd.protocol.keys import Key
from annexd.repo.local import Repository
from annexd.repo.locks import Locked
from annexd.store import Caller, Outcome
from tests.support.annex import Machine, litter
from tests.support.p2p import Dialogue, shell_command
from tests.support.processes import has_lock, until
from tests.support.programs import git_annex_bin
from tests.support.repositories import open_repository
from tests.support.store_contract import get, key_of, put, send

T = TypeVar("T")

CONTENT = b"Not all those who wander are lost\n" * 40
KEY = key_of(CONTENT)
OTHER = b"The old that is strong does not wither\n" * 4000
"""Large enough for git-annex to be told of its transfers."""

OTHER_KEY = key_of(OTHER)


def now(awaitable: Coroutine[Deferred[Any], Any, T] | Awaitable[T]) -> T:
    """The result of what waits for nothing, because all work is done at once."""
    results: list[Any] = []
    started = Deferred.fromCoroutine(awaitable)  # type: ignore[arg-type]
    started.addBoth(results.append)
    if not results:
        raise AssertionError("it is still waiting")
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]  # type: ignore[no-any-return]


class RepositoryCase(unittest.TestCase):
    version = 10
    bare = True
    shared = ""

    def setUp(self) -> None:
        self.directory = Path(os.path.abspath(self.id()[-60:] + ".tmp"))
        shutil.rmtree(self.directory, onerror=_open_up)
        self.machine = Machine(self.directory)
        self.repo = self.new("repo")
        self.git_dir = self.repo if self.bare else self.repo / ".git"
        self.uuid = self.machine.uuid(self.repo)
        self.repository = self.open(self.repo)
        self.store = self.repository.store(Caller(b"client", "somebody"))

    def tearDown(self) -> None:
        now(self.repository.close())
        shutil.rmtree(self.directory, onerror=_open_up)

    def new(self, name: str) -> Path:
        settings = ["annex.autoupgraderepository=false", "annex.diskreserve=1mb"]
        repo = self.directory / name
        repo.mkdir(parents=True)
        shared = [f"--shared={self.shared}"] if self.shared else []
        self.machine.git(repo, "init", "-q", *(["--bare"] if self.bare else []), *shared)
        for setting in settings:
            self.machine.git(repo, "config", *setting.split("="))
        self.machine.annex(repo, "init", "-q", f"--version={self.version}", name)
        return repo

    def open(self, repo: Path) -> Repository:
        git_dir = repo if self.bare else repo / ".git"
        program = git_annex_bin(self.machine.version) / "git-annex"
        return now(open_repository(os.fsencode(git_dir), program=os.fsencode(program)))

    def dialogue(self) -> Dialogue:
        """A session with git-annex's own server."""
        shell = git_annex_bin(self.machine.version) / "git-annex-shell"
        dialogue = Dialogue([str(shell)], self.machine.env, shell_command(self.repo, self.uuid.decode()))
        self.addCleanup(dialogue.close)
        dialogue.hello(4)
        return dialogue

    def put(self, key: Key = KEY, content: bytes = CONTENT) -> None:
        outcome = now(put(self.store, key, content))
        self.assertTrue(outcome.ok, outcome.reason)

    def assert_clean(self, *keys: Key) -> None:
        """git-annex finds nothing to mend, and the log has exactly ``keys`` here."""
        now(self.repository.flush())
        code, said = self.machine.tries(self.repo, "fsck", "--all")
        if keys:
            self.assertEqual(code, 0, said)
        self.assertNotIn(b"fixing", said)
        self.assertNotIn(b"Bad", said)
        for key in (KEY, OTHER_KEY):
            _, said = self.machine.tries(self.repo, "whereis", "--json", b"--key=" + key.raw)
            self.assertEqual(b'"uuid":"%b"' % self.uuid in said, key in keys, said)
        self.assertEqual(litter(self.git_dir), {})


class TurnTests(RepositoryCase):
    """Each finds what the other has left."""

    def test_what_annexd_stores(self) -> None:
        self.put()
        self.assertTrue(self.machine.tries(self.repo, "contentlocation", KEY.raw)[1])
        self.assert_clean(KEY)
        self.machine.annex(self.repo, "dropkey", "--force", KEY.raw)
        self.assertFalse(now(self.store.present(KEY)))
        self.assert_clean()

    def test_what_git_annex_stores(self) -> None:
        self.machine.set_key(self.repo, KEY.raw, CONTENT)
        self.assertTrue(now(self.store.present(KEY)))
        self.assertEqual(now(get(self.store, KEY)), CONTENT)
        self.assertTrue(now(self.store.remove(KEY)).ok)
        self.assert_clean()

    def test_the_other_layout(self) -> None:
        """Content where the other kind of repository has it is found, locked and removed."""
        self.put()
        own, other = self.repository.parts.layout.object_paths(KEY)
        shutil.copytree(os.path.dirname(own), os.path.dirname(other))
        os.chmod(os.path.dirname(own), 0o755)
        shutil.rmtree(os.path.dirname(own))
        self.assertEqual(now(get(self.store, KEY)), CONTENT)
        self.assertIsInstance(now(self.store.write(KEY, b"")), Outcome)
        lease = now(self.store.lock(KEY))
        with self.assertRaises(Locked):
            now(self.store.remove(KEY))
        now(lease.release())
        self.assertTrue(now(self.store.remove(KEY)).ok)
        self.assertFalse(os.path.exists(other))
        self.assert_clean()

    def test_leaves_no_directories(self) -> None:
        self.put()
        now(self.store.remove(KEY))
        now(self.repository.flush())
        self.assertEqual(list((self.git_dir / "annex" / "objects").iterdir()), [])

    def test_annexd_resumes(self) -> None:
        dialogue = self.dialogue()
        dialogue.ask(b"PUT f " + KEY.raw)
        dialogue.send(b"DATA %d\n" % len(CONTENT) + CONTENT[:700])
        dialogue.finish()
        writer = now(self.store.write(KEY, b"f"))
        assert not isinstance(writer, Outcome)
        self.assertEqual(writer.offset, 700)
        now(send(writer, CONTENT[700:]))
        self.assertTrue(now(writer.commit(True)).ok)
        now(writer.close())
        self.assert_clean(KEY)

    def test_git_annex_resumes(self) -> None:
        writer = now(self.store.write(KEY, b"f"))
        assert not isinstance(writer, Outcome)
        now(send(writer, CONTENT[:700]))
        now(writer.close())
        dialogue = self.dialogue()
        self.assertEqual(dialogue.ask(b"PUT f " + KEY.raw), b"PUT-FROM 700")
        dialogue.send(b"DATA %d\n" % (len(CONTENT) - 700) + CONTENT[700:] + b"VALID\n")
        self.assertEqual(dialogue.line(), b"SUCCESS")
        dialogue.finish()
        self.assert_clean(KEY)

    def test_a_rest_too_long(self) -> None:
        partial = self.git_dir / "annex" / "tmp" / os.fsdecode(KEY.file_name)
        partial.parent.mkdir(exist_ok=True)
        partial.write_bytes(CONTENT + b"?")
        self.put()
        self.assert_clean(KEY)


class LockTests(RepositoryCase):
    """Each respects the locks of the other, while they are held."""

    def test_git_annex_does_not_remove(self) -> None:
        self.put()
        lease = now(self.store.lock(KEY))
        code, said = self.machine.tries(self.repo, "dropkey", "--force", KEY.raw)
        self.assertNotEqual(code, 0, said)
        self.assertTrue(now(self.store.present(KEY)))
        now(lease.release())
        self.machine.annex(self.repo, "dropkey", "--force", KEY.raw)
        self.assert_clean()

    def test_annexd_does_not_remove(self) -> None:
        self.put()
        dialogue = self.dialogue()
        self.assertEqual(dialogue.ask(b"LOCKCONTENT " + KEY.raw), b"SUCCESS")
        with self.assertRaises(Locked):
            now(self.store.remove(KEY))
        with self.assertRaises(Locked):
            now(self.store.remove(KEY, 10**9))
        lease = now(self.store.lock(KEY))
        dialogue.send(b"UNLOCKCONTENT\n")
        self.assertEqual(dialogue.ask(b"CHECKPRESENT " + KEY.raw), b"SUCCESS")
        with self.assertRaises(Locked):
            now(self.store.remove(KEY))
        now(lease.release())
        self.assertTrue(now(self.store.remove(KEY)).ok)
        dialogue.finish()
        self.assert_clean()

    def test_removal_excludes_locks(self) -> None:
        self.put()
        path = self.repository.parts.objects.find(KEY)
        assert path is not None
        claim = self.repository.parts.locks.claim(path[0])
        dialogue = self.dialogue()
        self.assertEqual(dialogue.ask(b"LOCKCONTENT " + KEY.raw), b"FAILURE")
        claim.release()
        self.assertEqual(dialogue.ask(b"LOCKCONTENT " + KEY.raw), b"SUCCESS")
        dialogue.send(b"UNLOCKCONTENT\n")
        dialogue.finish()
        self.assert_clean(KEY)

    def test_one_upload(self) -> None:
        writer = now(self.store.write(OTHER_KEY, b""))
        assert not isinstance(writer, Outcome)
        out, said = self.put_by_git_annex(OTHER_KEY, OTHER)
        self.assertNotIn(b"SUCCESS", out)
        self.assertIn(b"transfer", said)
        now(send(writer, OTHER))
        self.assertTrue(now(writer.commit(True)).ok)
        now(writer.close())
        self.assert_clean(OTHER_KEY)

    def test_a_brief_upload_keeps_nobody_waiting(self) -> None:
        writer = now(self.store.write(KEY, b""))
        assert not isinstance(writer, Outcome)
        now(send(writer, CONTENT))
        out, _ = self.put_by_git_annex(KEY, CONTENT)
        self.assertIn(b"SUCCESS", out)
        self.assertTrue(now(writer.commit(True)).ok)
        now(writer.close())
        self.assert_clean(KEY)

    def put_by_git_annex(self, key: Key, content: bytes) -> tuple[bytes, bytes]:
        """All that it says."""
        dialogue = self.dialogue()
        self.assertEqual(dialogue.ask(b"PUT  " + key.raw), b"PUT-FROM 0")
        dialogue.send(b"DATA %d\n" % len(content) + content + b"VALID\n")
        out, said, _ = dialogue.finish()
        return out, said

    def test_one_upload_of_git_annex(self) -> None:
        self.during_an_upload_of_git_annex(OTHER_KEY, OTHER)

    def test_one_brief_upload_of_git_annex(self) -> None:
        self.during_an_upload_of_git_annex(KEY, CONTENT)

    def during_an_upload_of_git_annex(self, key: Key, content: bytes) -> None:
        dialogue = self.dialogue()
        dialogue.ask(b"PUT  " + key.raw)
        dialogue.send(b"DATA %d\n" % len(content) + content[:1])
        lock = self.git_dir / "annex" / "transfer" / "download" / "lck"
        path = lock / ("lck." + os.fsdecode(key.file_name))
        until(lambda: has_lock(path), "git-annex has its transfer lock")
        with self.assertRaises(Refused) as raised:
            now(put(self.store, key, content))
        self.assertIn("transfer already in progress", str(raised.exception))
        dialogue.send(content[1:] + b"VALID\n")
        self.assertEqual(dialogue.line(), b"SUCCESS")
        dialogue.finish()
        self.assertIsInstance(now(self.store.write(key, b"")), Outcome)
        self.assert_clean(key)

    def test_uploads_of_annexd_in_git_annex_info(self) -> None:
        writer = now(self.store.write(OTHER_KEY, b"some/file"))
        assert not isinstance(writer, Outcome)
        said = self.machine.annex(self.repo, "info", "--fast")
        self.assertRegex(said, rb"transfers in progress:[^\n]*\n.*downloading some/file")
        now(writer.close())
        self.assertIn(b"transfers in progress: none", self.machine.annex(self.repo, "info", "--fast"))


class RetentionTests(RepositoryCase):
    """What a killed holder of a lock leaves is respected by the other."""

    def test_annexd_is_killed(self) -> None:
        self.put()
        killed = self.open(self.repo)
        found = killed.parts.objects.find(KEY)
        assert found is not None
        held: Any = killed.parts.locks.share(found[0])
        held._held.release()  # as the kernel does it
        now(killed.close())
        code, said = self.machine.tries(self.repo, "dropkey", "--force", KEY.raw)
        self.assertNotEqual(code, 0, said)
        with self.assertRaises(Locked):
            now(self.store.remove(KEY))
        now(now(self.store.lock(KEY)).release())
        self.assertTrue(now(self.store.remove(KEY)).ok)
        self.assert_clean()

    def test_git_annex_is_killed(self) -> None:
        self.put()
        dialogue = self.dialogue()
        self.assertEqual(dialogue.ask(b"LOCKCONTENT " + KEY.raw), b"SUCCESS")
        dialogue.close()
        with self.assertRaises(Locked):
            now(self.store.remove(KEY))
        now(now(self.store.lock(KEY)).release())
        self.assertTrue(now(self.store.remove(KEY)).ok)
        self.assert_clean()


class WorkTreeTurnTests(TurnTests):
    bare = False


class WorkTreeLockTests(LockTests):
    bare = False


class Version9LockTests(LockTests):
    version = 9


class Version8Tests(TurnTests, LockTests):
    version = 8
    bare = False


class ModesTests(RepositoryCase):
    """After the same doings, the same files with the same modes, whoever did them."""

    maxDiff = None

    def setUp(self) -> None:
        self.addCleanup(os.umask, os.umask(0o022))

    def tearDown(self) -> None:
        pass

    def test_same_modes(self) -> None:
        for number, (umask, shared, version, bare) in enumerate(
            (
                (0o022, "", 10, True),
                (0o077, "", 8, False),
                (0o022, "group", 10, False),
                (0o077, "group", 8, True),
                (0o022, "all", 10, True),
                (0o077, "all", 9, False),
                (0o022, "0640", 10, False),
                (0o022, "0660", 8, True),
                (0o077, "0600", 10, True),
            )
        ):
            os.umask(umask)
            self.shared, self.version, self.bare = shared, version, bare
            with self.subTest(umask=oct(umask), shared=shared, version=version, bare=bare):
                RepositoryCase.setUp(self)
                try:
                    ours, theirs = self.by_annexd(), self.by_git_annex(f"theirs{number}")
                    theirs.pop("locked transfer/download/client")  # what is brief does not need it
                    self.assertEqual(ours, theirs)
                finally:
                    RepositoryCase.tearDown(self)

    def by_annexd(self) -> dict[str, str]:
        self.put()
        lease = now(self.store.lock(KEY))
        locked = self.modes(self.repo, "locked ")
        now(lease.release())
        writer = now(self.store.write(OTHER_KEY, b"f"))
        assert not isinstance(writer, Outcome)
        now(send(writer, OTHER[:5]))
        during = self.modes(self.repo, "during ")
        now(writer.close())
        return locked | during | self.modes(self.repo, "after ")

    def by_git_annex(self, name: str) -> dict[str, str]:
        self.repo = self.new(name)
        self.uuid = self.machine.uuid(self.repo)
        dialogue = self.dialogue()
        self.assertEqual(dialogue.put(KEY.raw, CONTENT), b"SUCCESS")
        self.assertEqual(dialogue.ask(b"LOCKCONTENT " + KEY.raw), b"SUCCESS")
        locked = self.modes(self.repo, "locked ")
        dialogue.send(b"UNLOCKCONTENT\n")
        dialogue.ask(b"PUT f " + OTHER_KEY.raw)
        dialogue.send(b"DATA %d\n" % len(OTHER) + OTHER[:5])
        partial = self.annex(self.repo) / "tmp" / os.fsdecode(OTHER_KEY.file_name)
        until(partial.exists, "git-annex has the beginning")
        during = self.modes(self.repo, "during ")
        dialogue.finish()
        return locked | during | self.modes(self.repo, "after ")

    def annex(self, repo: Path) -> Path:
        return (repo if self.bare else repo / ".git") / "annex"

    def modes(self, repo: Path, moment: str) -> dict[str, str]:
        """Of what has to do with content and transfers."""
        found = {}
        annex = self.annex(repo)
        for name in ("objects", "tmp", "transfer"):
            for directory, _, files in os.walk(annex / name):
                for path in (directory, *(os.path.join(directory, file) for file in files)):
                    if path.endswith(".rtm"):
                        continue  # git-annex forgets to share it, which locks the group out
                    mode = oct(stat.S_IMODE(os.lstat(path).st_mode))
                    found[moment + os.path.relpath(path, annex)] = mode
        return found


def _open_up(function: Any, path: str, _: Any) -> None:
    if function is os.open and not os.path.exists(path):
        return
    for each in (os.path.dirname(path), path):
        if os.path.lexists(each) and not os.path.islink(each):
            os.chmod(each, 0o755)
    if os.path.lexists(path):
        function(path)


class UnlockedTests(RepositoryCase):
    """Files of the work tree follow the content, by git-annex's hand."""

    bare = False

    def setUp(self) -> None:
        super().setUp()
        self.file = self.repo / "file.txt"
        self.file.write_bytes(CONTENT)
        self.machine.annex(self.repo, "add", "-q", "file.txt")
        self.key = Key.parse(self.machine.key(self.repo, "file.txt"))

    def unlock(self) -> None:
        self.machine.annex(self.repo, "unlock", "-q", "file.txt")
        self.machine.git(self.repo, "commit", "-q", "-m", "unlocked")

    def test_follows(self) -> None:
        self.unlock()
        self.assertTrue(now(self.store.remove(self.key)).ok)
        self.assertEqual(self.file.read_bytes(), b"/annex/objects/%b\n" % self.key.file_name)
        self.assertFalse(now(self.store.present(self.key)))
        self.assertTrue(now(put(self.store, self.key, CONTENT)).ok)
        self.assertEqual(self.file.read_bytes(), CONTENT)
        self.assertEqual(self.machine.git(self.repo, "status", "--porcelain"), b"")
        self.assertEqual(now(get(self.store, self.key)), CONTENT)
        code, said = self.machine.tries(self.repo, "fsck")
        self.assertEqual(code, 0, said)
        self.assertNotIn(b"fixing", said)

    def test_modified(self) -> None:
        """With annex.thin the object is the file, and changes with it."""
        self.machine.git(self.repo, "config", "annex.thin", "true")
        self.unlock()
        now(self.repository.refresh())
        self.assertTrue(now(self.store.present(self.key)))
        self.assertEqual(now(get(self.store, self.key)), CONTENT)
        with self.file.open("ab") as file:
            file.write(b"more")
        self.assertFalse(now(self.store.present(self.key)))
        with self.assertRaises(Refused):
            now(self.store.read(self.key, 0, b""))
        self.assertEqual(self.dialogue().ask(b"CHECKPRESENT " + self.key.raw), b"FAILURE")

    def test_modified_while_it_is_sent(self) -> None:
        self.machine.git(self.repo, "config", "annex.thin", "true")
        self.unlock()
        now(self.repository.refresh())
        reader = now(self.store.read(self.key, 0, b""))
        with self.file.open("r+b") as file:
            file.write(b"less")
        self.assertFalse(now(reader.valid()))
        now(reader.close(False))

    def test_locked_files_need_nothing(self) -> None:
        self.machine.git(self.repo, "commit", "-q", "-m", "locked")
        self.assertTrue(now(self.store.remove(self.key)).ok)
        self.assertFalse(self.file.exists())
        self.assertTrue(now(put(self.store, self.key, CONTENT)).ok)
        self.assertEqual(self.file.read_bytes(), CONTENT)
