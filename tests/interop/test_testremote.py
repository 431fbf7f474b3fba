"""git-annex's own test of a remote, through a real sshd."""

from __future__ import annotations

from tests.support.scenes import SshScene
from tests.support.servers import forced_command


class TestRemote(SshScene):
    def test_all(self) -> None:
        client = self.client()
        repo = client.clone(self.url, "repo")
        fast = client.annex(repo, "testremote", "--fast", "origin", seconds=300)
        self.assertIn(b"All 125 tests passed", fast[-200:])
        every = client.annex(repo, "testremote", "origin", seconds=300)
        self.assertIn(b"All 573 tests passed", every[-200:])
        self.assert_sound()
        self.assert_tidy()

    def test_read_only(self) -> None:
        """Who may only read is kept from all else, and served."""
        writer = self.client("writer")
        repo = writer.clone(self.url, "repo")
        (repo / "file").write_bytes(b"content\n" * 1000)
        writer.annex(repo, "add", "-q", "file")
        writer.annex(repo, "sync", "-q", "--content", "-m", "add")
        config = self.sshd.admit("bob", forced_command(self.server, "bob", GIT_ANNEX_SHELL_READONLY="1"))
        reader = self.client("reader", ssh_config=config)
        copy = reader.clone(self.url, "copy")
        reader.annex(copy, "get", "-q", "file")
        said = reader.annex(copy, "testremote", "origin", "--ensure-readonly", "file", seconds=120)
        self.assertIn(b"tests passed", said[-200:])
        self.assertEqual((copy / "file").read_bytes(), b"content\n" * 1000)
        self.assert_sound()
