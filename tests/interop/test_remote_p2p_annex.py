"""git-remote-p2p-annex, run by git, with a network whose peers behave in several ways."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from annexd.client import remote_p2p_annex
from annexd.client.p2p_address import token_file_name
from tests.support import git_peer
from tests.support.programs import path_with

PROGRAM = Path(remote_p2p_annex.__file__).with_name("git-remote-p2p-annex")
SECONDS = 60  # for what takes milliseconds


class RemoteTests(SynchronousTestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = Path(scratch.name)
        tools = self.directory / "tools"
        tools.mkdir()
        (tools / PROGRAM.name).symlink_to(PROGRAM)
        helper = tools / "git-annex-p2p-fake"
        helper.write_text(f'#!/bin/sh\nexec {sys.executable} {git_peer.__file__} "$@"\n')
        helper.chmod(0o755)
        self.env = {
            "PATH": path_with(tools),
            "HOME": str(self.directory),
            "GIT_CONFIG_NOSYSTEM": "1",
            **{f"GIT_{who}_{what}": "x@y" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }
        self.here = self.new("here")
        self.there = self.new("there")

    def new(self, name: str) -> Path:
        repo = self.directory / name
        self.git("init", "-q", "-b", "main", name)
        self.git("-C", name, "commit", "-q", "--allow-empty", "-m", name)
        return repo

    def git(self, *argv: str, ok: bool = True, **more: str) -> str:
        done = subprocess.run(
            ["git", *argv],
            cwd=self.directory,
            env={**self.env, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
        )
        self.assertEqual(done.returncode == 0, ok, done.stdout)
        return done.stdout

    def link(self, address: str, token: bytes = git_peer.TOKEN) -> str:
        """The url of a peer whose token is kept as git-annex keeps it."""
        credentials = self.here / ".git" / "annex" / "creds"
        credentials.mkdir(parents=True, exist_ok=True)
        (credentials / token_file_name(f"fake:{address}")).write_bytes(token)
        return f"p2p-annex::fake:{address}"

    def asked(self, address: str, token: bytes = git_peer.TOKEN) -> str:
        """What is said where nothing comes of it."""
        return self.git("-C", "here", "ls-remote", self.link(address, token), ok=False)

    def test_fetch_and_push(self) -> None:
        (self.there / "file").write_bytes(b"x" * 1_000_000)
        self.git("-C", "there", "add", "file")
        self.git("-C", "there", "commit", "-q", "-m", "large")
        url = self.link(f"serves{self.there}")
        self.git("-C", "here", "fetch", "-q", url, "main:theirs")
        (self.here / "mine").write_bytes(bytes(range(256)) * 4000)
        self.git("-C", "here", "add", "mine")
        self.git("-C", "here", "commit", "-q", "-m", "mine")
        self.git("-C", "here", "push", "-q", url, "main:ours")
        log = ("log", "--format=%H")
        self.assertEqual(self.git("-C", "here", *log, "theirs"), self.git("-C", "there", *log, "main"))
        self.assertEqual(self.git("-C", "here", *log, "main"), self.git("-C", "there", *log, "ours"))

    def test_clone_with_a_token_of_the_environment(self) -> None:
        url = f"p2p-annex::fake:serves{self.there}"
        self.git("clone", "-q", url, "clone", GIT_ANNEX_P2P_AUTHTOKEN="T0KEN")
        self.assertEqual(
            self.git("-C", "clone", "rev-parse", "HEAD"), self.git("-C", "there", "rev-parse", "HEAD")
        )

    def test_a_push_that_git_refuses(self) -> None:
        said = self.git("-C", "here", "push", self.link(f"serves{self.there}"), "main", ok=False)
        self.assertIn("[rejected]", said)

    def test_refusals_end_at_once(self) -> None:
        for address, part in {
            "refuses": "the peer says: read-only; write access denied",
            "ends": "the peer does not serve git here",
            "strange": "the peer answered 'SUCCESS', which was not expected",
        }.items():
            self.assertIn(f"git-remote-p2p-annex: {part}", self.asked(address))
        self.asked("vanishes")

    def test_tokens(self) -> None:
        self.assertIn("does not accept the token", self.asked("refuses", token=b"wr0ng"))
        said = self.git("-C", "here", "ls-remote", "p2p-annex::fake:unknown", ok=False)
        self.assertIn("there is no token for p2p-annex::fake:unknown", said)

    def test_the_network_is_not_known(self) -> None:
        url = "p2p-annex::carrier-pigeon:home"
        said = self.git("-C", "here", "ls-remote", url, ok=False, GIT_ANNEX_P2P_AUTHTOKEN="x")
        self.assertIn("git-annex-p2p-carrier-pigeon cannot be run: it is not installed", said)
        said = self.git("-C", "here", "ls-remote", "p2p-annex::nonsense", ok=False)
        self.assertIn("'nonsense' is not NETWORK:ADDRESS", said)

    def test_by_hand(self) -> None:
        done = subprocess.run([PROGRAM], env=self.env, capture_output=True, timeout=SECONDS)
        self.assertEqual(done.returncode, 2)
        self.assertTrue(done.stderr.startswith(b"usage: "))
        done = subprocess.run(
            [PROGRAM, "x", "fake:ends"],
            input=b"capabilities\n\n",
            env=self.env,
            capture_output=True,
            timeout=SECONDS,
        )
        self.assertEqual((done.returncode, done.stdout), (0, b"connect\n\n"))
