"""File systems that hang, and the ones that only take long."""

from __future__ import annotations

import os
import threading
from collections.abc import Coroutine
from typing import Any, Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from annexd.flow.disk import Disk, Hung
from annexd.flow.disks import Disks, Sight
from annexd.flow.mounts import Mount, Mounts
from annexd.flow.probe import ThreadedProbe
from tests.flow.test_mounts import table

ROOT = Mount(b"/", b"8:1", b"ext4")
NAS = Mount(b"/nas", b"0:40", b"nfs")


class HandPool:
    """Threads that come back when the test says so, with what it says."""

    def __init__(self) -> None:
        self.under_way: list[Deferred[Any]] = []

    async def run(self, function: object, *args: object, **kwargs: object) -> Any:
        thread: Deferred[Any] = Deferred()
        self.under_way.append(thread)
        back: list[Deferred[Any]] = [Deferred()]
        thread.addBoth(lambda result: back[0].callback(result))
        while True:
            try:
                return await back[0]
            except CancelledError:  # it is there until it comes back
                back[0] = Deferred()

    attempt = run


class HandWorkers:
    def __init__(self) -> None:
        self.disk, self.bulk = HandPool(), HandPool()
        self.stopped: list[float] = []

    def stop(self, seconds: float) -> bool:
        self.stopped.append(seconds)
        return not self.disk.under_way


class Case(SynchronousTestCase):
    """A deadline of ten seconds, on the clock and by day."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.workers: Any = HandWorkers()
        self.probes: list[Callable[[], None]] = []
        self.deadline = 10.0
        self.disks = Disks(self.clock, Mounts(lambda: table(ROOT, NAS)), lambda: self.deadline)
        self.disk = Disk(
            self.clock,
            NAS,
            Sight(self.disks, NAS.device),
            self.workers,
            lambda: self.deadline,
            self.probe,
            self.clock.seconds,
        )
        self.given_back: list[object] = []

    def probe(self, point: bytes, file: bytes, answered: Callable[[], None]) -> None:
        self.assertEqual(point, b"/nas")
        self.probes.append(answered)

    def ask(self) -> Deferred[Any]:
        return self.start(self.disk.disk.run(int))

    def start(self, work: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        async def give_back(result: object) -> None:
            self.given_back.append(result)

        return Deferred.fromCoroutine(self.disk.patiently(work, give_back))

    def hangs(self, asked: Deferred[Any]) -> str:
        return str(self.failureResultOf(asked, Hung).value)

    def thread(self, at: int = 0) -> Deferred[Any]:
        return self.workers.disk.under_way.pop(at)  # type: ignore[no-any-return]

    def hang(self) -> None:
        """Until it is known."""
        asked = self.ask()
        for _ in range(2):
            self.clock.advance(5)
        self.hangs(asked)


class Answering(Case):
    def test_in_time(self) -> None:
        asked = self.ask()
        self.clock.advance(4)
        self.thread().callback("here")
        self.assertEqual(self.successResultOf(asked), "here")
        self.clock.advance(100)
        self.assertEqual((self.probes, self.clock.getDelayedCalls()), ([], []))

    def test_at_once(self) -> None:
        async def work() -> int:
            return 1

        self.assertEqual(self.successResultOf(self.start(work())), 1)

    def test_errors(self) -> None:
        asked = self.ask()
        self.thread().errback(ZeroDivisionError())
        self.failureResultOf(asked, ZeroDivisionError)

    def test_what_takes_long_does_not_hang(self) -> None:
        asked = self.ask()
        for number in range(1, 20):
            self.clock.advance(5)
            self.assertEqual(len(self.probes), number)
            self.probes[-1]()
        self.assertEqual(self.disk.down, "")
        self.assertNoResult(asked)
        self.thread().callback("at last")
        self.assertEqual(self.successResultOf(asked), "at last")

    def test_each_has_its_time(self) -> None:
        """The timer of those who have been before is not theirs."""
        first = self.ask()
        self.clock.advance(4)
        second = self.ask()
        self.thread().callback(1)
        self.successResultOf(first)
        self.clock.advance(1)
        self.clock.advance(3.9)
        self.assertEqual(self.probes, [])
        self.clock.advance(0.1)
        self.assertEqual(len(self.probes), 1)
        self.assertNoResult(second)
        self.thread().callback(2)

    def test_called_off(self) -> None:
        """Whoever is called off waits for what cannot be."""
        asked = self.ask()
        asked.cancel()
        self.assertNoResult(asked)
        self.thread().callback("all the same")
        self.assertEqual(self.successResultOf(asked), "all the same")

        async def waits() -> None:
            await Deferred()

        idle = self.start(waits())
        idle.cancel()
        self.failureResultOf(idle, CancelledError)


class Hanging(Case):
    def test_one_deadline_once(self) -> None:
        asked = [self.ask(), self.start(self.disk.bulk.run(int))]
        self.clock.advance(5)
        self.assertEqual(len(self.probes), 1)
        self.clock.advance(4.9)
        self.assertNoResult(asked[0])
        self.clock.advance(0.1)
        for one in asked:
            self.assertEqual(self.hangs(one), "the disk has not answered since 1970-01-01 00:16:40 UTC")
        self.assertEqual(self.disk.since, 1000)
        self.hangs(self.ask())
        self.assertEqual((len(self.probes), len(self.workers.disk.under_way)), (1, 1))

    def test_it_answers_again(self) -> None:
        self.hang()
        self.clock.advance(1000)
        self.assertEqual(len(self.probes), 1)
        self.probes[0]()
        self.assertEqual((self.disk.down, self.disk.since), ("", 2010))
        asked = self.ask()
        self.thread(-1).callback("here")
        self.assertEqual(self.successResultOf(asked), "here")
        self.thread().callback("late")
        self.assertEqual(self.given_back, ["late"])
        self.clock.advance(10)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_again_and_again(self) -> None:
        self.hang()
        self.probes.pop()()
        self.clock.advance(5)
        self.clock.advance(5)
        self.assertNotEqual(self.disk.down, "")

    def test_what_fails_late_is_no_news(self) -> None:
        self.hang()
        self.thread().errback(Hung("still"))
        asked = self.start(self.disk.disk.run(int))
        self.hangs(asked)
        self.assertEqual((self.given_back, self.flushLoggedErrors()), ([], []))

    def test_a_bug_that_shows_late_is_told(self) -> None:
        self.hang()
        self.thread().errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_another_deadline(self) -> None:
        self.deadline = 2
        asked = self.ask()
        self.clock.advance(1)
        self.clock.advance(1)
        self.hangs(asked)

    def test_the_end(self) -> None:
        self.hang()
        self.assertFalse(self.disk.stop())
        self.assertEqual((self.workers.stopped, self.clock.getDelayedCalls()), ([0.1], []))


class Several(Case):
    def test_each_has_its_own(self) -> None:
        nas, root = self.disks.at(b"/nas/x"), self.disks.at(b"/home")
        self.assertEqual((nas.plain, root.plain), (False, True))
        self.assertIs(self.disks.at(b"/nas/y"), nas)
        self.assertIs(self.disks.under(b"/home", b"/nas/x"), nas)
        self.assertIs(self.disks.under(b"/home", b"/etc"), root)
        self.assertEqual(self.disks.down, "")
        nas.down = "it hangs"
        self.assertEqual(self.disks.down, "it hangs")

    def test_what_may_be_looked_at(self) -> None:
        nas, root = self.disks.at(b"/nas"), self.disks.at(b"/")
        self.assertEqual([root.sight.near(path) for path in (b"/etc", b"/nas/x")], [True, False])
        self.assertEqual([nas.sight.near(path) for path in (b"/etc", b"/nas/x")], [True, True])
        root.down = "a drive is dying"
        self.assertEqual([nas.sight.near(path) for path in (b"/etc", b"/nas/x")], [False, True])
        self.assertEqual(root.sight.real(b"/nas/x/../y"), b"/nas/y")


class Threads(TestCase):
    """With real ones: an open of a FIFO that nobody writes to hangs."""

    timeout = 120

    async def test_a_thread_that_hangs(self) -> None:
        from twisted.internet import reactor

        fifo = os.path.join(os.path.realpath(self.mktemp()), "fifo")
        os.mkdir(os.path.dirname(fifo))
        os.mkfifo(fifo)
        answer = threading.Event()

        def probe(point: bytes, file: bytes, answered: Callable[[], None]) -> None:
            def wait() -> None:
                answer.wait(20)
                reactor.callFromThread(answered)  # type: ignore[attr-defined]

            threading.Thread(target=wait, daemon=True).start()

        deadline = 0.2
        disks = Disks(reactor, Mounts(lambda: b""), lambda: deadline, 2, 2, probe)
        disk = disks.at(b"/")
        fds: list[int] = []

        def read() -> None:
            fds.append(os.open(fifo, os.O_RDONLY))

        with self.assertRaises(Hung):
            await disk.patiently(disk.disk.run(read))
        with self.assertRaises(Hung):
            await disks.of(b"/")
        deadline = 60.0
        answer.set()
        while disk.down:
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]
        self.assertIs(await disks.of(b"/"), disk)
        fds.append(os.open(fifo, os.O_WRONLY))
        while len(fds) < 2:
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]
        disks.stop()
        for fd in fds:
            os.close(fd)

    async def test_a_disk_that_is_well(self) -> None:
        from twisted.internet import reactor

        file = os.path.abspath(self.mktemp())
        with open(file, "wb") as opened:
            opened.write(b"x" * 5000)
        for path in (file, os.path.dirname(file), file + ".missing"):
            answered: Deferred[None] = Deferred()
            ThreadedProbe(reactor)(b"/", os.fsencode(path), lambda: answered.callback(None))  # noqa: B023
            await answered
