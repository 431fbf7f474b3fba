"""Every-day commands of clients of three ages, through a real sshd."""

from __future__ import annotations

from tests.support.annex import objects
from tests.support.programs import MIDDLE, NEWEST, OLDEST
from tests.support.scenes import SshScene, key_file


class _Commands(SshScene):
    version = NEWEST

    def setUp(self) -> None:
        super().setUp()
        self.one = self.client("one", self.version)
        self.two = self.client("two", self.version)
        self.first = self.one.clone(self.url, "first")
        self.keys = [
            self._add("small", b"small\n"),
            self._add("empty", b""),
            self._add("big", bytes(range(256)) * 40_000),
            self._add("sub dir/with spaces", b"spaces\n"),
        ]
        self.one.annex(self.first, "sync", "-q", "--no-content", "-m", "first")
        self.second = self.two.clone(self.url, "second")

    def test_every_day(self) -> None:
        """In one go, for setting the scene costs more than the commands."""
        self._copy_and_get()
        self._move()
        self._sync()
        if self.version != OLDEST:  # `push` and `pull` came later
            self._push_and_pull()
        self.assert_sound()
        self.assert_tidy()
        for machine, repo in ((self.one, self.first), (self.two, self.second)):
            self.assertEqual(machine.annex(repo, "fsck", "--quiet"), b"")

    def _copy_and_get(self) -> None:
        one, two = self.one, self.two
        one.annex(self.first, "copy", "-q", "--to", "origin")
        self._assert_served(*self.keys)
        one.annex(self.first, "copy", "-q", "--to", "origin")  # again, nothing to do
        one.annex(self.first, "fsck", "-q", "--from", "origin")
        one.annex(self.first, "drop", "-q", ".")  # origin has it, and locks it meanwhile
        self.assertFalse((self.first / "big").exists())
        two.git(self.second, "fetch", "-q")
        two.annex(self.second, "get", "-q", ".")
        self.assertEqual((self.second / "big").read_bytes(), bytes(range(256)) * 40_000)
        self.assertEqual((self.second / "empty").read_bytes(), b"")

    def _move(self) -> None:
        self.two.annex(self.second, "drop", "-q", "--from", "origin", ".")
        self._assert_served()
        self.two.annex(self.second, "move", "-q", "--to", "origin", "small", "big")
        self._assert_served(self.keys[0], self.keys[2])
        self.assertFalse((self.second / "big").exists())
        self.two.annex(self.second, "move", "-q", "--from", "origin", "small")
        self._assert_served(self.keys[2])
        self.assertEqual((self.second / "small").read_bytes(), b"small\n")

    def _sync(self) -> None:
        (self.second / "more").write_bytes(b"more\n")
        self.two.annex(self.second, "add", "-q", "more")
        self.two.annex(self.second, "sync", "-q", "--content", "-m", "more")
        self.one.annex(self.first, "sync", "-q", "--content")
        self._assert_served(*self.keys, self.one.key(self.first, "more"))
        self.assertEqual((self.first / "more").read_bytes(), b"more\n")
        two = self.two.uuid(self.second)
        self.assertEqual(
            self.one.holders(self.first, self.keys[0]), {self.uuid, self.one.uuid(self.first), two}
        )

    def _push_and_pull(self) -> None:
        (self.first / "pushed").write_bytes(b"pushed\n")
        self.one.annex(self.first, "add", "-q", "pushed")
        self.one.git(self.first, "commit", "-q", "-m", "pushed")
        self.one.annex(self.first, "push", "-q")
        self.two.annex(self.second, "pull", "-q")
        self.assertEqual((self.second / "pushed").read_bytes(), b"pushed\n")

    def _add(self, name: str, content: bytes) -> bytes:
        path = self.first / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        self.one.annex(self.first, "add", "-q", name)
        return self.one.key(self.first, name)

    def _assert_served(self, *keys: bytes) -> None:
        self.assertEqual(objects(self.git_dir), set(map(key_file, keys)))
        self.assertEqual(self.wrong_logs(), {})


class Newest(_Commands):
    version = NEWEST

    def test_lost_content(self) -> None:
        """What the server lost behind everybody's back is noticed."""
        self.one.annex(self.first, "copy", "-q", "--to", "origin")
        lost = next(self.git_dir.glob(f"annex/objects/*/*/{self.keys[0].decode()}"))
        lost.chmod(0o755)
        (lost / lost.name).unlink()
        lost.rmdir()
        said = self.one.annex(self.first, "fsck", "--from", "origin", "small", ok=False)
        self.assertIn(b"failed", said)
        self.one.annex(self.first, "copy", "-q", "--to", "origin", "small")
        self._assert_served(*self.keys)


class Middle(_Commands):
    version = MIDDLE


class Oldest(_Commands):
    version = OLDEST


class IntoWorkTree(_Commands):
    """The served repository has a work tree."""

    bare = False
    settings = ("receive.denyCurrentBranch=updateInstead",)


del _Commands
