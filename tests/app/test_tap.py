"""What twistd is told when the daemon cannot start."""

from __future__ import annotations

import os
import subprocess
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from annexd.app.sockets import Claim
from annexd.tap import Options, makeService


class Impossible(SynchronousTestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.socket = os.path.join(scratch.name, "s")
        self.repository = os.path.join(scratch.name, "r")
        subprocess.run(["git", "init", "-q", "--bare", self.repository], check=True)

    def options(self, *arguments: str, **twistd: object) -> Options:
        options = Options()
        options.parent = {"logger": "elsewhere", **twistd}
        options.parseOptions(["--socket", self.socket, *arguments])  # type: ignore[no-untyped-call]
        return options

    def test_what_is_wrong_with_the_configuration(self) -> None:
        error = self.assertRaises(SystemExit, makeService, self.options("/nowhere"))
        self.assertEqual("annexd: /nowhere is not a git repository", str(error))

    def test_a_socket_that_is_taken(self) -> None:
        """On a terminal a sentence, not a traceback; behind it twistd looks for an exception."""
        taken = Claim(self.socket)
        self.addCleanup(taken.release)
        for nodaemon, kind in ((True, SystemExit), (False, Exception)):
            service = makeService(self.options(self.repository, nodaemon=nodaemon))
            error = self.assertRaises(kind, service.startService)
            self.assertIn(f"another annexd serves on {self.socket}", str(error))
