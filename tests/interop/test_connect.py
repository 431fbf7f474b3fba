"""CONNECT: the real git, its protocol carried inside of git-annex's."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.p2p import shell_command
from tests.support.processes import run_code
from tests.support.scenes import Scene

_RELAY = Path(__file__).parents[1] / "support" / "git_over_connect.py"


class Connect(Scene):
    def git(self, *argv: str, ok: bool = True, **environment: str) -> bytes:
        server = self.annexd()
        session = [*server.command(), "-c", shell_command(self.served, self.uuid.decode())]
        # In the address of an ext remote a space ends a word, and a percent sign starts an escape.
        words = [sys.executable, str(_RELAY), "%S", *session]
        address = "ext::" + " ".join(word.replace(" ", "% ") for word in words)
        code, said = run_code(
            "git",
            *(address if word == "ADDRESS" else word for word in argv),
            cwd=self.directory,
            env={**self.host.env, "GIT_ALLOW_PROTOCOL": "ext", **environment},
        )
        self.assertEqual(code == 0, ok, said)
        return said

    def test_clone_and_push(self) -> None:
        self.git("clone", "-q", "ADDRESS", "clone")
        self.git("-C", "clone", "fetch", "-q", "origin", "git-annex:here")
        self.git("-C", "clone", "push", "-q", "origin", "here:refs/heads/new")
        heads = self.host.git(self.served, "rev-parse", "git-annex", "new").split()
        self.assertEqual(heads[0], heads[1])

    def test_a_refused_push_says_why_and_ends(self) -> None:
        self.git("clone", "-q", "ADDRESS", "clone")
        self.git("-C", "clone", "fetch", "-q", "origin", "git-annex:here")
        said = self.git(
            "-C", "clone", "push", "origin", "here:refs/heads/new", ok=False, GIT_ANNEX_SHELL_READONLY="1"
        )
        self.assertIn(b"read-only", said)
