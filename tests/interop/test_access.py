"""Rules for groups, met by real clients; the audit; tokens while the daemon runs."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from annexd.app.token_file import TokenFile
from tests.support.annex import Machine
from tests.support.processes import run, run_code, until
from tests.support.programs import annexd_program
from tests.support.scenes import Scene, SshScene
from tests.support.servers import Annexd, Server, forced_command

CONFIG = """\
[daemon]
state-directory = "{directory}/state"

[audit]
file = "{directory}/audit"

[[repository]]
path = "{served}"

[[group]]
name = "readers"
members = ["bob", "reader-*"]

[[group]]
name = "backups"
members = ["nas"]

[[access]]
users = ["@readers"]
rights = "read-only"

[[access]]
users = ["@backups"]
rights = "append-only"
"""
READ_ONLY = b"this repository is read-only; write access denied (annexd.toml:18)"
APPEND_ONLY = b"this repository is append-only; removal denied (annexd.toml:22)"
PUSH = b"this repository is read-only; write access denied (annexd.toml:22)"


class _Configured(Scene):
    def make_server(self) -> Server:
        directory = self.directory / "daemon"
        directory.mkdir()
        self.config = directory / "annexd.toml"
        self.config.write_text(CONFIG.format(directory=directory, served=self.served))
        server = Annexd(Path(self.host.env["HOME"]), directory)
        server.daemon.options = ("--config", str(self.config))
        return server

    def audit(self) -> list[dict[str, Any]]:
        text = (self.directory / "daemon" / "audit").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def annexd_says(self, *arguments: str | Path, ok: bool = True) -> str:
        daemon = self.annexd().daemon
        argv = (annexd_program("annexd"), *arguments)
        return run(*argv, cwd=self.directory, env=daemon.env, ok=ok).decode()


class Groups(SshScene, _Configured):
    def setUp(self) -> None:
        super().setUp()
        self.owner = self.client("owner")
        self.repo = self.owner.clone(self.url, "repo")
        (self.repo / "file").write_bytes(b"content\n" * 1000)
        self.owner.annex(self.repo, "add", "-q", "file")
        self.owner.annex(self.repo, "sync", "-q", "--content", "-m", "add")
        self.key = self.owner.key(self.repo, "file")

    def comes(self, user: str) -> tuple[Machine, Path]:
        machine = self.client(user, ssh_config=self.sshd.admit(user, forced_command(self.server, user)))
        copy = machine.clone(self.url, "copy")
        machine.annex(copy, "get", "-q", "file")
        (copy / "new").write_bytes(user.encode())
        machine.annex(copy, "add", "-q", "new")
        return machine, copy

    def check(self, user: str, operation: str, allowed: bool) -> None:
        argv = ("access", "check", user, self.served, operation, "--config", self.config)
        self.annexd_says(*argv, ok=allowed)

    def test_readers(self) -> None:
        machine, copy = self.comes("bob")
        self.assertIn(READ_ONLY, machine.annex(copy, "copy", "--to", "origin", "new", ok=False))
        self.assertIn(READ_ONLY, machine.annex(copy, "drop", "--from", "origin", "file", "--force", ok=False))
        self.assertIn(READ_ONLY, machine.git(copy, "push", "origin", "HEAD:x", ok=False))
        said = machine.annex(copy, "testremote", "origin", "--ensure-readonly", "file", seconds=120)
        self.assertIn(b"tests passed", said[-200:])
        # The copy there is locked meanwhile, which is a reader's right.
        machine.annex(copy, "drop", "-q", "file")
        self.assertEqual({self.key}, self.served_keys())
        for operation in ("get", "lock", "pull", "put", "remove", "push"):
            self.check("bob", operation, operation in ("get", "lock", "pull"))
        refused = [e for e in self.audit() if e["principal"] == "bob" and e["result"] == "refused"]
        self.assertEqual({"PUT", "REMOVE", "refused"}, {event["event"] for event in refused})
        self.assertEqual({"127.0.0.1"}, {event["address"] for event in refused})
        for event in refused:
            self.assertTrue(event["reason"].endswith(f"write access denied ({self.config}:18)"), event)

    def test_backups(self) -> None:
        machine, copy = self.comes("nas")
        machine.annex(copy, "copy", "-q", "--to", "origin", "new")
        self.assertIn(
            APPEND_ONLY, machine.annex(copy, "drop", "--from", "origin", "file", "--force", ok=False)
        )
        self.assertIn(
            APPEND_ONLY, machine.annex(copy, "move", "--from", "origin", "new", "--force", ok=False)
        )
        self.assertIn(PUSH, machine.git(copy, "push", "origin", "HEAD:x", ok=False))
        machine.annex(copy, "drop", "-q", "file")
        self.assertEqual({self.key, machine.key(copy, "new")}, self.served_keys())
        for operation in ("get", "lock", "put", "remove", "push"):
            self.check("nas", operation, operation in ("get", "lock", "put"))
        events = [(e["event"], e["result"]) for e in self.audit() if e["principal"] == "nas" and e["key"]]
        self.assertEqual(("PUT", "done"), events[0])
        self.assertEqual({("REMOVE", "refused")}, set(events[1:]))

    def served_keys(self) -> set[bytes]:
        return {path.name.encode() for path in self.git_dir.glob("annex/objects/*/*/*/*") if path.is_file()}


class Tokens(_Configured):
    def test_the_daemon_hears_of_them(self) -> None:
        options = ("--config", self.config, *self.annexd().daemon.socket_option)
        self.annexd_says("token", "add", "nas", "--repo", self.served, "--mode", "append-only", *options)
        self.assertEqual(("token-added", "token:nas"), self.last())
        self.annexd_says("token", "revoke", "nas", *options)
        self.assertEqual(("token-revoked", "token:nas"), self.last())
        [token] = json.loads(self.annexd_says("token", "list", "--json", *options))
        self.assertEqual((str(self.served), False), (token["repository"], token["good"]))

    def last(self) -> tuple[str, str]:
        event = self.audit()[-1]
        return event["event"], event["principal"]

    def test_the_audit_is_rotated(self) -> None:
        options = ("--config", self.config, *self.annexd().daemon.socket_option)
        self.annexd_says("token", "add", "a", "--repo", self.served, *options)
        audit = self.directory / "daemon" / "audit"
        audit.rename(audit.with_suffix(".1"))
        self.annexd().daemon.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
        until(audit.exists, "a new audit is begun")
        self.annexd_says("token", "revoke", "a", *options)
        self.assertEqual(["token-revoked"], [event["event"] for event in self.audit()])

    def test_killed_at_any_moment(self) -> None:
        """Many at once, a third of them killed: what was acknowledged is there, and all can be read."""
        daemon = self.annexd().daemon
        argv = [annexd_program("annexd"), "token", "add", "--config", self.config, *daemon.socket_option]
        running = [
            subprocess.Popen(
                [*argv, f"t{number}", "--repo", self.served],
                env=daemon.env,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            for number in range(24)
        ]
        dice = random.Random(3)
        for process in dice.sample(running, 8):
            time.sleep(dice.uniform(0, 0.3))
            process.kill()
        printed = {f"t{number}": process.communicate(timeout=60)[0] for number, process in enumerate(running)}
        tokens = TokenFile(str(self.directory / "daemon" / "state")).read()
        names = [token.name for token in tokens]
        self.assertEqual(len(names), len(set(names)))
        self.assertLessEqual({name for name, secret in printed.items() if secret}, set(names))
        self.assertGreaterEqual(len(names), 16)
        code, said = run_code(*argv, "last", "--repo", self.served, cwd=self.directory, env=daemon.env)
        self.assertEqual(0, code, said)


del Scene, SshScene, _Configured
