"""git-annex that waits for changes at the other end of TLS, and gets them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.interop.test_p2p_client import client, link
from tests.support.annex import Machine
from tests.support.processes import descendants, stop_all, until
from tests.support.tls_scenes import TlsScene

_SECONDS = 120.0  # for what takes one


class Changes(TlsScene):
    """``here`` waits, ``there`` makes changes; both have the served repository as ``peer``."""

    def setUp(self) -> None:
        super().setUp()
        self.url = f"p2p-annex::annexd:{self.address}"
        self.waiting, self.here = self.join("waiting")
        self.working, self.there = self.join("working")
        self.working.files(self.there, "first", 1)
        self.sync(self.working, self.there)
        self.sync(self.waiting, self.here)

    def join(self, name: str) -> tuple[Machine, Path]:
        machine = client(self.directory / name)
        repo = machine.new(name)
        link(machine, repo, self.url, self.secret)
        return machine, repo

    def sync(self, machine: Machine, repo: Path) -> None:
        machine.annex(repo, "sync", "-q", "--no-content", "--allow-unrelated-histories")

    def try_to_sync(self) -> bool:
        """Of two that push at the same time one is refused."""
        argv = ("sync", "-q", "--content", "--allow-unrelated-histories")
        return self.working.tries(self.there, *argv)[0] == 0

    def wait_here(self, verb: str) -> subprocess.Popen[bytes]:
        """git-annex in the foreground, until it hears of every change."""
        process = subprocess.Popen(
            ["git-annex", verb, "--foreground"],
            cwd=self.here,
            env=self.waiting.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self.addCleanup(self.stop, process)
        until(self.is_waiting, "it waits for changes", _SECONDS)
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        left = [process.pid, *descendants(process.pid)]
        with process:
            stop_all(left)

    def is_waiting(self) -> bool:
        return any(session["verb"] == "NOTIFYCHANGE" for session in self.annexd().daemon.status()["sessions"])

    def refs(self, machine: Machine, repo: Path, pattern: str) -> dict[bytes, bytes]:
        """By their names below ``pattern``."""
        said = machine.git(repo, "for-each-ref", "--format=%(refname:lstrip=-2) %(objectname)", pattern)
        return dict(line.rsplit(b" ", 1) for line in said.splitlines())  # type: ignore[misc]

    def test_remotedaemon(self) -> None:
        """It fetches each time that something has been pushed, and tells who started it."""
        daemon = self.wait_here("remotedaemon")
        for name in ("second", "third"):
            self.working.files(self.there, name, 1)
            self.sync(self.working, self.there)
            self.assertTrue(self.pushed())
            until(lambda: self.fetched() == self.pushed(), "it has fetched", _SECONDS)
            until(self.is_waiting, "it waits again", _SECONDS)
        assert daemon.stdout is not None
        said = daemon.stdout.read()
        for line in ("CONNECTED {}", "SYNCING {}", "DONESYNCING {} 1"):
            self.assertIn(line.format(self.url).encode() + b"\n", said)

    def pushed(self) -> dict[bytes, bytes]:
        return self.refs(self.host, self.served, "refs/heads/synced/")

    def fetched(self) -> dict[bytes, bytes]:
        return self.refs(self.waiting, self.here, "refs/remotes/peer/synced/")

    def test_assistant(self) -> None:
        """What others store comes by itself, and what is made here goes there."""
        self.wait_here("assistant")
        self.working.files(self.there, "second", 2)
        until(self.try_to_sync, "what was made there is stored", _SECONDS)
        until((self.here / "second" / "000001").exists, "content has come", _SECONDS)
        (self.here / "mine").write_text("mine")

        def has_come() -> bool:
            """Before its content a file has the name of that in it."""
            self.try_to_sync()
            return (self.there / "mine").exists() and (self.there / "mine").read_text() == "mine"

        until(has_come, "what was made here is there", _SECONDS)
