"""`annexd pair` and the `wormhole` program, by a mailbox server on this machine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from annexd.app.token_file import TokenFile, digest_of
from tests.support.annex import Machine
from tests.support.processes import run, run_code, start, stop_group
from tests.support.programs import CHECKOUT, annexd_program

ADDRESS = "annex.example.org:7001"


class Pairing(SynchronousTestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory(prefix="annexd-pair-")
        self.addCleanup(scratch.cleanup)
        self.directory = Path(scratch.name)
        host = Machine(self.directory / "host")
        self.repository = host.new("x", bare=True)
        self.env = {**host.env, "ANNEXD_SOCKET": str(self.directory / "s")}
        self.config = self.directory / "annexd.toml"
        self.config.write_text(
            f'[daemon]\nstate-directory = "{self.directory}/state"\n'
            f'[[repository]]\npath = "{self.repository}"\n'
        )
        mailbox = start(*(sys.executable, "-m", "tests.support.mailbox"), cwd=CHECKOUT, env=self.env)
        self.addCleanup(self.end, mailbox)
        self.relay = self.line(mailbox)

    def end(self, process: subprocess.Popen[bytes]) -> None:
        stop_group(process)
        assert process.stdout is not None
        process.stdout.close()

    def line(self, process: subprocess.Popen[bytes]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().decode().strip()

    def pair(self) -> tuple[subprocess.Popen[bytes], str]:
        """With the code that it shows."""
        process = start(
            *(annexd_program("annexd"), "pair", "bob", "--repo", self.repository, "--expires", "1d"),
            *("--address", ADDRESS, "--relay-url", self.relay, "--wait", "60s", "--config", self.config),
            cwd=self.directory,
            env=self.env,
        )
        self.addCleanup(self.end, process)
        return process, self.line(process).rpartition(" ")[2]

    def receive(self, code: str, ok: bool = True) -> str:
        program = Path(sys.prefix) / "bin" / "wormhole"
        argv = (program, "--relay-url", self.relay, "receive", code)
        return run(*argv, cwd=self.directory, env=self.env, ok=ok).decode()

    def test_the_other_side_gets_the_line(self) -> None:
        process, code = self.pair()
        received = self.receive(code)
        self.assertEqual(0, process.wait(60))
        found = re.search(
            rf"^p2p-annex::annexd:{ADDRESS},label=x-[0-9a-f]+:([0-9a-f]+)$", received, re.MULTILINE
        )
        assert found is not None, received
        [token] = TokenFile(str(self.directory / "state")).read()
        self.assertEqual((digest_of(found[1].encode()), "bob"), (token.digest, token.name))
        assert process.stdout is not None
        self.assertNotIn(found[1].encode(), process.stdout.read())

    def test_a_wrong_code(self) -> None:
        process, code = self.pair()
        number = code.partition("-")[0]
        self.receive(f"{number}-wrong-words", ok=False)
        self.assertEqual(1, process.wait(60))
        self.assertFalse((self.directory / "state" / "tokens.json").exists())

    def test_interrupted(self) -> None:
        process, _ = self.pair()
        process.terminate()
        self.assertEqual(1, process.wait(60))
        code, said = run_code(
            *(annexd_program("annexd"), "token", "list", "--json", "--config", self.config),
            cwd=self.directory,
            env=self.env,
        )
        self.assertEqual((0, []), (code, json.loads(said)))
