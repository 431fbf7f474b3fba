"""What git makes of the urls of remotes; the same is put to git itself."""

from __future__ import annotations

import os
import subprocess

from twisted.trial.unittest import SynchronousTestCase

from annexd.router.rewriting import Rewrites

SETTINGS = [
    (b"url.ssh://long/.insteadof", b"gh:org/"),
    (b"url.ssh://short/.insteadof", b"gh:"),
    (b"url.ssh://short/.insteadof", b"lab:"),
    (b"url.ssh://late/.insteadof", b"lab:"),
    (b"url.ssh://push/.pushinsteadof", b"lab:"),
    (b"url.ssh://w/.pushinsteadof", b"ssh://long/"),
    (b"url./srv/b.insteadOf.d/.insteadof", b"disk:"),
]
URLS = [b"gh:org/x", b"gh:other/x", b"lab:x", b"disk:x", b"ssh://long/y", b"/a/path", b"host:lab:x", b"LAB:x"]


class RewritingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.rewrites = Rewrites.of(SETTINGS)

    def test_the_longest_counts_and_of_those_the_first(self) -> None:
        for url, expected in (
            (b"gh:org/x", b"ssh://long/x"),
            (b"gh:other/x", b"ssh://short/other/x"),
            (b"lab:x", b"ssh://short/x"),
            (b"/a/path", b"/a/path"),
            (b"disk:x", b"/srv/b.insteadOf.d/x"),
            (b"", b""),
        ):
            self.assertEqual(self.rewrites.fetched(url), expected)

    def test_pushes_go_elsewhere(self) -> None:
        self.assertEqual(self.rewrites.pushed(b"lab:x"), b"ssh://push/x")
        self.assertEqual(self.rewrites.pushed(b"gh:org/x"), b"ssh://long/x")
        self.assertEqual(self.rewrites.pushed(b"gh:x", b"lab:y"), b"ssh://short/y")

    def test_as_git_has_it(self) -> None:
        top = os.path.abspath(self.mktemp())
        subprocess.run(["git", "init", "-q", "--bare", top], check=True)
        with open(os.path.join(top, "config"), "a") as file:
            for name, value in SETTINGS:
                base, key = name[4:].decode().rsplit(".", 1)
                file.write(f'[url "{base}"]\n\t{key} = {value.decode()}\n')
            for number, url in enumerate(URLS):
                file.write(f'[remote "r{number}"]\n\turl = {url.decode()}\n')
                file.write(f'[remote "p{number}"]\n\turl = /x\n\tpushurl = {url.decode()}\n')
        for number, url in enumerate(URLS):
            self.assertEqual(self.asked(top, f"r{number}"), self.rewrites.fetched(url))
            self.assertEqual(self.asked(top, "--push", f"r{number}"), self.rewrites.pushed(url))
            self.assertEqual(self.asked(top, "--push", f"p{number}"), self.rewrites.pushed(b"/x", url))

    def asked(self, top: str, *arguments: str) -> bytes:
        environ = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
        argv = ["git", "-C", top, "remote", "get-url", *arguments]
        return subprocess.run(argv, env=environ, check=True, capture_output=True).stdout.rstrip(b"\n")
