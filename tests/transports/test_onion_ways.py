"""A tor that runs, and one that annexd starts, up to where they are spoken with."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import Unavailable
from annexd.transports.onion_control import Service
from annexd.transports.onion_key import OnionKey
from annexd.transports.onion_ways import OwnFiles, OwnTor, RunningTor
from tests.transports.test_onion_process import Process

HOSTNAME = "a" * 56 + ".onion"


class Reactor(MemoryReactorClock):
    def __init__(self) -> None:
        super().__init__()
        self.processes: list[tuple[Any, Process]] = []

    def spawnProcess(self, protocol: Any, *arguments: Any, **more: Any) -> Process:
        self.processes.append((protocol, Process()))
        return self.processes[-1][1]


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = scratch.name
        self.reactor = Reactor()

    def path(self, name: str) -> str:
        return os.path.join(self.directory, name)


class Own(Case):
    def setUp(self) -> None:
        super().setUp()
        with open(os.open(self.path("program"), os.O_WRONLY | os.O_CREAT, 0o700), "w") as file:
            file.write("#!/bin/sh\n")
        self.tor = self.make(self.path("program"))
        self.told: Any = object()

    def make(self, program: str) -> OwnTor:
        files = OwnFiles(self.directory, "SocksPort 0\n")
        return OwnTor(self.reactor, program, files, HOSTNAME, 7001)

    def connect(self) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.tor.connect(self.told))

    def test_started(self) -> None:
        """Whatever control socket is there is not its own; it is asked as soon as there is one."""
        with open(self.path("control"), "w"):
            pass
        connecting = self.connect()
        self.assertFalse(os.path.exists(self.path("control")))
        with open(self.path("torrc")) as file:
            self.assertEqual(file.read(), f"__OwningControllerProcess {os.getpid()}\nSocksPort 0\n")
        self.reactor.advance(1)
        self.assertEqual(self.reactor.unixClients, [])
        with open(self.path("control"), "w"):
            pass
        self.reactor.advance(0.1)
        self.assertEqual([client[0] for client in self.reactor.unixClients], [self.path("control")])
        connecting.cancel()
        self.failureResultOf(connecting)

    def test_given_up(self) -> None:
        """It is told to end; the next one waits until it has."""
        connecting = self.connect()
        connecting.cancel()
        self.failureResultOf(connecting)
        [(protocol, process)] = self.reactor.processes
        self.assertEqual(process.signals, ["TERM"])
        again = self.connect()
        self.assertEqual(len(self.reactor.processes), 1)
        protocol.processExited(Failure(ProcessDone(0)))
        self.assertEqual(len(self.reactor.processes), 2)
        again.cancel()
        self.failureResultOf(again)

    def test_ends_at_once(self) -> None:
        connecting = self.connect()
        [(protocol, _)] = self.reactor.processes
        protocol.outReceived(b"Nov 28 11:04:29.904 [err] Reading config failed.\n")
        protocol.processExited(Failure(ProcessTerminated(1)))
        self.reactor.advance(0.1)
        error = self.failureResultOf(connecting, Unavailable).value
        self.assertEqual(str(error), "tor has ended: Reading config failed.")
        self.successResultOf(Deferred.fromCoroutine(self.tor.end()))

    def test_no_program(self) -> None:
        self.tor = self.make("no-tor-at-all")
        self.assertIn("not installed", str(self.failureResultOf(self.connect(), Unavailable).value))
        self.successResultOf(Deferred.fromCoroutine(self.tor.end()))

    def test_no_place(self) -> None:
        self.directory = self.path("missing")
        self.tor = self.make("sh")
        self.assertIn("torrc: No such file", str(self.failureResultOf(self.connect(), Unavailable).value))


class Running(Case):
    def connect(self, password: str | None) -> Deferred[Any]:
        control, socks = (UNIXClientEndpoint(self.reactor, f"/{name}") for name in ("control", "socks"))
        service = Service(OnionKey(HOSTNAME, b"k" * 64), 7001, "/s")
        tor = RunningTor(self.reactor, control, socks, service, password)
        told: Any = object()
        return Deferred.fromCoroutine(tor.connect(told))

    def test_a_password_that_cannot_be_read(self) -> None:
        error = self.failureResultOf(self.connect(self.path("missing")), Unavailable).value
        self.assertEqual(str(error), f"{self.path('missing')}: No such file or directory")
        with open(self.path("binary"), "wb") as file:
            file.write(b"\xff\n")
        error = self.failureResultOf(self.connect(self.path("binary")), Unavailable).value
        self.assertIn("it is not UTF-8", str(error))

    def test_a_password(self) -> None:
        with open(self.path("password"), "w") as file:
            file.write("secret\nmore\n")
        connecting = self.connect(self.path("password"))
        self.assertEqual(self.reactor.unixClients[0][0], "/control")
        connecting.cancel()
        self.failureResultOf(connecting)
