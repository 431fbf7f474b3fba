"""A tor that annexd starts, with programs that are none."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import Unavailable
from annexd.transports.onion_process import TorProcess


class Process:
    """A process transport, and what is done to it."""

    pid = 4711
    gone = False

    def __init__(self) -> None:
        self.signals: list[str] = []

    def closeStdin(self) -> None:
        pass

    def signalProcess(self, name: str) -> None:
        if self.gone:
            raise ProcessExitedAlready
        self.signals.append(name)


class Reactor(Clock):
    def __init__(self) -> None:
        super().__init__()
        self.process = Process()
        self.spawned: list[tuple[Any, ...]] = []

    def spawnProcess(self, *arguments: Any, **more: Any) -> Process:
        self.spawned.append(arguments)
        return self.process


class Processes(SynchronousTestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        program = os.path.join(scratch.name, "tor")
        with open(os.open(program, os.O_WRONLY | os.O_CREAT, 0o700), "w") as file:
            file.write("#!/bin/sh\n")
        self.reactor = Reactor()
        self.tor = TorProcess(self.reactor, program, "/torrc")
        self.addCleanup(lambda: self.assertEqual(self.reactor.getDelayedCalls(), []))

    def exit(self, error: Exception) -> list[str]:
        with capturedLogs() as events:
            self.tor.processExited(Failure(error))
        return [str(formatEvent(event)) for event in events]

    def test_how_it_is_started(self) -> None:
        [(protocol, path, argv, environment)] = self.reactor.spawned
        self.assertIs(protocol, self.tor)
        self.assertEqual((path, argv[0]), (argv[0], shutil.which("setsid")))
        self.assertEqual(argv[2:], ["--defaults-torrc", "/dev/null", "-f", "/torrc"])
        self.assertNotIn("ANNEXD_SOCKET", environment)
        self.exit(ProcessDone(0))

    def test_no_program(self) -> None:
        error = self.assertRaises(Unavailable, TorProcess, self.reactor, "no-tor-at-all", "/torrc")
        self.assertIn("no-tor-at-all is not installed", str(error))

    def test_its_complaints(self) -> None:
        """The first one is the reason, however it is cut into pieces."""
        said = b"Nov 28 11:04:29.904 [warn] It is locked.\nNov 28 11:04:29.904 [err] I give up.\n"
        with capturedLogs() as events:
            for byte in said + b"Nov 28 11:04:29.904 [notice] Bye.\n\n":
                self.tor.outReceived(bytes([byte]))
        shown = [(event["log_level"].name, formatEvent(event)) for event in events]
        self.assertEqual(
            shown, [("warn", "tor: It is locked."), ("warn", "tor: I give up."), ("debug", "tor: Bye.")]
        )
        self.tor.check()
        self.assertEqual(len(self.exit(ProcessTerminated(1))), 1)
        error = self.assertRaises(Unavailable, self.tor.check)
        self.assertEqual(str(error), "tor has ended: It is locked.")

    def test_end(self) -> None:
        ending = [Deferred.fromCoroutine(self.tor.end()) for _ in range(2)]
        self.assertEqual(self.reactor.process.signals, ["TERM"])
        self.assertNoResult(ending[0])
        self.assertEqual(self.exit(ProcessDone(0)), [])
        for one in ending:
            self.successResultOf(one)
        self.successResultOf(Deferred.fromCoroutine(self.tor.end()))

    def test_one_that_does_not_end(self) -> None:
        self.tor.leave()
        self.reactor.advance(5)
        self.assertEqual(self.reactor.process.signals, ["TERM", "KILL"])
        self.exit(ProcessTerminated(None, 9))

    def test_nobody_waits_any_more(self) -> None:
        ending = Deferred.fromCoroutine(self.tor.end())
        ending.cancel()
        self.failureResultOf(ending)
        self.exit(ProcessDone(0))

    def test_gone_before_we_know(self) -> None:
        self.reactor.process.gone = True
        self.tor.leave()
        self.exit(ProcessDone(0))
