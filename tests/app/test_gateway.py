"""The daemon's life, with a pretended reactor."""

from __future__ import annotations

import io
import os
import signal
import tempfile
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from twisted.application.service import Application, IService
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver, capturedLogs
from twisted.python.components import Componentized
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.admin import Sessions
from annexd.app.gateway import Gateway, Parts
from annexd.app.listen import Listen
from annexd.app.logs import printer
from annexd.app.notify import Notify
from annexd.app.plan import Current, Plan
from annexd.app.ports import Change
from annexd.errors import ConfigError
from annexd.flow.workers import ThreadedWorkers
from annexd.router.directory import Directory
from annexd.transports.handoff import Door, own_uids
from tests.support.steady_disks import SteadyDisks

CONFIG = '[deadlines]\ndrain = 10\n[[repository]]\npath = "/srv/a"\n'


class Reactor(MemoryReactorClock):
    """Runs from the beginning; threads are its own."""

    def callFromThread(self, function: Callable[..., Any], *args: Any) -> None:
        function(*args)


class Told(Notify):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def _send(self, message: str) -> None:
        self.messages.append(message)


class Listener:
    def __init__(self, problem: Exception | None = None) -> None:
        self.problem = problem
        self.stopping_problem: Exception | None = None
        self.told: list[str] = []
        self.addresses = ["tls:[::]:1"]

    def start(self) -> None:
        self.told.append("start")
        if self.problem is not None:
            raise self.problem

    def prepare(self, wanted: Listen) -> Change:
        self.told.append("prepare")
        if self.problem is not None:
            raise self.problem
        return Change(lambda: self.told.append("commit"), lambda: self.told.append("drop"))

    async def stop(self) -> None:
        self.told.append("stop")
        if self.stopping_problem is not None:
            raise self.stopping_problem

    async def close(self) -> None:
        self.told.append("close")


class Attendant(Listener):
    def __init__(self, told: list[str]) -> None:
        super().__init__()
        self.told = told

    def reload(self) -> None:
        self.told.append("reload")


class Life(SynchronousTestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.file = os.path.join(scratch.name, "annexd.toml")
        self.socket = os.path.join(scratch.name, "run", "s")
        self.write(CONFIG)
        self.reactor = Reactor()
        self.notify = Told()
        self.said: list[str] = []
        self.gateway = self.make()
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            self.addCleanup(signal.signal, number, signal.getsignal(number))

    def write(self, text: str) -> None:
        with open(self.file, "w") as file:
            file.write(text)

    def make(self, plan: Plan | None = None) -> Gateway:
        current = Current(plan or Plan(self.file))
        workers = ThreadedWorkers(self.reactor)
        self.sessions = Sessions(self.reactor, 10)
        self.parts = Parts(
            current=current,
            socket=self.socket,
            workers=workers,
            directory=Directory(
                self.reactor, workers.disk, self.nothing, current.config.served, SteadyDisks(workers.disk)
            ),
            sessions=self.sessions,
            door=Door(self.reactor, self.nothing, {0}, 30.0),
            notify=self.notify,
            printer=printer("human", "info", {}, io.StringIO()),
        )
        gateway = Gateway(self.reactor, self.parts)
        gateway.when_ready = lambda: self.said.append("ready")
        return gateway

    async def nothing(self, _: object) -> Any:
        return None

    def start(self) -> None:
        self.gateway.startService()
        self.run_reactor()

    def run_reactor(self) -> None:
        for function, args, kwargs in self.reactor.whenRunningHooks:
            function(*args, **kwargs)
        self.reactor.advance(0)

    def stop(self) -> Deferred[None]:
        return self.gateway.stopService()

    def test_ready_when_it_runs(self) -> None:
        self.gateway.startService()
        self.assertEqual(([], []), (self.said, self.notify.messages))
        [(path, door, backlog, mode, _)] = self.reactor.unixServers
        self.assertEqual((self.socket, self.parts.door, 0o600), (path, door, mode))
        self.run_reactor()
        self.assertEqual((["ready"], ["READY=1"]), (self.said, self.notify.messages))
        self.assertEqual([f"unix:{self.socket}"], self.gateway.listeners())
        self.successResultOf(self.stop())

    def test_listeners(self) -> None:
        """They start, reload and stop with the daemon, and are named beside the socket."""
        listener = Listener()
        self.parts = replace(self.parts, listeners=(listener,))
        self.gateway = Gateway(self.reactor, self.parts)
        self.start()
        self.assertEqual([f"unix:{self.socket}", "tls:[::]:1"], self.gateway.listeners())
        self.gateway.reload()
        self.successResultOf(self.stop())
        self.assertEqual(["start", "prepare", "commit", "stop", "close"], listener.told)

    def test_listener_that_cannot_be_changed(self) -> None:
        """Then nothing is."""
        first, second = Listener(), Listener()
        self.parts = replace(self.parts, listeners=(first, second))
        self.gateway = Gateway(self.reactor, self.parts)
        self.start()
        before = self.parts.current.config
        self.write(CONFIG + "[daemon]\nmax-sessions = 3\n")
        second.problem = ConfigError("the port is taken")
        error = self.assertRaises(ConfigError, self.gateway.reload)
        self.assertEqual("the port is taken", str(error))
        self.assertEqual(["start", "prepare", "drop"], first.told)
        self.assertIs(before, self.parts.current.config)
        self.assertEqual(10, self.sessions.most)
        second.problem = None
        self.gateway.reload()
        self.assertEqual((3, "commit"), (self.sessions.most, second.told[-1]))
        self.successResultOf(self.stop())

    def test_attendants(self) -> None:
        """Before the first comes until after the last has left."""
        listener = Listener()
        attendant = Attendant(listener.told)
        self.gateway = Gateway(
            self.reactor, replace(self.parts, listeners=(listener,), attendants=(attendant,))
        )
        self.start()
        self.assertEqual([f"unix:{self.socket}", "tls:[::]:1"], self.gateway.listeners())
        self.gateway.reload()
        activity = self.open_session()
        activity.begin("PUT", b"K")
        stopping = self.stop()
        self.assertEqual(["start", "start", "prepare", "reload", "commit", "stop"], listener.told)
        activity.end("done")
        self.reactor.advance(1)
        self.successResultOf(stopping)
        self.assertEqual(["close", "stop"], listener.told[6:])

    def test_attendants_of_one_that_cannot_start(self) -> None:
        listener = Listener(ConfigError("the port is taken"))
        attendant = Attendant([])
        self.gateway = Gateway(
            self.reactor, replace(self.parts, listeners=(listener,), attendants=(attendant,))
        )
        self.assertRaises(ConfigError, self.gateway.startService)
        self.assertEqual(["start", "stop"], attendant.told)

    def test_listener_cannot_start(self) -> None:
        """Everything is let go, and the daemon could be started again."""
        first, second = Listener(), Listener(ConfigError("the port is taken"))
        self.gateway = Gateway(self.reactor, replace(self.parts, listeners=(first, second)))
        self.assertRaises(ConfigError, self.gateway.startService)
        self.assertEqual((["start", "stop"], []), (first.told, self.gateway.listeners()))
        self.gateway = self.make()
        self.start()
        self.successResultOf(self.stop())

    def test_listener_that_cannot_stop(self) -> None:
        """What the others and the repositories have to finish does not depend on it."""
        first, second = Listener(), Listener()
        first.stopping_problem = ZeroDivisionError()
        self.parts = replace(self.parts, listeners=(first, second))
        self.gateway = Gateway(self.reactor, self.parts)
        self.start()
        self.open_session()
        self.successResultOf(self.stop())
        self.assertEqual((["start", "stop", "close"], 0), (second.told, len(self.sessions)))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_only_one(self) -> None:
        self.start()
        self.assertRaises(ConfigError, self.make().startService)
        self.successResultOf(self.stop())
        other = self.make()
        other.startService()
        self.successResultOf(other.stopService())

    def test_stop(self) -> None:
        self.start()
        self.successResultOf(self.stop())
        self.assertEqual(["READY=1", "STOPPING=1"], self.notify.messages)
        self.assertEqual([], self.gateway.listeners())

    def test_stop_while_a_disk_hangs(self) -> None:
        """Whatever waits for that is left behind, a moment later."""
        disks: Any = SimpleNamespace(down="", stop=lambda: self.said.append("left"))
        directory: Any = SimpleNamespace(close=self.never)
        self.gateway = Gateway(self.reactor, replace(self.parts, disks=disks, directory=directory))
        self.start()
        stopping = self.stop()
        self.reactor.pump([0.1] * 600)
        self.assertNoResult(stopping)
        disks.down = "the disk has not answered since"
        self.reactor.pump([0.1] * 120)
        self.successResultOf(stopping)
        self.assertEqual(self.said[-1], "left")

    async def never(self) -> None:
        await Deferred()

    def test_stopped_before_it_was_ready(self) -> None:
        self.gateway.startService()
        for function, args, kwargs in self.reactor.whenRunningHooks:
            function(*args, **kwargs)
        self.successResultOf(self.stop())
        self.reactor.advance(0)
        self.assertEqual([], self.said)

    def test_stop_without_a_start(self) -> None:
        self.successResultOf(self.stop())

    def test_reload(self) -> None:
        self.start()
        self.write('[daemon]\nmax-sessions = 3\nlog-level = "debug"\n[[repository]]\npath = "/srv/b"\n')
        with capturedLogs() as events:
            os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual([f"{self.file} is in effect for new sessions"], [e["sentence"] for e in events])
        self.assertEqual((3, True), (self.sessions.most, self.sessions.detailed))
        self.successResultOf(self.stop())

    def test_reload_with_errors(self) -> None:
        self.start()
        self.write("[[repository]]\n")
        with capturedLogs() as events:
            os.kill(os.getpid(), signal.SIGHUP)
        self.assertIn("repository.path is missing", events[0]["error"])
        self.assertRaises(ConfigError, self.gateway.reload)
        self.successResultOf(self.stop())

    def test_reload_of_what_has_to_wait(self) -> None:
        self.write(CONFIG + "[daemon]\ndisk-threads = 3\n")
        self.assertTrue(self.gateway.reload().endswith("; daemon.disk-threads wait for the next start"))

    def test_idle_sessions_end_at_once(self) -> None:
        self.start()
        self.open_session()
        self.successResultOf(self.stop())
        self.assertEqual(["stopped"], self.said[1:])

    def test_busy_ones_when_they_have_done(self) -> None:
        self.start()
        activity = self.open_session()
        activity.begin("PUT", b"K")
        stopping = self.stop()
        self.reactor.pump([1] * 5)
        self.assertNoResult(stopping)
        activity.end("done")
        self.reactor.advance(1)
        self.successResultOf(stopping)
        self.assertEqual(["stopped"], self.said[1:])

    def test_not_for_ever(self) -> None:
        self.start()
        self.open_session().begin("PUT", b"K")
        stopping = self.stop()
        self.reactor.pump([1] * 9)
        self.assertNoResult(stopping)
        self.reactor.pump([1] * 2)
        self.successResultOf(stopping)

    def test_reloading_does_not_disturb_the_end(self) -> None:
        self.start()
        activity = self.open_session()
        activity.begin("PUT", b"K")
        stopping = self.stop()
        with capturedLogs() as events:
            os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual([], events)
        activity.end("done")
        self.reactor.advance(1)
        self.successResultOf(stopping)

    def test_told_twice_to_stop(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            former = signal.getsignal(number)
            self.gateway = self.make()
            self.start()
            self.open_session().begin("PUT", b"K")
            stopping = self.stop()
            self.reactor.advance(1)
            self.assertNoResult(stopping)
            os.kill(os.getpid(), number)
            self.reactor.advance(0.1)
            self.successResultOf(stopping)
            self.assertEqual("stopped", self.said[-1])
            self.assertEqual(former, signal.getsignal(number))

    def test_a_terminal_that_is_closed(self) -> None:
        """What was started there with nothing to read again ends with it, under twistd as well."""
        self.patch(os, "isatty", lambda fd: True)
        self.start()
        os.kill(os.getpid(), signal.SIGHUP)
        self.assertFalse(self.reactor.hasStopped)
        self.successResultOf(self.stop())
        self.gateway = self.make(Plan(repositories=("/srv/a",)))
        self.start()
        os.kill(os.getpid(), signal.SIGHUP)
        self.assertTrue(self.reactor.hasStopped)
        self.successResultOf(self.stop())

    def test_whose_daemon_it_is(self) -> None:
        """twistd puts the parts together before it becomes another user."""
        self.parts.door.uids = frozenset((12345,))
        self.start()
        self.assertEqual(own_uids(), self.parts.door.uids)
        self.successResultOf(self.stop())

    def open_session(self) -> Any:
        def stop(reason: str) -> None:
            self.said.append("stopped")
            self.sessions.close(activity)

        activity = self.sessions.open("alice", b"/srv/a", "ssh", stop)
        return activity

    def test_twistd_is_told_of_the_log(self) -> None:
        application = Application("annexd")
        self.gateway.setServiceParent(application)
        self.assertIsInstance(application, Componentized)
        self.assertIs(self.parts.printer, application.getComponent(ILogObserver))
        self.assertEqual([self.gateway], list(IService(application)))
