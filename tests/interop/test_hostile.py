"""What goes wrong around a daemon: a clear answer, nothing changed, and all well again afterwards."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

from tests.support.annex import objects
from tests.support.daemon import Daemon
from tests.support.load import content_of, key_of
from tests.support.p2p import Dialogue
from tests.support.processes import Failed, run, run_code, until
from tests.support.programs import SYSTEM_PATH, program
from tests.support.scenes import Scene
from tests.support.servers import Annexd, Server

_SIZE = 300_000
_HERE = content_of(1, _SIZE)
_NEW = content_of(2, _SIZE)


class _Hostile(Scene):
    """A session, a key that is present (``here``) and one that is not (``new``)."""

    def setUp(self) -> None:
        super().setUp()
        self.here = key_of(_HERE)
        self.new = key_of(_NEW)
        self.session = self.dialogue()
        self.session.hello(4)
        self.assertEqual(self.session.put(self.here, _HERE), b"SUCCESS")

    def assert_refused(self, reply: bytes) -> None:
        self.assertTrue(reply == b"FAILURE" or reply.startswith(b"ERROR "), reply)

    def assert_unchanged(self) -> None:
        """Only what was there is there, and the session goes on."""
        self.assertEqual(self.session.ask(b"CHECKPRESENT " + self.here), b"SUCCESS")
        self.assertEqual(self.session.ask(b"CHECKPRESENT " + self.new), b"FAILURE")
        self.assertEqual(objects(self.git_dir), {self.here})

    def assert_well_again(self) -> None:
        """After the trouble is over, the same session does everything."""
        self.assertEqual(self.session.put(self.new, _NEW), b"SUCCESS")
        self.assertEqual(self.session.get(self.new), (_NEW, b"VALID"))
        self.assertEqual(self.session.ask(b"REMOVE " + self.here), b"SUCCESS")
        self.assertEqual(self.session.finish()[2], 0)
        self.assertEqual(objects(self.git_dir), {self.new})
        self.assert_sound()
        self.assert_tidy()

    def assert_logged(self, *words: str) -> None:
        said = self.annexd().daemon.said()
        for word in words:
            self.assertIn(word, said)
        self.assertNotIn("Traceback", said)


class Vanished(_Hostile):
    def test_repository_vanishes(self) -> None:
        away = self.served.with_name("away")
        self.served.rename(away)
        self.assert_refused(self.session.put(self.new, _NEW))
        self.assert_refused(self.session.ask(b"LOCKCONTENT " + self.here))
        code, said = _one_line(self.dialogue())
        self.assertEqual(code, 1)
        self.assertEqual(len(said.splitlines()), 1, said)
        self.assertFalse(self.served.exists(), "a repository that vanished was made anew")
        away.rename(self.served)
        self.session = self.dialogue()
        self.session.hello(4)
        self.assert_well_again()

    def test_repository_is_replaced(self) -> None:
        """Another repository in the same place is another repository."""
        self.served.rename(self.served.with_name("away"))
        self.host.new(str(self.served), bare=True)
        code, said = _one_line(self.dialogue())
        self.assertEqual(code, 1)
        self.assertIn(b"expected repository UUID " + self.uuid, said)


class _SmallDisk(_Hostile):
    """The served repository is on a file system of its own."""

    settings = ("annex.diskreserve=0",)

    def place(self) -> Path:
        disk = self.directory / "disk"
        disk.mkdir()
        mount(self, disk, "-t", "tmpfs", "-o", "size=16m", "annexd-test")
        return disk / "served"

    @property
    def disk(self) -> Path:
        return self.directory / "disk"


class FullDisk(_SmallDisk):
    def test_full(self) -> None:
        filler = self.disk / "filler"
        with self.assertRaises(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        self.assert_refused(self.session.put(self.new, _NEW))
        self.assert_unchanged()
        self.assertEqual(self.session.get(self.here), (_HERE, b"VALID"))
        filler.unlink()
        self.assert_well_again()
        self.assert_logged("no space left")

    def test_full_in_the_middle(self) -> None:
        free = shutil.disk_usage(self.disk).free
        (self.disk / "filler").write_bytes(bytes(free - _SIZE // 2))
        self.assert_refused(self.session.put(self.new, _NEW))
        self.assert_unchanged()
        (self.disk / "filler").unlink()
        self.assert_well_again()


class Reserve(_SmallDisk):
    """`annex.diskreserve` is kept."""

    settings = ("annex.diskreserve=12 megabytes",)

    def test_reserve(self) -> None:
        (self.disk / "filler").write_bytes(bytes(5_000_000))
        self.assert_refused(self.session.put(self.new, _NEW))
        self.assert_unchanged()
        (self.disk / "filler").unlink()
        self.assert_well_again()


class ReadOnlyDisk(_SmallDisk):
    def test_read_only(self) -> None:
        # Not while somebody has a file open to write to.
        until(lambda: self.remount("ro") == 0, "the disk is read-only")
        self.assert_refused(self.session.put(self.new, _NEW))
        self.assert_refused(self.session.ask(b"REMOVE " + self.here))
        self.assert_unchanged()
        self.assertEqual(self.session.get(self.here), (_HERE, b"VALID"))
        self.assertEqual(self.remount("rw"), 0)
        self.assert_well_again()

    def remount(self, how: str) -> int:
        argv = (program("mount", "mount"), "-o", f"remount,{how}", self.disk)
        return run_code(*argv, cwd=self.directory, env=_ENV)[0]


class LostPermissions(_Hostile):
    """Directories that must not be written to, for root neither."""

    def test_objects(self) -> None:
        with immutable(self, self.git_dir / "annex" / "objects"):
            self.assert_refused(self.session.put(self.new, _NEW))
            self.assert_unchanged()
        self.assert_well_again()

    def test_object(self) -> None:
        found = next(self.git_dir.glob(f"annex/objects/*/*/*/{self.here.decode()}"))
        with immutable(self, found):
            self.assert_refused(self.session.ask(b"REMOVE " + self.here))
            self.assert_unchanged()
        self.assert_well_again()

    def test_partials(self) -> None:
        with immutable(self, self.git_dir / "annex" / "tmp"):
            self.assert_refused(self._put_or_refused())
            self.assert_unchanged()
        self.assert_well_again()

    def test_journal(self) -> None:
        """What cannot be recorded is not done."""
        until(lambda: not list((self.git_dir / "annex" / "journal").iterdir()), "the journal is committed")
        with immutable(self, self.git_dir / "annex" / "journal"):
            self.assert_refused(self._put_or_refused())
            self.assert_refused(self.session.ask(b"REMOVE " + self.here))
            self.assert_unchanged()
        self.assert_well_again()

    def test_branch(self) -> None:
        """When the branch cannot be written, the journal keeps what there is to say."""
        with immutable(self, self.git_dir / "refs" / "heads"):
            self.assertEqual(self.session.put(self.new, _NEW), b"SUCCESS")
            self.session.finish()
        self.assertEqual(objects(self.git_dir), {self.here, self.new})
        self.assert_sound()

    def _put_or_refused(self) -> bytes:
        return self.session.put(self.new, _NEW)


class PidLock(Scene):
    """Locks by process ids cannot be shared with: what would need them is refused, and says so."""

    settings = ("annex.pidlock=true",)

    def test_refused(self) -> None:
        self.annexd()
        key = key_of(_HERE)
        self.host.set_key(self.served, key, _HERE)
        session = self.dialogue()
        session.hello(4)
        self.assertEqual(session.get(key), (_HERE, b"VALID"))
        for request in (b"REMOVE " + key, b"PUT  " + key_of(_NEW)):
            reply = session.ask(request)
            self.assertTrue(reply.startswith(b"ERROR ") and b"annex.pidlock" in reply, reply)
        self.assertEqual(session.ask(b"LOCKCONTENT " + key), b"FAILURE")
        self.assertEqual(session.ask(b"CHECKPRESENT " + key), b"SUCCESS")
        session.finish()
        self.assertEqual(objects(self.git_dir), {key})


class NoDescriptors(_Hostile):
    """A daemon with few file descriptors."""

    limit = 60

    def make_server(self) -> Server:
        server = Annexd(Path(self.host.env["HOME"]), self.directory / "daemon")
        prefix = (program("prlimit", "util-linux"), f"--nofile={self.limit}:{self.limit}")
        home = Path(self.host.env["HOME"])
        server.daemon = Daemon(self.directory / "daemon", home, self.served, prefix=prefix)
        return server

    def test_no_descriptors(self) -> None:
        others, refused = self._open_many()
        self.assertTrue(refused, f"{len(others)} sessions did not exhaust {self.limit} descriptors")
        self.assertEqual(self.session.ask(b"CHECKPRESENT " + self.here), b"SUCCESS")
        for other in others:
            other.close()
        until(lambda: _one_line(self.dialogue())[0] == 0, "there is room again")
        self.assert_well_again()

    def _open_many(self) -> tuple[list[Dialogue], list[bytes]]:
        others, refused = [], []
        for _ in range(self.limit):
            other = self.dialogue()
            try:
                other.hello(4)
                others.append(other)
            except Failed:
                code, said = _one_line(other)
                self.assertNotEqual(code, 0)
                refused.append(said)
                if len(refused) == 3:
                    break
        return others, refused


class Fuzz(_Hostile):
    """Sessions of chance: the daemon answers or hangs up, and nothing else comes of it."""

    sessions = 60

    def test_fuzz(self) -> None:
        chance = random.Random(self.sessions)
        words = [word for word in WORDS if word not in (b"REMOVE", b"PUT", b"REMOVE-BEFORE")]
        before = len(self.annexd().daemon.open_files())
        for _ in range(self.sessions):
            dialogue = self.dialogue()
            lines = [_noise(chance, words, self.here) for _ in range(chance.randrange(1, 30))]
            dialogue.send(b"".join(lines))
            dialogue.finish()
        until(lambda: len(self.annexd().daemon.open_files()) <= before, "the daemon closes what it opened")
        self.assertNotIn("Traceback", self.annexd().daemon.said())
        self.assert_unchanged()
        self.assert_well_again()


WORDS = tuple(
    b"CHECKPRESENT LOCKCONTENT UNLOCKCONTENT REMOVE REMOVE-BEFORE GETTIMESTAMP GET PUT DATA DATA-PRESENT "
    b"VALID INVALID SUCCESS SUCCESS-PLUS FAILURE FAILURE-PLUS VERSION BYPASS AUTH AUTH-SUCCESS ERROR CONNECT "
    b"CONNECTDONE NOTIFYCHANGE CHANGED PUT-FROM ALREADY-HAVE TIMESTAMP git-upload-pack".split()
)


def _noise(chance: random.Random, words: list[bytes], key: bytes) -> bytes:
    """A line that may mean something, or bytes that do not."""
    if chance.random() < 0.1:
        return chance.randbytes(chance.randrange(1, 2000))
    pieces = [chance.choice(words)]
    for _ in range(chance.randrange(4)):
        pieces.append(
            chance.choice((key, b"0", b"", b"-1", b"6", b"99999999999999999999", b"x", b"\0", b"\xff"))
        )
    return b" ".join(pieces) + chance.choice((b"\n", b"\n", b"\n", b"\r\n", b"\n\n", b""))


_ENV = {"PATH": SYSTEM_PATH}


def mount(test: Scene, directory: Path, *options: str) -> None:
    """Mount something until the end of the test; for root."""
    if os.geteuid() != 0:
        raise AssertionError("this test mounts a small file system: run it as root")
    run(program("mount", "mount"), *options, directory, cwd=directory.parent, env=_ENV)
    test.addCleanup(run, program("umount", "mount"), "--lazy", directory, cwd=directory.parent, env=_ENV)


class immutable:
    """A file or directory that nobody may change meanwhile."""

    def __init__(self, test: Scene, path: Path) -> None:
        self._test = test
        self._path = path

    def __enter__(self) -> None:
        self._chattr("+i")

    def __exit__(self, *_: object) -> None:
        self._chattr("-i")

    def _chattr(self, change: str) -> None:
        run(program("chattr", "e2fsprogs"), change, self._path, cwd=self._path.parent, env=_ENV)


def _one_line(dialogue: Dialogue) -> tuple[int, bytes]:
    """End a session that may have ended itself; its exit code and its stderr."""
    _, said, code = dialogue.finish()
    return code, said


del _Hostile, _SmallDisk
