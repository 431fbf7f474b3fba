"""The tokens in git-annex's own file."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from annexd.app.p2pauth import GitAnnexTokens
from annexd.app.token_file import digest_of
from annexd.router.places import Served
from tests.router.test_places import make

TOKEN, OTHER = b"0123abcd" * 16, b"dcba3210" * 16


class GitAnnexTokensTests(SynchronousTestCase):
    def setUp(self) -> None:
        top = os.fsencode(os.path.abspath(self.mktemp()))
        self.bare, self.tree = top + b"/x.git", top + b"/y"
        make(self.bare)
        make(self.tree + b"/.git")
        self.served = [Served(self.bare, git_annex_tokens=True), Served(self.tree, git_annex_tokens=True)]

    def write(self, git_dir: bytes, text: bytes) -> None:
        os.makedirs(git_dir + b"/annex/creds", exist_ok=True)
        with open(git_dir + b"/annex/creds/p2pauth.new", "wb") as file:
            file.write(text)
        os.rename(git_dir + b"/annex/creds/p2pauth.new", git_dir + b"/annex/creds/p2pauth")

    def test_both_kinds_of_lines(self) -> None:
        self.write(self.bare, TOKEN + b"\n")
        self.write(self.tree + b"/.git", b"\n" + OTHER + b" p2p-annex::annexd:host:1\n")
        tokens = GitAnnexTokens(self.served)
        self.assertEqual(self.bare, tokens.find(digest_of(TOKEN)))
        self.assertEqual(self.tree, tokens.find(digest_of(OTHER)))
        for other in (b"", b"p2p-annex::annexd:host:1", TOKEN[:-1], OTHER + b" p2p-annex::annexd:host:1"):
            self.assertIsNone(tokens.find(digest_of(other)))

    def test_only_where_it_is_configured(self) -> None:
        self.write(self.bare, TOKEN)
        self.assertIsNone(GitAnnexTokens([Served(self.bare)]).find(digest_of(TOKEN)))

    def test_changes(self) -> None:
        tokens = GitAnnexTokens(self.served)
        self.assertIsNone(tokens.find(digest_of(TOKEN)))
        self.write(self.bare, TOKEN)
        self.assertEqual(self.bare, tokens.find(digest_of(TOKEN)))
        self.write(self.bare, OTHER + b"\n" + TOKEN)
        self.assertEqual(self.bare, tokens.find(digest_of(OTHER)))
        os.unlink(self.bare + b"/annex/creds/p2pauth")
        self.assertIsNone(tokens.find(digest_of(OTHER)))

    def test_what_cannot_be_read(self) -> None:
        os.makedirs(self.bare + b"/annex/creds/p2pauth")
        self.write(self.tree + b"/.git", OTHER)
        served = [Served(b"/nonexistent", git_annex_tokens=True), *self.served]
        self.assertEqual(self.tree, GitAnnexTokens(served).find(digest_of(OTHER)))
