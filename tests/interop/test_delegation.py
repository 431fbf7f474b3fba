"""What is left to git-annex: that it does it, and that we know when to leave it."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from twisted.trial import unittest

from annexd.errors import Refused
from annexd.protocol.keys import Key
from annexd.repo.delegate import GitAnnex
from annexd.repo.locks import try_lock
from annexd.repo.pointers import Pointers, Unlocked
from annexd.repo.settings import Settings, find_hooks
from tests.support.annex import Machine, objects
from tests.support.programs import NEWEST, VERSIONS

ABC = Key.parse(b"SHA256E-s3--ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
ABCD = Key.parse(b"SHA256E-s4--88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589")

# An external backend that accepts content that begins with "good".
BACKEND = """\
#!/bin/sh
while read -r word key file; do
    case "$word" in
        GETVERSION) echo VERSION 1 ;;
        CANVERIFY) echo CANVERIFY-YES ;;
        ISSTABLE) echo ISSTABLE-YES ;;
        ISCRYPTOGRAPHICALLYSECURE) echo ISCRYPTOGRAPHICALLYSECURE-NO ;;
        VERIFYKEYCONTENT)
            if [ "$(head -c 4 "$file")" = good ]; then echo VERIFYKEYCONTENT-SUCCESS
            else echo VERIFYKEYCONTENT-FAILURE; fi ;;
    esac
done
"""


class Scene(unittest.SynchronousTestCase):
    """A repository and its git-annex."""

    bare = False

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory(prefix="annexd-delegate-", ignore_cleanup_errors=True)
        self.addCleanup(scratch.cleanup)
        self.directory = Path(scratch.name)
        self.addCleanup(os.system, f"chmod -R u+w '{self.directory}'")
        self.begin(NEWEST)

    def begin(self, version: str) -> None:
        self.machine = Machine(self.directory / f"machine-{version}", version)
        self.use(self.machine.new("repo", bare=self.bare))

    def use(self, repo: Path) -> None:
        self.repo = repo
        self.git_dir = repo if self.bare else repo / ".git"
        environ = {name.encode(): value.encode() for name, value in self.machine.env.items()}
        work_tree = None if self.bare else os.fsencode(repo)
        self.git_annex = GitAnnex(os.fsencode(self.git_dir), work_tree, environ=environ)

    def config(self, name: str, value: str) -> None:
        self.machine.git(self.repo, "config", name, value)

    def set_key(self, key: Key, content: bytes) -> None:
        file = self.directory / "content"
        file.write_bytes(content)
        self.git_annex.setkey(key, os.fsencode(file), verify=True, seconds=60)
        self.assertFalse(file.exists())

    def drop_key(self, key: Key) -> None:
        self.git_annex.dropkey(key, seconds=60)

    def assert_refused(self, why: str, key: Key) -> None:
        error = self.assertRaises(Refused, self.drop_key, key)
        self.assertIn(why, str(error))
        self.assertIn(key.file_name, objects(self.git_dir))

    def is_logged(self, key: Key) -> bool:
        uuid = self.machine.uuid(self.repo)
        return self.machine.tries(self.repo, "readpresentkey", key.raw, uuid)[0] == 0

    def settings(self) -> Settings:
        said = self.machine.git(self.repo, "config", "--list", "-z")
        pairs = (line.split(b"\n", 1) for line in said.split(b"\0") if line)
        found = Settings.from_git_config(dict(pairs))
        return found.with_hooks(find_hooks(os.fsencode(self.git_dir)))


class UnlockedFiles(Scene):
    def setUp(self) -> None:
        super().setUp()
        self.config("annex.addunlocked", "true")
        self.file = self.repo / "file"
        self.file.write_bytes(b"abc")
        self.machine.annex(self.repo, "add", "-q", "file")
        self.machine.git(self.repo, "commit", "-q", "-m", "add")

    def test_follow(self) -> None:
        self.drop_key(ABC)
        self.assertEqual(self.file.read_bytes(), b"/annex/objects/" + ABC.raw + b"\n")
        self.assertFalse(self.is_logged(ABC))
        self.set_key(ABC, b"abc")
        self.assertEqual(self.file.read_bytes(), b"abc")
        self.assertTrue(self.is_logged(ABC))
        self.assertEqual(self.machine.git(self.repo, "status", "--short"), b"")
        self.assertEqual(os.listdir(self.git_dir / "annex" / "journal"), [])

    def test_thin(self) -> None:
        self.drop_key(ABC)
        self.config("annex.thin", "true")
        self.set_key(ABC, b"abc")
        path = next(path for path in (self.git_dir / "annex" / "objects").rglob("*") if path.is_file())
        self.assertTrue(path.samefile(self.file))
        pointers = Pointers(os.fsencode(self.git_dir), os.fsencode(self.repo))
        self.addCleanup(pointers.close)
        for change, unmodified in (
            (lambda: None, True),
            (lambda: os.utime(path, (1, 1)), True),
            (lambda: self.file.write_bytes(b"abd"), False),
            (lambda: self.file.write_bytes(b"abc"), True),
        ):
            change()
            found = pointers.unmodified(ABC, os.fsencode(path), os.stat(path))
            self.assertIs(found, unmodified)


class ContentLocks(Scene):
    bare = True

    def setUp(self) -> None:
        super().setUp()
        self.set_key(ABC, b"abc")
        self.object = next(path for path in (self.repo / "annex" / "objects").rglob("*") if path.is_file())
        self.object.parent.chmod(0o755)

    def test_held(self) -> None:
        held = try_lock(os.fsencode(self.object) + b".lck", exclusive=False)
        assert held is not None
        self.assert_refused("locked", ABC)
        held.release()
        self.drop_key(ABC)
        self.assertEqual(objects(self.git_dir), set())

    def test_retained(self) -> None:
        stamp = self.object.with_name(self.object.name + ".rtm")
        stamp.write_text(f"{int(time.time()) + 60}.5s")
        self.assert_refused("locked", ABC)
        stamp.write_text(f"{int(time.time()) - 60}.5s")
        self.drop_key(ABC)
        self.assertEqual(objects(self.git_dir), set())


class Commands(Scene):
    bare = True

    def setUp(self) -> None:
        super().setUp()
        self.log = self.directory / "log"

    def said(self) -> set[str]:
        found = set(self.log.read_text().split()) if self.log.exists() else set()
        self.log.unlink(missing_ok=True)
        return found

    def test_around_changes(self) -> None:
        for name in ("freezecontent-command", "thawcontent-command", "secure-erase-command"):
            self.config(f"annex.{name}", f"echo {name} >>'{self.log}'")
        self.set_key(ABC, b"abc")
        self.assertIn("freezecontent-command", self.said())
        self.drop_key(ABC)
        self.assertTrue({"thawcontent-command", "secure-erase-command"} <= self.said())
        self.assertTrue(self.settings().needs_git_annex_to_add and self.settings().needs_git_annex_to_remove)

    def test_hooks(self) -> None:
        names = ("freezecontent", "thawcontent", "secure-erase", "commitmessage", "post-update")
        self.assertFalse(self.settings().needs_git_annex_to_remove)
        for name in names:
            hook = self.repo / "hooks" / f"{name}-annex"
            hook.write_text(f"#!/bin/sh\necho {name} >>'{self.log}'\necho {name}\n")
            hook.chmod(0o755)
        self.set_key(ABC, b"abc")
        self.drop_key(ABC)
        self.assertEqual(self.said(), set(names))
        found = self.settings()
        self.assertTrue(found.needs_git_annex_to_add and found.needs_git_annex_to_remove)
        self.assertTrue(found.needs_git_annex_to_commit)

    def test_commit(self) -> None:
        hook = self.repo / "hooks" / "commitmessage-annex"
        hook.write_text("#!/bin/sh\necho said by a hook\n")
        hook.chmod(0o755)
        journal = self.git_dir / "annex" / "journal"
        journal.mkdir(exist_ok=True)
        name = ABC.hash_lower.decode().replace("/", "_") + f"_{ABC.file_name.decode()}.log"
        uuid = self.machine.uuid(self.repo).decode()
        (journal / name).write_text(f"1700000000s 1 {uuid}\n")
        self.git_annex.commit(seconds=60)
        self.assertEqual(os.listdir(journal), [])
        said = self.machine.git(self.repo, "log", "-1", "--format=%s", "git-annex")
        self.assertEqual(said, b"said by a hook\n")

    def test_trash(self) -> None:
        trash = self.directory / "trash"
        trash.mkdir()
        self.machine.annex(
            self.repo,
            *("initremote", "-q", "trash", "type=directory", "encryption=none"),
            f"directory={trash}",
        )
        self.set_key(ABC, b"abc")
        self.config("annex.trashbin", "nowhere")
        self.assert_refused("trashbin", ABC)
        self.assertTrue(self.settings().needs_git_annex_to_remove)
        self.config("annex.trashbin", "trash")
        self.drop_key(ABC)
        self.assertEqual([path.read_bytes() for path in trash.rglob("*") if path.is_file()], [b"abc"])


class OddPlaces(Scene):
    bare = True

    def test_repository_vanished(self) -> None:
        """The repository above it is somebody else's."""
        self.machine.set_key(self.repo, ABC.raw, b"abc")
        inner = self.repo / "inner"
        inner.mkdir()
        outer = self.git_dir
        self.use(inner)
        self.assertRaises(Refused, self.drop_key, ABC)
        self.assertEqual(objects(outer), {ABC.file_name})

    def test_init(self) -> None:
        repo = self.machine.directory / "new"
        self.machine.git(self.machine.directory, "init", "-q", "--bare", "new")
        self.use(repo)
        self.assertIn("init", self.settings().service_obstacle() or "")
        self.git_annex.init(seconds=60)
        self.assertIsNone(self.settings().write_obstacle())

    def test_names(self) -> None:
        key = Key.parse(b"WORM-s3-m1--a %b/c:d&e\xff \xc3\xa9'\"$(x)")
        self.set_key(key, b"abc")
        self.assertEqual(objects(self.git_dir), {key.file_name})
        self.drop_key(key)
        self.assertEqual(objects(self.git_dir), set())

    def test_external_backend(self) -> None:
        key = Key.parse(b"XTEST--x")
        program = self.machine.directory / "tools" / "git-annex-backend-XTEST"
        program.write_text(BACKEND)
        program.chmod(0o755)
        error = self.assertRaises(Refused, self.set_key, key, b"bad content")
        self.assertIn("Verification of content failed", str(error))
        self.set_key(key, b"good content")
        self.assertEqual(objects(self.git_dir), {key.file_name})


class KnowingWhen(Scene):
    """For each state of a work tree: are there unlocked files of a key?"""

    def expect(self, abc: Unlocked, abcd: Unlocked = Unlocked.NONE) -> None:
        self.assertIs(self.pointers.unlocked_files(ABC), abc)
        self.assertIs(self.pointers.unlocked_files(ABCD), abcd)

    def look_again(self) -> None:
        """Any delegated change makes git-annex look at the index."""
        self.set_key(Key.parse(b"WORM-s1-m1--x"), b"x")
        self.drop_key(Key.parse(b"WORM-s1-m1--x"))

    def play(self) -> None:
        self.pointers = Pointers(os.fsencode(self.git_dir), os.fsencode(self.repo))
        self.addCleanup(self.pointers.close)
        annex, git = self.machine.annex, self.machine.git
        self.expect(Unlocked.NONE)  # nothing in git
        (self.repo / "locked").write_bytes(b"abc")
        (self.repo / "link").write_bytes(b"abcd")
        annex(self.repo, "add", "-q", ".")
        self.expect(Unlocked.UNKNOWN, Unlocked.UNKNOWN)
        git(self.repo, "commit", "-q", "-m", "add")
        self.look_again()
        self.expect(Unlocked.NONE)
        annex(self.repo, "unlock", "-q", "locked")
        self.expect(Unlocked.SOME, Unlocked.UNKNOWN)
        self.look_again()
        self.expect(Unlocked.SOME)
        git(self.repo, "commit", "-q", "-m", "unlock")
        self.expect(Unlocked.SOME)
        git(self.repo, "mv", "locked", "moved")
        self.expect(Unlocked.SOME, Unlocked.UNKNOWN)
        self.look_again()
        self.expect(Unlocked.SOME)
        git(self.repo, "pack-refs", "--all")
        self.expect(Unlocked.SOME)
        git(self.repo, "rm", "-q", "--cached", "moved")
        self.look_again()
        self.expect(Unlocked.NONE)
        git(self.repo, "reset", "-q", "--hard")
        self.expect(Unlocked.SOME, Unlocked.UNKNOWN)
        self.look_again()
        self.expect(Unlocked.SOME)
        annex(self.repo, "adjust", "-q", "--unlock")
        self.expect(Unlocked.SOME, Unlocked.SOME)
        self.look_again()
        self.expect(Unlocked.SOME, Unlocked.SOME)

    def test_newest(self) -> None:
        self.play()

    def test_older(self) -> None:
        for version in VERSIONS:
            if version != NEWEST:
                self.begin(version)
                self.play()

    def test_fresh_clone(self) -> None:
        (self.repo / "file").write_bytes(b"abc")
        self.config("annex.addunlocked", "true")
        self.machine.annex(self.repo, "add", "-q", "file")
        self.machine.git(self.repo, "commit", "-q", "-m", "add")
        self.use(self.machine.clone(str(self.repo), "clone"))
        self.pointers = Pointers(os.fsencode(self.git_dir), os.fsencode(self.repo))
        self.addCleanup(self.pointers.close)
        self.expect(Unlocked.SOME, Unlocked.UNKNOWN)
        self.set_key(ABC, b"abc")
        self.assertEqual((self.repo / "file").read_bytes(), b"abc")
        self.expect(Unlocked.SOME, Unlocked.UNKNOWN)  # to refresh the file's entry is to change the index
        self.look_again()
        self.expect(Unlocked.SOME)
