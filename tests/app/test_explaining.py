"""`annexd access check` as typed."""

from __future__ import annotations

import io
import json
import os
import time

from annexd.app.access import Operation, Rights
from annexd.app.token_file import Token, TokenFile, digest_of
from annexd.app.verbs import OPERATIONS
from tests.app.test_cli import Typed
from tests.router.test_places import make

CONFIG = """\
[daemon]
state-directory = "{top}/state"

[[repository]]
path = "{top}/x"
git-annex-tokens = true

[[repositories]]
directory = "{top}/all"

[[group]]
name = "staff"
members = ["alice", "token:narrow"]

[[access]]
users = ["@staff"]
repositories = ["{top}/x"]
rights = "append-only"

[[access]]
users = ["certificate:c*"]
rights = "read-only"

[[access]]
users = ["carol"]
nodes = ["n*"]
rights = "append-only"

[[access]]
users = ["carol"]
rights = "read-only"
"""


class Explaining(Typed):
    def setUp(self) -> None:
        super().setUp()
        self.top = os.path.realpath(self.mktemp())
        self.x, self.y = os.path.join(self.top, "x"), os.path.join(self.top, "all", "y")
        for path in (self.x, self.y):
            make(os.fsencode(path) + b"/.git")
        self.config = os.path.join(self.top, "annexd.toml")
        with open(self.config, "w") as file:
            file.write(CONFIG.format(top=self.top))
        os.mkdir(os.path.join(self.top, "state"))

    def add(self, name: str, path: str, rights: Rights, expires: int | None = None) -> None:
        digest = digest_of(f"{name}{path}".encode())
        token = Token(name, os.fsencode(path), rights, digest, 1000, expires)
        TokenFile(os.path.join(self.top, "state")).add([token], 1000)

    def check(self, *arguments: str) -> tuple[int, str]:
        self.out = io.StringIO()
        code = self.run_annexd("access", "check", *arguments, "--config", self.config)
        return code, self.out.getvalue()

    def test_one_operation(self) -> None:
        rule = f"append-only ({self.config}:15)"
        self.assertEqual((0, f"yes: {rule}\n"), self.check("alice", self.x, "put"))
        self.assertEqual((1, f"no: {rule}\n"), self.check("alice", self.x, "remove"))
        self.assertEqual((0, "yes: read-write (no rule names bob)\n"), self.check("bob", self.x, "remove"))
        none = "no: none (there are rules for alice, but none for this repository)\n"
        self.assertEqual((1, none), self.check("alice", self.y, "get"))

    def test_in_a_node(self) -> None:
        self.assertEqual(0, self.check("carol", self.x, "put", "--node", "n1")[0])
        self.assertEqual(1, self.check("carol", self.x, "put", "--node", "archive")[0])
        self.assertEqual(1, self.check("carol", self.x, "put")[0])
        code, printed = self.check("carol", self.x, "--node", "n1", "--json")
        self.assertEqual((0, "n1", "append-only"), (code, *map(json.loads(printed).get, ("node", "rights"))))

    def test_all_of_them(self) -> None:
        code, printed = self.check("alice", self.x)
        self.assertEqual(
            f"alice in {self.x}: append-only ({self.config}:15)\n\n"
            "OPERATION  ALLOWED\nenter      yes\ncheck      yes\nget        yes\nlock       yes\n"
            "watch      yes\npull       yes\nput        yes\ninit       yes\nremove     no\npush       no\n",
            printed,
        )
        self.assertEqual(0, code)
        self.assertEqual(1, self.check("alice", self.y)[0])

    def test_json(self) -> None:
        code, printed = self.check("alice", self.x, "remove", "--json")
        self.assertEqual(
            {
                "principal": "alice",
                "repository": self.x,
                "rights": "append-only",
                "because": f"{self.config}:15",
                "operation": "remove",
                "allowed": False,
                "operations": {one.value: Rights.APPEND_ONLY.allow(one) for one in Operation},
            },
            json.loads(printed),
        )
        self.assertEqual(1, code)
        self.assertNotIn("allowed", json.loads(self.check("alice", self.x, "--json")[1]))

    def test_not_served(self) -> None:
        self.assertEqual(
            (1, f"no: none (no repository is served at {self.top}/z)\n"),
            self.check("alice", f"{self.top}/z", "get"),
        )

    def test_relative_paths(self) -> None:
        former = os.getcwd()
        self.addCleanup(os.chdir, former)
        os.chdir(self.top)
        self.assertEqual(0, self.check("alice", "x", "put")[0])

    def test_certificates(self) -> None:
        self.assertEqual(0, self.check("certificate:carol", self.y, "lock")[0])
        self.assertEqual(
            (1, "no: none (no rule names certificate:dave)\n"), self.check("certificate:dave", self.y, "get")
        )

    def test_tokens(self) -> None:
        self.add("backup", self.y + "/.git", Rights.APPEND_ONLY)
        self.add("old", self.y, Rights.READ_WRITE, expires=2000)
        self.add("narrow", self.x, Rights.READ_WRITE)
        self.add("small", self.x, Rights.READ_ONLY)
        self.assertEqual(
            (0, "yes: append-only (the token backup)\n"), self.check("token:backup", self.y, "put")
        )
        self.assertEqual(1, self.check("token:backup", self.y, "push")[0])
        self.assertEqual(
            (1, "no: none (there is no token backup for this repository)\n"),
            self.check("token:backup", self.x, "get"),
        )
        self.assertEqual(
            (1, "no: none (the token old expired on 1970-01-01 00:33 UTC)\n"),
            self.check("token:old", self.y, "get"),
        )
        self.assertEqual(
            (1, f"no: append-only ({self.config}:15)\n"), self.check("token:narrow", self.x, "remove")
        )
        self.assertEqual((1, "no: read-only (the token small)\n"), self.check("token:small", self.x, "put"))
        self.assertGreater(time.time(), 2000)

    def test_tokens_of_git_annex(self) -> None:
        self.assertEqual(0, self.check("token:git-annex", self.x, "push")[0])
        self.assertEqual(
            (1, "no: none (git-annex-tokens is not set for this repository)\n"),
            self.check("token:git-annex", self.y, "get"),
        )

    def test_nonsense(self) -> None:
        self.assertEqual(2, self.check("alice", self.x, "dance")[0])
        self.config = "/nonexistent"
        self.assertEqual(2, self.check("alice", self.x)[0])

    def test_the_command_line_knows_all_operations(self) -> None:
        self.assertEqual(OPERATIONS, tuple(operation.value for operation in Operation))
