"""The daemon in the hands of twistd: what cannot be served, and the log."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile

from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from annexd.app.sockets import Claim
from annexd.tap import Options, makeService


class Case(TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = scratch.name
        self.socket = os.path.join(scratch.name, "s")
        self.repository = os.path.join(scratch.name, "r")
        subprocess.run(["git", "init", "-q", "--bare", self.repository], check=True)

    def options(self, *arguments: str, **twistd: object) -> Options:
        options = Options()
        options.parent = {"logger": "elsewhere", **twistd}
        options.parseOptions(["--socket", self.socket, *arguments])  # type: ignore[no-untyped-call]
        return options


class Impossible(Case):
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


class Log(Case):
    async def test_another_file_begins(self) -> None:
        """SIGUSR1, as those who rotate the logs of twistd send it, ended the daemon."""
        from twisted.internet import reactor

        self.addCleanup(signal.signal, signal.SIGUSR1, signal.signal(signal.SIGUSR1, signal.SIG_DFL))
        makeService(self.options(self.repository, logger=None, rundir=self.directory))
        self.assertNotEqual(signal.SIG_DFL, signal.getsignal(signal.SIGUSR1))
        os.kill(os.getpid(), signal.SIGUSR1)
        await deferLater(reactor, 0)  # type: ignore[arg-type]
        self.assertEqual(["twistd.log", "twistd.log.1"], sorted(os.listdir(self.directory))[1:])
