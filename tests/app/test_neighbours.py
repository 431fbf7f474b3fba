"""Where git-annex's own peers come to a repository that is served."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.config import Config
from annexd.app.invitations import known_addresses, label
from annexd.app.listen import Address, Listen, Tls
from annexd.app.neighbours import Neighbours
from annexd.router.places import Served

P = ParamSpec("P")
T = TypeVar("T")

PUBLIC = Address("annex.example.org", 7001)
TLS = Tls((Address("::", 7001),), PUBLIC)
SIGNED = Tls((Address("::", 7001),), PUBLIC, certificate="/etc/x.pem", key="/etc/x.key")


class AtOnce:
    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)


class Addresses(SynchronousTestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = os.path.realpath(os.fsencode(scratch.name))
        self.state = scratch.name + "/state"
        self.work_tree = self.make("photos")
        self.git_dir = self.work_tree + b"/.git"

    def make(self, name: str, *options: str) -> bytes:
        path = os.path.join(self.directory, name.encode())
        subprocess.run(["git", "init", "-q", *options, path], check=True, timeout=20)
        return path

    def ask(self, *served: Served, tls: Tls | None = TLS, git_dir: bytes | None = None) -> dict[str, str]:
        config = Config(served=served, listen=Listen(tls=tls))
        neighbours = Neighbours(lambda: config, self.state, AtOnce())
        return self.successResultOf(Deferred.fromCoroutine(neighbours.address(git_dir or self.git_dir)))

    def test_taken(self) -> None:
        """By whatever path it is served, and however somebody comes to it."""
        os.symlink(self.work_tree, self.directory + b"/link")
        for path in (self.work_tree, self.git_dir, self.directory + b"/link"):
            answer = self.ask(Served(path, git_annex_tokens=True), git_dir=self.directory + b"/link/.git")
            [known] = known_addresses(Config(listen=Listen(tls=TLS)), self.state)
            self.assertEqual({"address": f"{known},label={label(path)}"}, answer)
            self.assertRegex(answer["address"], r"^annex\.example\.org:7001,sha256=[0-9a-f]{64},label=")

    def test_certificate_of_an_authority(self) -> None:
        answer = self.ask(Served(self.work_tree, git_annex_tokens=True), tls=SIGNED)
        self.assertEqual({"address": f"annex.example.org:7001,label={label(self.work_tree)}"}, answer)

    def test_bare(self) -> None:
        bare = self.make("bare.git", "--bare")
        answer = self.ask(Served(bare, git_annex_tokens=True), git_dir=bare)
        self.assertIn(label(bare), answer["address"])

    def test_not_served(self) -> None:
        other = Served(self.make("other"), git_annex_tokens=True)
        missing = Served(self.directory + b"/missing", git_annex_tokens=True)
        self.assertEqual({"address": ""}, self.ask(missing, other))
        self.assertEqual({"address": ""}, self.ask())

    def test_tokens_are_not_taken(self) -> None:
        for served in (Served(self.work_tree), Served(self.directory, nested=True)):
            answer = self.ask(served)
            self.assertEqual("", answer["address"])
            self.assertIn("git-annex-tokens", answer["reason"])

    def test_nobody_can_come(self) -> None:
        answer = self.ask(Served(self.work_tree, git_annex_tokens=True), tls=None)
        self.assertEqual("", answer["address"])
        self.assertIn("[listen.tls]", answer["reason"])
