"""Clients that are interrupted again and again in the middle of a transfer, and try again."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

from tests.support.annex import Machine
from tests.support.load import content_of
from tests.support.p2p_programs import PROGRAM
from tests.support.processes import run, running, start, stop_group, until
from tests.support.scenes import SshScene
from tests.support.servers import Annexd
from tests.support.tls_scenes import TlsScene


class Interruptions(SshScene):
    """
    Each try is ended at a random point, politely or not, and the next one goes on.

    Nothing is left of the tries but the partial: no process, no descriptor,
    no lock, no temporary file.
    """

    rounds = 4
    megabytes = 200
    seconds = 300.0
    remote = "origin"

    def setUp(self) -> None:
        super().setUp()
        self.one = self.client("one")
        self.first = self.cloned(self.one, "first")
        with open(self.first / "large", "wb") as large:
            for number in range(self.megabytes):
                large.write(content_of(number, 1 << 20))
        self.one.annex(self.first, "add", "-q", "large", seconds=self.seconds)
        self.one.annex(self.first, "sync", "-q", "--no-content", "-m", "large", "origin")
        self.key = self.one.key(self.first, "large").decode()
        self.files_before = self._open_files()

    def cloned(self, machine: Machine, name: str) -> Path:
        return machine.clone(self.url, name)

    def test_upload(self) -> None:
        partial = self.git_dir / "annex" / "tmp" / self.key
        sizes = self._interrupt(self.one, self.first, ("copy", "--to", self.remote, "large"), partial)
        self.assertTrue(any(sizes), "no try got anywhere")
        self.assertEqual(sizes, sorted(sizes), "a try began anew instead of going on")
        self.assert_tidy("partial", "journal")
        self.one.annex(self.first, "copy", "-q", "--to", self.remote, "large", seconds=self.seconds)
        self._finish()

    def test_download(self) -> None:
        self.one.annex(self.first, "copy", "-q", "--to", self.remote, "large", seconds=self.seconds)
        two = self.client("two")
        second = self.cloned(two, "second")
        partial = second / ".git" / "annex" / "tmp" / self.key
        get = ("get", "--from", self.remote, "large")
        sizes = self._interrupt(two, second, get, partial)
        self.assertTrue(any(sizes), "no try got anywhere")
        self.assertEqual(sizes, sorted(sizes), "a try began anew instead of going on")
        two.annex(second, *get, "-q", seconds=self.seconds)
        self.assertEqual((second / "large").stat().st_size, self.megabytes << 20)
        self._finish()

    def _interrupt(self, machine: Machine, repo: Path, command: tuple[str, ...], partial: Path) -> list[int]:
        """Try and interrupt ``rounds`` times; the size of the partial after each."""
        chance = random.Random(self.rounds)
        sizes = []
        for number in range(self.rounds):
            size = partial.stat().st_size if partial.exists() else 0
            more = chance.uniform(0, ((self.megabytes << 20) - size) / (self.rounds - number + 1))
            process = start("git-annex", *command, cwd=repo, env=machine.env)
            end = time.monotonic() + self.seconds
            while process.poll() is None and time.monotonic() < end:
                if partial.exists() and partial.stat().st_size >= size + more:
                    break
                time.sleep(0.002)
            stop_group(process, chance.choice((signal.SIGINT, signal.SIGTERM, signal.SIGKILL)))
            self._assert_no_sessions()
            sizes.append(partial.stat().st_size if partial.exists() else 0)
        return sizes

    def _assert_no_sessions(self) -> None:
        """What served the interrupted client ends by itself."""
        until(lambda: not self._serving(), "nothing serves the interrupted client any more", 60)

    def _serving(self) -> list[int]:
        return [pid for pid in self.sshd.sessions() if running(pid) and not _is_sshd(pid)]

    def _open_files(self) -> int:
        return len(self.server.daemon.open_files()) if isinstance(self.server, Annexd) else 0

    def _finish(self) -> None:
        self._assert_no_sessions()
        # what a repository keeps open is opened by the first use, not by each
        until(lambda: self._open_files() <= self.files_before + 8, "the daemon closes what it opened")
        self.assert_sound()
        self.assert_tidy()


class OverTls(TlsScene, Interruptions):
    """Git over ssh, content over TLS."""

    rounds = 3
    megabytes = 100
    remote = "peer"

    def cloned(self, machine: Machine, name: str) -> Path:
        repo = super().cloned(machine, name)
        (machine.directory / "tools" / PROGRAM.name).symlink_to(PROGRAM)
        self.port = self.port_of("tls")
        line = f"p2p-annex::annexd:{self.address}:{self.secret}\n".encode()
        argv = ("git-annex", "p2p", "--link", "--name", self.remote)
        run(*argv, cwd=repo, env=machine.env, stdin=line)
        return repo

    def _serving(self) -> list[int]:
        """The numbers of the sessions."""
        return [session["id"] for session in self.annexd().daemon.status()["sessions"]]


def _is_sshd(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() in ("sshd", "sshd-session")
    except OSError:
        return True
