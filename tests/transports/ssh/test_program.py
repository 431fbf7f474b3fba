"""Programs in channels: real ones, with the real reactor, and a client by hand."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from twisted.internet.task import deferLater
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from annexd.errors import Refused
from annexd.transports.ssh.channel import WINDOW
from annexd.transports.ssh.outbox import HIGH_WATER
from annexd.transports.ssh.program import Program
from tests.support.processes import running
from tests.support.ssh_link import CLOSE, DATA, EOF, REQUEST, Link

SHELL = b"/bin/sh"


class ProgramTests(TestCase):
    timeout = 120

    def start(self, script: str, window: int = 1 << 30, stall: float = 20.0, **environment: str) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.link = Link()
        self.channel = self.link.channel(window)
        self.codes: list[int] = []
        self.moved = 0
        self.program = Program(reactor, self.channel, stall, self.codes.append, self.count)
        argv = (SHELL, b"-c", script.encode())
        self.program.start(
            argv, {b"PATH": b"/usr/bin:/bin"} | {k.encode(): v.encode() for k, v in environment.items()}
        )
        transport: Any = self.program.transport
        self.pid = transport.pid

    def count(self, more: int) -> None:
        self.moved += more

    async def until(self, there: Callable[[], object]) -> None:
        while not there():
            self.link.clock.advance(0)
            await deferLater(self.reactor, 0.005)

    def out(self, stream: int = 0) -> bytes:
        return self.link.written(self.channel, stream)

    def told(self) -> list[bytes]:
        """What was said of the end."""
        return [payload[8:].split(b"\0", 1)[0] for kind, payload in self.link.sent if kind == REQUEST]

    async def over(self) -> None:
        """The client has been told, and the process is gone."""
        await self.until(lambda: CLOSE in self.link.kinds())
        self.link.tell(self.channel, CLOSE)
        await self.until(lambda: not running(self.pid))
        self.assertEqual(1, len(self.codes))

    async def test_three_streams(self) -> None:
        self.start("cat; echo to the error >&2; exit 3")
        self.link.data(self.channel, b"in and out")
        self.link.tell(self.channel, EOF)
        await self.over()
        self.assertEqual((b"in and out", b"to the error\n"), (self.out(), self.out(1)))
        self.assertEqual(([3], 20), (self.codes, self.moved))
        self.assertEqual(b"\0\0\0\3", self.link.sent[-2][1][-4:])
        self.assertEqual([EOF, REQUEST, CLOSE], self.link.kinds()[-3:])

    async def test_nothing_else_is_open(self) -> None:
        """No descriptor of the daemon's, and no variable."""
        os.environ["A_SECRET"] = "x"
        self.addCleanup(os.environ.pop, "A_SECRET")
        self.start("ls -l /proc/self/fd | grep -c ' [0-9]* -> '; env", KNOWN="yes")
        await self.over()
        count, *environment = self.out().split()
        self.assertEqual(b"4", count)  # the fourth is what ls reads
        self.assertIn(b"KNOWN=yes", environment)
        self.assertNotIn(b"A_SECRET=x", environment)

    async def test_a_client_that_does_not_read(self) -> None:
        """The program waits; nothing is lost."""
        self.start("exec head -c 3000000 /dev/zero", window=100_000)
        await self.until(lambda: self.channel.unsent > HIGH_WATER)
        for _ in range(10):
            await deferLater(self.reactor, 0.005)
        self.assertLess(self.channel.unsent, HIGH_WATER + 100_000)
        self.assertEqual(100_000, len(self.out()))
        self.link.adjust(self.channel, 1 << 30)
        await self.over()
        self.assertEqual(bytes(3_000_000), self.out())

    async def test_output_that_is_waiting_at_the_end(self) -> None:
        """The program is gone, and the client has not read yet."""
        self.start("head -c 300000 /dev/zero; echo x >&2; exit 5", window=1000)
        await self.until(lambda: self.channel.unsent > HIGH_WATER)
        while len(self.out()) < 300_000:
            self.link.adjust(self.channel, 50_000)
            await deferLater(self.reactor, 0.01)
        await self.over()
        self.assertEqual(([5], 300_000, b"x\n"), (self.codes, len(self.out()), self.out(1)))

    async def test_a_program_that_does_not_read(self) -> None:
        """The client is granted no more than a window and some pipe."""
        self.start("read x; echo $x; exec sleep 1000")
        sent = 0
        while self.channel.localWindowLeft:
            count = min(32768, self.channel.localWindowLeft)
            self.link.data(self.channel, bytes(count))
            sent += count
            await deferLater(self.reactor, 0)
        self.assertLess(sent, 2 * WINDOW)
        self.link.tell(self.channel, CLOSE)
        await self.until(lambda: not running(self.pid))

    async def test_a_program_that_has_heard_enough(self) -> None:
        """The client may finish its sentence, and hears why."""
        self.start("exec 0</dev/null; echo enough >&2; sleep 0.2; exit 1")
        for _ in range(200):
            if self.channel.localWindowLeft >= 32768:
                self.link.data(self.channel, bytes(32768))
            await deferLater(self.reactor, 0.001)
        await self.over()
        self.assertEqual(([1], b"enough\n"), (self.codes, self.out(1)))

    async def test_the_client_goes(self) -> None:
        self.start("echo; exec sleep 1000")
        await self.until(self.out)  # a signal may be lost on a process that is just beginning
        self.link.tell(self.channel, CLOSE)
        await self.until(lambda: self.codes)
        self.assertEqual([128 + signal.SIGTERM], self.codes)
        self.assertFalse(running(self.pid))

    async def test_a_program_that_will_not_go(self) -> None:
        self.patch_grace(0.1)
        self.start("trap '' TERM; echo ready; while :; do sleep 0.05; done")
        await self.until(self.out)
        self.link.connection.serviceStopped()  # type: ignore[no-untyped-call]
        await self.until(lambda: self.codes)
        self.assertEqual([128 + signal.SIGKILL], self.codes)

    def patch_grace(self, seconds: float) -> None:
        from annexd.transports.ssh import program

        self.patch(program, "_GRACE_S", seconds)
        self.patch(program, "_LINGER_S", seconds)

    async def test_a_signal(self) -> None:
        self.start("kill -SEGV $$")
        await self.over()
        self.assertEqual([b"exit-signal"], [word[:11] for word in self.told()])
        self.assertIn(b"\0\0\0\4SEGV", self.link.sent[-2][1])

    async def test_what_a_program_leaves_behind(self) -> None:
        """A process that holds its output open is not waited for."""
        self.patch_grace(0.1)
        self.start("sleep 1000 & echo $!; exit 0")
        await self.over()
        self.assertEqual([0], self.codes)
        transport: Any = self.program.transport
        await self.until(lambda: not transport.pipes)
        os.kill(int(self.out()), signal.SIGKILL)

    async def test_a_client_that_never_reads(self) -> None:
        with capturedLogs() as events:
            self.start("exec cat /dev/zero", window=1000, stall=0.2)
            await self.over()
        self.assertEqual([128 + signal.SIGTERM], self.codes)
        self.assertIn("has taken nothing", events[0]["log_format"])
        self.assertNotIn(DATA, self.link.kinds()[-3:])

    async def test_no_such_program(self) -> None:
        from twisted.internet import reactor

        link = Link()
        program = Program(reactor, link.channel(), 10.0, lambda code: None)
        try:
            program.start((b"/no/such/program",), {})
        except Refused:
            return
        # Twisted may notice only in the child.
        self.reactor = reactor
        self.link = link
        await self.until(lambda: CLOSE in link.kinds())
