"""`annexd token ...` and `annexd invite` as typed, with and without a daemon."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import struct
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any
from unittest import mock

from annexd.app.token_file import TokenFile, digest_of
from tests.app.test_cli import Typed
from tests.router.test_places import make


class Granting(Typed):
    def setUp(self) -> None:
        super().setUp()
        self.top = os.path.realpath(self.mktemp())
        self.state = os.path.join(self.top, "state")
        self.audit = os.path.join(self.top, "audit")
        self.paths = [os.path.join(self.top, name) for name in ("x", "y")]
        for path in self.paths:
            make(os.fsencode(path) + b"/.git")
        self.config = os.path.join(self.top, "annexd.toml")
        self.write(f'[daemon]\nstate-directory = "{self.state}"\n')
        self.patch(os, "environ", {"ANNEXD_SOCKET": self.socket, "PATH": os.environ["PATH"]})

    def write(self, text: str) -> None:
        served = "".join(f'[[repository]]\npath = "{path}"\n' for path in self.paths)
        with open(self.config, "w") as file:
            file.write(f'{text}[audit]\nfile = "{self.audit}"\n{served}')

    def annexd(self, *arguments: str, code: int = 0) -> str:
        """What it prints; what it says beside that is ``said``."""
        self.out, self.err = io.StringIO(), io.StringIO()
        self.assertEqual(code, self.run_annexd(*arguments), self.err.getvalue())
        self.said = self.err.getvalue()
        return self.out.getvalue()

    def token(self, *arguments: str, code: int = 0) -> str:
        return self.annexd("token", *arguments, "--config", self.config, code=code)

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in open(self.audit)]

    # --- token add -----------------------------------------------------

    def test_one(self) -> None:
        now = time.time()
        printed = self.token(
            "add", "backup", "--repo", self.paths[0], "--mode", "append-only", "--expires", "7d"
        )
        self.assertRegex(printed, r"\A[0-9a-f]{128}\n\Z")
        self.assertNotIn(printed.strip(), self.said)
        self.assertRegex(self.said, rf"token:backup may read and add in {self.paths[0]} until 20.*UTC\n")
        [token] = TokenFile(self.state).read()
        self.assertEqual(digest_of(printed.strip().encode()), token.digest)
        self.assertEqual(
            ("backup", os.fsencode(self.paths[0]), "append-only"),
            (token.name, token.repository, token.rights.value),
        )
        self.assertLess(abs(now - token.created), 60)
        self.assertEqual(7 * 86400, (token.expires or 0) - token.created)

    def test_several(self) -> None:
        printed = self.token("add", "backup", "--repo", self.paths[0], "--repo", self.paths[1] + "/.git")
        lines = [line.split(" ") for line in printed.splitlines()]
        self.assertEqual(self.paths, [path for _, path in lines])
        for (secret, path), token in zip(lines, TokenFile(self.state).read(), strict=True):
            self.assertEqual((digest_of(secret.encode()), path.encode()), (token.digest, token.repository))
            self.assertEqual(("read-only", None), (token.rights.value, token.expires))

    def test_an_existing_secret(self) -> None:
        self.patch(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"0aZ9" * 20 + b"\nmore\n")))
        self.assertEqual("", self.token("add", "peer", "--repo", self.paths[0], "--secret-stdin"))
        [token] = TokenFile(self.state).read()
        self.assertEqual(digest_of(b"0az9" * 20), token.digest)

    def test_bad_secrets(self) -> None:
        self.patch(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"short\n")))
        self.token("add", "peer", "--repo", self.paths[0], "--secret-stdin", code=1)
        self.assertIn("32 to 1024 characters, this one has 5", self.said)
        repos = [word for path in self.paths for word in ("--repo", path)]
        self.token("add", "peer", *repos, "--secret-stdin", code=1)
        self.assertIn("there is one --repo", self.said)

    def test_refused(self) -> None:
        self.token("add", "git-annex", "--repo", self.paths[0], code=1)
        self.token("add", "a b", "--repo", self.paths[0], code=1)
        self.token("add", "x", "--repo", self.top, code=1)
        self.assertEqual(f"annexd: no repository is served at {self.top}\n", self.said)
        self.token("add", "x", code=2)
        self.token("add", "x", "--repo", self.paths[0], "--expires", "soon", code=2)
        self.token("add", "x", "--repo", self.paths[0], "--mode", "none", code=2)
        self.assertEqual((), TokenFile(self.state).read())
        self.token("add", "x", "--repo", self.paths[0])
        self.token("add", "x", "--repo", self.paths[0], code=1)
        self.assertIn("revoke it first", self.said)

    def test_bad_configuration(self) -> None:
        self.write("[demon]\n")
        self.token("add", "x", "--repo", self.paths[0], code=2)

    # --- token list, token revoke --------------------------------------

    def test_list(self) -> None:
        self.assertEqual("there are no tokens\n", self.token("list"))
        self.token("add", "a", "--repo", self.paths[0], "--expires", "1d")
        secret = self.token("add", "b", "--repo", self.paths[0], "--mode", "read-write").strip()
        self.token("revoke", "a")
        TokenFile(self.state).note_used({digest_of(secret.encode()): 0}, {digest_of(secret.encode())})
        heads, first, second = (re.split("  +", line) for line in self.token("list").splitlines())
        self.assertEqual(["NAME", "REPOSITORY", "RIGHTS", "MADE", "EXPIRES", "LAST USED"], heads)
        self.assertEqual(["a", self.paths[0], "read-only"], first[:3])
        self.assertEqual(["never", "revoked"], first[5:])
        self.assertEqual(["b", self.paths[0], "read-write"], second[:3])
        self.assertEqual(["never", "1970-01-01 00:00 UTC"], second[4:])
        listed = json.loads(self.token("list", "--json"))
        self.assertEqual([False, True], [token["good"] for token in listed])
        self.assertEqual([None, 0], [token["used"] for token in listed])
        self.assertEqual(
            {"name", "repository", "node", "rights", "created", "expires", "revoked", "used", "good"},
            set(listed[0]),
        )

    def test_expired_ones_are_listed_so(self) -> None:
        self.token("add", "a", "--repo", self.paths[0], "--expires", "10s")
        with mock.patch("time.time", lambda former=time.time: former() + 11):
            self.assertIn("  expired\n", self.token("list"))

    def test_no_secret_is_listed(self) -> None:
        secret = self.token("add", "a", "--repo", self.paths[0]).strip()
        for printed in (self.token("list"), self.token("list", "--json")):
            self.assertNotIn(secret, printed)
            self.assertNotIn(digest_of(secret.encode()), printed)

    def test_revoke(self) -> None:
        self.token("add", "a", "--repo", self.paths[0], "--repo", self.paths[1])
        printed = self.token("revoke", "a", "--repo", self.paths[1] + "/.git")
        self.assertEqual(f"a has no access to {self.paths[1]} any more\n", printed)
        self.assertEqual(f"a has no access to {self.paths[0]} any more\n", self.token("revoke", "a"))
        self.token("revoke", "a", code=1)
        self.assertEqual("annexd: there is no token a that is good\n", self.said)
        self.token("revoke", "b", "--repo", self.paths[0], code=1)

    def test_revoke_for_a_repository_that_is_gone(self) -> None:
        self.token("add", "a", "--repo", self.paths[0])
        os.rename(self.paths[0], self.paths[0] + ".away")
        self.token("revoke", "a", "--repo", self.paths[0])

    # --- who is told ---------------------------------------------------

    def test_without_a_daemon_the_audit_is_written_here(self) -> None:
        self.token("add", "a", "--repo", self.paths[0], "--mode", "append-only")
        self.token("revoke", "a")
        self.assertEqual(
            [(event, "token:a", self.paths[0], "append-only") for event in ("token-added", "token-revoked")],
            [tuple(r[k] for k in ("event", "principal", "repository", "reason")) for r in self.records()],
        )

    def test_an_audit_that_cannot_be_written(self) -> None:
        os.mkdir(self.audit)
        self.assertNotEqual("", self.token("add", "a", "--repo", self.paths[0]))
        self.assertIn(f"annexd: note: nothing is written to the audit {self.audit}", self.said)

    def serve(self, *answers: object) -> list[bytes]:
        """Be a daemon for so many questions; what they were."""
        asked: list[bytes] = []
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self.socket)
        listening.listen()

        def answer() -> None:
            with listening:
                for reply in answers:
                    connection, _ = listening.accept()
                    with connection:
                        (length,) = struct.unpack(">I", connection.recv(4))
                        asked.append(connection.recv(length))
                        connection.sendall(json.dumps(reply).encode())

        thread = threading.Thread(target=answer)
        thread.start()
        self.addCleanup(thread.join, 10)
        return asked

    def where(self, config: str | None, *served: str) -> dict[str, object]:
        state = os.path.join(self.top, "other")
        return {
            "state": state,
            "config": config,
            "served": [{"path": path, "nested": False} for path in served],
        }

    def test_a_daemon_knows_where_everything_is(self) -> None:
        """It is told, and writes the audit itself."""
        asked = self.serve(self.where(self.config, self.paths[1]), {"checked": "tokens"})
        self.annexd("token", "add", "a", "--repo", self.paths[1])
        self.assertEqual([b"where", b"tokens"], asked)
        self.assertEqual(1, len(TokenFile(os.path.join(self.top, "other")).read()))
        self.assertFalse(os.path.exists(self.audit))

    def test_a_daemon_that_serves_something_else(self) -> None:
        self.serve(self.where(None, self.paths[1]))
        self.annexd("token", "add", "a", "--repo", self.paths[0], code=1)

    def test_another_s_daemon(self) -> None:
        asked = self.serve(self.where("/etc/other.toml", self.paths[1]))
        self.token("add", "a", "--repo", self.paths[0])
        self.assertEqual(([b"where"], 1), (asked, len(TokenFile(self.state).read())))

    def test_a_daemon_that_could_not_be_told(self) -> None:
        self.serve(self.where(self.config, self.paths[1]), {"error": "the disk burns"})
        self.assertNotEqual("", self.annexd("token", "add", "a", "--repo", self.paths[1]))
        self.assertIn("annexd: note: the disk burns\n", self.said)

    # --- invite --------------------------------------------------------

    def test_invite(self) -> None:
        address = "annex.example.org:7001,sha256=" + "0" * 64
        printed = self.annexd(
            "invite", "bob", "--repo", self.paths[0], "--mode", "append-only", "--expires", "7d",
            "--address", address, "--config", self.config,
        )  # fmt: skip
        found = re.fullmatch(
            rf"p2p-annex::annexd:{address},label=x-[0-9a-f]{{6}}:([0-9a-f]{{128}})\n", printed
        )
        assert found is not None, printed
        [token] = TokenFile(self.state).read()
        self.assertEqual((digest_of(found[1].encode()), "bob"), (token.digest, token.name))
        self.assertIn("git annex p2p --link", self.said)
        self.assertNotIn(found[1], self.said)

    def test_invite_where(self) -> None:
        self.annexd("invite", "bob", "--repo", self.paths[0], "--config", self.config, code=2)
        self.assertIn("name one with --address", self.said)
        bad = ("--address", "host", "--config", self.config)
        self.annexd("invite", "bob", "--repo", self.paths[0], *bad, code=2)
        self.assertEqual((), TokenFile(self.state).read(), "nothing is left of what did not work")

    def test_invite_through_tor(self) -> None:
        """A label for each repository: git-annex keeps tokens by the name of the host."""
        for way in ('launch = "tor"', 'control = "/run/tor/control"\nport = 41862'):
            self.write(f'[daemon]\nstate-directory = "{self.state}"\n[listen.tor]\n{way}\n')
            port = 41862 if "port" in way else 7001
            lines = [
                self.annexd("invite", f"bob{port}", "--tor", "--repo", path, "--config", self.config)
                for path in self.paths
            ]
            with open(os.path.join(self.state, "onion", "hostname")) as file:
                hostname = file.read().strip()
            for line, name in zip(lines, ("x", "y"), strict=True):
                self.assertRegex(
                    line, rf"\Ator-annex::{name}-[0-9a-f]{{6}}\.{hostname}:{port}:[0-9a-f]{{128}}\n\Z"
                )
        self.assertEqual(4, len(TokenFile(self.state).read()))

    def test_invite_through_another_s_tor(self) -> None:
        service = os.path.join(self.top, "service")
        way = f'[listen.tor]\nhidden-service = "{service}"\nsocket = "/s"\nport = 9\n'
        self.write(f'[daemon]\nstate-directory = "{self.state}"\n{way}')
        self.annexd("invite", "bob", "--tor", "--repo", self.paths[0], "--config", self.config, code=2)
        self.assertIn(f"{service}/hostname: No such file", self.said)
        self.assertEqual((), TokenFile(self.state).read())
        os.mkdir(service)
        hostname = "a" * 56 + ".onion"
        with open(os.path.join(service, "hostname"), "w") as file:
            file.write(hostname + "\n")
        line = self.annexd("invite", "bob", "--tor", "--repo", self.paths[0], "--config", self.config)
        self.assertIn(f".{hostname}:9:", line)

    def test_invite_without_tor(self) -> None:
        self.annexd("invite", "bob", "--tor", "--repo", self.paths[0], "--config", self.config, code=2)
        self.assertIn("there is no [listen.tor]", self.said)
        both = ("--tor", "--address", "h:1")
        self.annexd("invite", "bob", *both, "--repo", self.paths[0], "--config", self.config, code=2)
        self.assertEqual((), TokenFile(self.state).read())
