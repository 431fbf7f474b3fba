"""Where the SSH listener listens, and what becomes of commands there."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.admin import Sessions
from annexd.app.anteroom import Anteroom
from annexd.app.doorman import SshUser
from annexd.app.guessing import Guessing
from annexd.app.listen import Address, Listen, Ssh
from annexd.app.ssh_command import SshCommand
from annexd.app.ssh_listener import SshListener
from annexd.errors import ConfigError, Refused
from annexd.flow.workers import InlineWorkers
from annexd.sessions.deadlines import Deadlines
from tests.support.ports import free_port
from tests.support.ssh_keys import ADDRESS
from tests.support.ssh_link import CLOSE, HalfSink, Link


class Listening(SynchronousTestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = Path(scratch.name)
        self.reactor = MemoryReactorClock()
        daemon = SimpleNamespace(max_sessions=10)
        self.config = SimpleNamespace(daemon=daemon, listen=Listen())
        self.current: Any = SimpleNamespace(config=self.config, deadlines=Deadlines(stall=7))
        self.shell: Any = None
        self.listener = SshListener(
            self.reactor,
            self.current,
            self.shell,
            Sessions(self.reactor, 10),
            InlineWorkers().disk,
            Anteroom(lambda: 10),
            Guessing(self.reactor),
            f"{scratch.name}/state",
        )
        self.addCleanup(lambda: Deferred.fromCoroutine(self.listener.stop()))
        self.first, self.second, self.third = (Address("127.0.0.1", free_port()) for _ in range(3))

    def configure(self, *addresses: Address, **more: Any) -> None:
        ssh = Ssh(addresses, authorized_keys=str(self.directory / "keys"), **more)
        self.config.listen = Listen(ssh=ssh)

    def is_open(self, address: Address) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((address.host, address.port)) == 0

    def open(self) -> list[bool]:
        return [self.is_open(address) for address in (self.first, self.second, self.third)]

    def reload(self) -> None:
        self.listener.prepare(self.config.listen).commit()

    def stop(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.listener.stop()))
        self.successResultOf(Deferred.fromCoroutine(self.listener.close()))

    def test_nothing_is_configured(self) -> None:
        self.listener.start()
        self.reload()
        self.assertEqual([], self.listener.addresses)
        self.stop()
        self.assertFalse((self.directory / "state").exists())

    def test_start_and_stop(self) -> None:
        self.configure(self.first, Address("127.0.0.1", 0))
        with capturedLogs() as events:
            self.listener.start()
        first, second = self.listener.addresses
        self.assertEqual(f"ssh:{self.first}", first)
        self.assertTrue(second.startswith("ssh:127.0.0.1:") and not second.endswith(":0"), second)
        self.assertEqual(0o700, (self.directory / "state").stat().st_mode & 0o777)
        self.assertIn("SHA256:", events[0]["print"])
        self.stop()
        self.assertEqual(([False] * 3, []), (self.open(), self.listener.addresses))
        self.assertEqual([], self.reactor.getReaders())

    def test_taken(self) -> None:
        """All or nothing."""
        with socket.create_server((self.second.host, self.second.port)):
            self.configure(self.first, self.second)
            error = self.assertRaises(ConfigError, self.listener.start)
        self.assertEqual(f"cannot listen on {self.second}: Address already in use", str(error))
        self.assertEqual([False] * 3, self.open())

    def test_moving(self) -> None:
        self.configure(self.first, self.second)
        self.listener.start()
        self.configure(self.second, self.third)
        self.reload()
        self.assertEqual([False, True, True], self.open())
        self.config.listen = Listen()
        self.reload()
        self.assertEqual([False] * 3, self.open())
        self.configure(self.first)
        self.reload()
        self.assertEqual([True, False, False], self.open())

    def test_moving_to_a_taken_place(self) -> None:
        self.configure(self.first)
        self.listener.start()
        with socket.create_server((self.second.host, self.second.port)):
            self.configure(self.second)
            error = self.assertRaises(ConfigError, self.reload)
        self.assertEqual([True, False, False], self.open())
        self.assertIn(str(self.second), str(error))

    def test_host_keys(self) -> None:
        self.configure(self.first, host_key=(str(self.directory / "nothing"),))
        self.assertRaises(ConfigError, self.listener.start)
        self.assertEqual([False] * 3, self.open())

    def test_a_connection(self) -> None:
        """It waits in the anteroom, and the server speaks first."""
        adopted: list[Any] = []

        def adopt(fd: int, family: int, factory: Any) -> None:
            adopted.append((socket.socket(fileno=os.dup(fd)), family, factory))

        self.patch(self.reactor, "adoptStreamConnection", adopt)
        self.configure(self.first)
        self.listener.start()
        with socket.create_connection((self.first.host, self.first.port)) as client:
            [port] = self.reactor.getReaders()
            port.doRead()
            [(sock, family, factory)] = adopted
            with sock:
                self.assertEqual((client.getsockname(), socket.AF_INET), (sock.getpeername(), family))
                self.assertIs(self.listener._server, factory.buildProtocol(None).factory)

    def test_by_an_onion(self) -> None:
        """And nobody any more when it has been taken out of the configuration."""
        adopted: list[Any] = []
        self.patch(self.reactor, "adoptStreamConnection", lambda *given: adopted.append(given))
        self.configure(self.first)
        self.listener.start()
        for _ in range(2):
            near, far = socket.socketpair()
            with far:
                self.listener.arrived_by_onion(near, announced=False)
                self.assertEqual(far.recv(1), b"")  # Twisted has a copy of its own, but not this one here
            self.config.listen = Listen()
            self.reload()
        self.assertEqual([socket.AF_UNIX], [family for _, family, _ in adopted])

    def test_a_connection_that_is_gone(self) -> None:
        def adopt(fd: int, family: int, factory: Any) -> None:
            raise OSError(107, "Transport endpoint is not connected")

        self.patch(self.reactor, "adoptStreamConnection", adopt)
        self.configure(self.first)
        self.listener.start()
        with socket.create_connection((self.first.host, self.first.port)):
            self.reactor.getReaders()[0].doRead()

    def test_deadlines_of_now(self) -> None:
        self.configure(self.first)
        self.listener.start()
        server: Any = self.listener._server
        self.assertEqual((7, 10), (server.limits.stall, server.limits.peers))
        self.current.deadlines = Deadlines(stall=8)
        self.reload()
        self.assertEqual(8, server.limits.stall)

    def test_keys_are_read_ahead(self) -> None:
        """What is wrong with them is said before anybody comes."""
        self.configure(self.first)
        self.listener.start()
        with capturedLogs() as events:
            for function, args, kwargs in self.reactor.whenRunningHooks:
                function(*args, **kwargs)
            self.reactor.advance(0)
        self.assertIn("does not exist, so nobody can log in", events[0]["error"])

    def test_without_conch(self) -> None:
        for name in list(sys.modules):
            if name.startswith("annexd.transports.ssh"):
                self.patch_module(name)
        self.patch_module("twisted.conch.ssh.transport")
        self.configure(self.first)
        error = self.assertRaises(ConfigError, self.listener.start)
        self.assertIn("pip install 'annexd[server]'", str(error))

    def patch_module(self, name: str) -> None:
        former = sys.modules.get(name)
        if former is not None:
            self.addCleanup(sys.modules.__setitem__, name, former)
        else:
            self.addCleanup(sys.modules.pop, name, None)
        sys.modules[name] = None  # type: ignore[assignment]


class Shell:
    """Does with a command what a test wants."""

    def __init__(self, act: Any) -> None:
        self._act = act

    async def answer(self, asked: SshCommand) -> None:
        result = self._act(asked)
        if result is not None:
            await result


class Commands(SynchronousTestCase):
    def setUp(self) -> None:
        self.link = Link()
        self.channel = self.link.channel()
        self.sessions = Sessions(self.link.clock, 10)
        self.gone: list[SshCommand] = []

    def start(self, act: Any, line: bytes = b"annex this", **limits: bytes) -> SshCommand:
        user = SshUser("alice", {name.encode(): value for name, value in limits.items()})
        self.command = SshCommand(
            self.link.clock,
            self.channel,
            user,
            ADDRESS,
            line,
            self.sessions,
            Deadlines(),
            self.gone.append,
        )
        shell: Any = Shell(act)
        self.command.start(shell)
        return self.command

    def ended(self) -> tuple[int, bytes, bytes]:
        """Exit code, standard output and error."""
        self.assertEqual(CLOSE, self.link.kinds()[-1])
        code = int.from_bytes(self.link.sent[-2][1][-4:], "big")
        out, error = self.link.written(self.channel), self.link.written(self.channel, 1)
        self.link.tell(self.channel, CLOSE)
        self.assertEqual([self.command], self.gone)
        self.assertEqual([], self.link.clock.getDelayedCalls())
        return code, out, error

    def test_what_it_is(self) -> None:
        self.patch(os, "environ", {**os.environ, "HOME": "/home/annex"})
        command = self.start(lambda asked: None, readonly=b"1")
        self.assertEqual(
            ("alice", "ssh-listener", ADDRESS, b"annex this"),
            (command.principal, command.transport, command.address, command.line),
        )
        self.assertEqual((b"/home/annex", True), (command.environment.home, command.environment.readonly))

    def test_a_few_bytes(self) -> None:
        def act(asked: SshCommand) -> None:
            asked.print(b"annex.uuid=x\n")
            asked.finish(0)

        self.start(act)
        self.assertEqual((0, b"annex.uuid=x\n", b""), self.ended())

    def test_refused(self) -> None:
        def act(asked: SshCommand) -> None:
            raise Refused("not for you")

        self.start(act)
        self.assertEqual((1, b"", b"annexd: not for you\n"), self.ended())

    def test_a_shell(self) -> None:
        self.start(lambda asked: self.fail("nobody is asked"), b"")
        code, _, error = self.ended()
        self.assertEqual((1, True), (code, error.startswith(b"annexd: there is no interactive shell here")))

    def test_a_bug(self) -> None:
        """Nobody is left waiting."""
        self.start(lambda asked: 1 / 0)
        self.assertEqual((1, b"", b""), self.ended())
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_gone_before_it_is_answered(self) -> None:
        """Nothing goes on for nobody."""
        cancelled: list[int] = []
        waiting: Deferred[None] = Deferred(lambda _: cancelled.append(1))
        self.start(lambda asked: waiting)
        self.link.tell(self.channel, CLOSE)
        self.assertEqual(([1], [self.command]), (cancelled, self.gone))

    def test_gone_in_a_session(self) -> None:
        """The wire says so, and what is to be put in order is."""
        cancelled: list[int] = []
        waiting: Deferred[None] = Deferred(lambda _: cancelled.append(1))
        sink: Any = HalfSink()

        def act(asked: SshCommand) -> Deferred[None]:
            asked.connect(sink)
            return waiting

        self.start(act)
        self.link.tell(self.channel, CLOSE)
        self.assertEqual(("ConnectionLost", [], [self.command]), (sink.lost, cancelled, self.gone))
        waiting.callback(None)

    def test_cancelled(self) -> None:
        waiting: Deferred[None] = Deferred()
        self.start(lambda asked: waiting)
        done = self.command.cancel()
        self.successResultOf(done)
        self.assertEqual(1, self.ended()[0])

    def test_missing_program(self) -> None:
        self.start(lambda asked: asked.run((b"/no/such/git", b"upload-pack", b"/srv/x")))
        self.assertEqual((1, b"", b"annexd: /no/such/git is not installed on this host\n"), self.ended())
        self.assertEqual(0, len(self.sessions))

    def test_too_many_sessions(self) -> None:
        self.sessions.most = 0
        self.start(lambda asked: asked.run((b"git", b"upload-pack", b"/srv/x")))
        code, _, error = self.ended()
        self.assertEqual((1, True), (code, b"sessions already" in error))

    def test_environment(self) -> None:
        """Of programs: what they need of ours, what limits the user, and which protocol of git's."""
        command = self.start(lambda asked: None, readonly=b"1", directory=b"/srv/x")
        own = {
            b"PATH": b"/bin",
            b"HOME": b"/elsewhere",
            b"LC_ALL": b"C",
            b"GIT_DIR": b"/x",
            b"GIT_PROTOCOL": b"version=9",
            b"NOTIFY_SOCKET": b"/run/x",
            b"A_TOKEN": b"secret",
            b"LD_PRELOAD": b"/x",
            b"GIT_ANNEX_SHELL_READONLY": b"",
        }
        expected = {
            b"PATH": b"/bin",
            b"HOME": command.environment.home,
            b"LC_ALL": b"C",
            b"GIT_ANNEX_SHELL_READONLY": b"1",
            b"GIT_ANNEX_SHELL_DIRECTORY": b"/srv/x",
        }
        self.assertEqual(expected, command._environment(own))
        self.channel.git_protocol = b"version=2:key"
        self.assertEqual(b"version=2:key", command._environment(own)[b"GIT_PROTOCOL"])
        self.channel.git_protocol = b"version=2 $(id)"
        self.assertNotIn(b"GIT_PROTOCOL", command._environment(own))
