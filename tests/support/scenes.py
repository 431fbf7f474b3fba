"""A served repository, a server, an sshd and clients: what most scenarios begin with."""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from pathlib import Path

from twisted.trial import unittest

from tests.support.annex import Machine, litter, objects
from tests.support.p2p import Dialogue, shell_command
from tests.support.processes import Failed, until
from tests.support.programs import NEWEST
from tests.support.servers import Annexd, Server, chosen, forced_command
from tests.support.sshd import Sshd

# that the content of a removed key is nowhere is no fault of the server
FORGOTTEN = re.compile(rb"No known copies exist of|^fsck: \d+ failed$|^$")

_TIDY_SECONDS = 5.0


class Scene(unittest.SynchronousTestCase):
    """
    A test with one served repository.

    ``host`` is the machine that has it (``served``, whose git directory is
    ``git_dir``) and on which ``server`` runs.
    """

    bare = True
    settings: tuple[str, ...] = ()

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory(prefix="annexd-scene-", ignore_cleanup_errors=True)
        self.addCleanup(scratch.cleanup)
        self.directory = Path(scratch.name)
        self.host = Machine(self.directory / "host")
        self.served = self.host.new(str(self.place()), bare=self.bare, settings=self.settings)
        self.git_dir = self.served if self.bare else self.served / ".git"
        self.uuid = self.host.uuid(self.served)
        self.server = self.make_server()
        self.server.start()
        self.addCleanup(self.server.stop)

    def place(self) -> Path:
        """Where the served repository shall be."""
        return self.directory / "host" / "served"

    def make_server(self) -> Server:
        return chosen(Path(self.host.env["HOME"]), self.directory / "daemon", self.served)

    def annexd(self) -> Annexd:
        """The server, where a test is about annexd alone."""
        if not isinstance(self.server, Annexd):
            raise AssertionError("this test is about annexd")
        return self.server

    def dialogue(self, server: Server | None = None) -> Dialogue:
        """A session by hand, without ssh; closed when the test is over."""
        dialogue = self.open_session(server)
        self.addCleanup(dialogue.close)
        return dialogue

    def open_session(self, server: Server | None = None) -> Dialogue:
        """The same, to be closed by whoever calls; from any thread."""
        server = server or self.server
        return Dialogue(server.command(), server.env(), shell_command(self.served, self.uuid.decode()))

    def assert_sound(self, *, but: re.Pattern[bytes] = FORGOTTEN) -> None:
        """
        The served repository has nothing that fsck would have to mend.

        Each location log says of it what is so, and no unfinished work lies
        about.  Lines of fsck in which ``but`` is found mean nothing.
        """
        wrong = self.wrong_logs()
        self.assertEqual(wrong, {}, "location logs that do not say what is so")
        _, said = self.host.tries(self.served, "fsck", "--all", "--quiet", seconds=600)
        self.assertEqual([line for line in said.splitlines() if not but.search(line)], [])
        self.host.git(self.served, "fsck", "--strict", "--no-dangling", "--no-progress", seconds=600)

    def wrong_logs(self) -> dict[str, str]:
        here = objects(self.git_dir)
        logged = set()
        _, said = self.host.tries(self.served, "whereis", "--all", "--json", seconds=600)
        for line in filter(lambda line: line.startswith(b"{"), said.splitlines()):
            entry = json.loads(line)
            if any(place["uuid"].encode() == self.uuid for place in entry["whereis"]):
                logged.add(key_file(entry["key"].encode()))
        wrong = {repr(key): "here, but not in the log" for key in here - logged}
        return wrong | {repr(key): "in the log, but not here" for key in logged - here}

    def assert_tidy(self, *kinds: str) -> None:
        """
        Nothing unfinished is left but these kinds of it (see `litter`), or
        will be in a moment: a client may be gone before its session is over.
        """

        def left() -> dict[str, list[str]]:
            return {kind: names for kind, names in litter(self.git_dir).items() if kind not in kinds}

        with contextlib.suppress(Failed):
            until(lambda: not left(), "nothing is left", _TIDY_SECONDS)
        self.assertEqual(left(), {})


class SshScene(Scene):
    """The same behind an sshd, with clients; ``ssh_config`` is that of a user with all rights."""

    def setUp(self) -> None:
        super().setUp()
        self.open_ssh()
        self.ssh_config = self.sshd.admit("alice", forced_command(self.server))
        self.url = f"ssh://gateway{self.served}"

    def open_ssh(self) -> None:
        """Have ``sshd`` let clients in to ``server``."""
        self.sshd = Sshd(self.directory / "sshd")
        self.sshd.start()
        self.addCleanup(self.sshd.stop)

    def client(self, name: str = "client", version: str = NEWEST, ssh_config: Path | None = None) -> Machine:
        return Machine(self.directory / name, version, ssh_config or self.ssh_config)


def key_file(key: bytes) -> bytes:
    """The name of a key's file."""
    escapes = {b"&": b"&a", b"%": b"&s", b":": b"&c", b"/": b"%"}
    return re.sub(rb"[&%:/]", lambda found: escapes[found[0]], key)
