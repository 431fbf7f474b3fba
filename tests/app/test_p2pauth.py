"""The tokens in git-annex's own file."""

from __future__ import annotations

import os

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.p2pauth import GitAnnexTokens
from annexd.app.token_file import digest_of
from annexd.flow.workers import InlineWorkers
from annexd.router.places import Served
from tests.router.test_places import make
from tests.support.steady_disks import SteadyDisks

TOKEN, OTHER = b"0123abcd" * 16, b"dcba3210" * 16


def tokens_of(served: list[Served]) -> GitAnnexTokens:
    return GitAnnexTokens(served, SteadyDisks(InlineWorkers().disk).at)


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

    def find(self, tokens: GitAnnexTokens, digest: str) -> bytes | None:
        found: bytes | None = self.successResultOf(Deferred.fromCoroutine(tokens.find(digest)))
        return found

    def test_both_kinds_of_lines(self) -> None:
        self.write(self.bare, TOKEN + b"\n")
        self.write(self.tree + b"/.git", b"\n" + OTHER + b" p2p-annex::annexd:host:1\n")
        tokens = tokens_of(self.served)
        self.assertEqual(self.bare, self.find(tokens, digest_of(TOKEN)))
        self.assertEqual(self.tree, self.find(tokens, digest_of(OTHER)))
        for other in (b"", b"p2p-annex::annexd:host:1", TOKEN[:-1], OTHER + b" p2p-annex::annexd:host:1"):
            self.assertIsNone(self.find(tokens, digest_of(other)))

    def test_only_where_it_is_configured(self) -> None:
        self.write(self.bare, TOKEN)
        self.assertIsNone(self.find(tokens_of([Served(self.bare)]), digest_of(TOKEN)))

    def test_changes(self) -> None:
        tokens = tokens_of(self.served)
        self.assertIsNone(self.find(tokens, digest_of(TOKEN)))
        self.write(self.bare, TOKEN)
        self.assertEqual(self.bare, self.find(tokens, digest_of(TOKEN)))
        self.write(self.bare, OTHER + b"\n" + TOKEN)
        self.assertEqual(self.bare, self.find(tokens, digest_of(OTHER)))
        os.unlink(self.bare + b"/annex/creds/p2pauth")
        self.assertIsNone(self.find(tokens, digest_of(OTHER)))

    def test_what_cannot_be_read(self) -> None:
        os.makedirs(self.bare + b"/annex/creds/p2pauth")
        self.write(self.tree + b"/.git", OTHER)
        served = [Served(b"/nonexistent", git_annex_tokens=True), *self.served]
        self.assertEqual(self.tree, self.find(tokens_of(served), digest_of(OTHER)))
