from __future__ import annotations

import os
from typing import Callable

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import Refused
from annexd.flow.workers import InlineWorkers
from annexd.repo.changes import Changes, Follower, InotifyWatch, difference


class FakeWatch:
    """Remembers what it watches; ``room`` is how many directories there can be."""

    def __init__(self, touched: Callable[[bytes], None]) -> None:
        self.touched = touched
        self.directories: list[bytes] = []
        self.closed = False
        self.room = 100

    def watch(self, directories: list[bytes]) -> None:
        if len(directories) > self.room:
            raise OSError("no room")
        self.directories = directories

    def close(self) -> None:
        self.closed = True


class ChangesCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.refs: dict[bytes, bytes] = {b"refs/heads/main": b"a"}
        self.watches: list[FakeWatch] = []
        self.inotify_works = True
        self.reads = 0
        self.waiting: list[Deferred[tuple[bytes, ...]]] = []
        workers = InlineWorkers()
        self.git_dir = self.mktemp().encode()
        self.changes = Changes(self.git_dir, self.read, self.open, self.clock, workers.disk)

    def tearDown(self) -> None:
        for waiting in self.waiting:
            waiting.cancel()
            waiting.addErrback(lambda _: None)
        self.clock.advance(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertTrue(all(watch.closed for watch in self.watches))

    def open(self, touched: Callable[[bytes], None]) -> FakeWatch:
        if not self.inotify_works:
            raise OSError("none left")
        self.watches.append(FakeWatch(touched))
        return self.watches[-1]

    def read(self) -> Deferred[dict[bytes, bytes]]:
        self.reads += 1
        return succeed(dict(self.refs))

    def wait(self, on: Changes | Follower | None = None) -> Deferred[tuple[bytes, ...]]:
        waiting = Deferred.fromCoroutine((on or self.changes).next())
        self.waiting.append(waiting)
        return waiting

    def touch(self, name: bytes = b"refs/heads/main") -> None:
        self.watches[-1].touched(self.git_dir + b"/" + name)

    def move(self, name: bytes, target: bytes) -> None:
        self.refs[name] = target
        self.touch(name)


class ChangesTests(ChangesCase):
    def test_announces_what_moved_and_what_is_new(self) -> None:
        waiting = self.wait()
        self.move(b"refs/heads/main", b"b")
        self.refs[b"refs/tags/t"] = b"c"
        self.assertNoResult(waiting)
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(waiting), (b"b", b"c"))

    def test_nothing_is_watched_while_nobody_waits(self) -> None:
        self.assertEqual(self.watches, [])
        waiting = self.wait()
        self.assertFalse(self.watches[0].closed)
        waiting.cancel()
        self.assertTrue(self.watches[0].closed)
        self.failureResultOf(waiting)

    def test_one_watch_for_all(self) -> None:
        waiting = [self.wait() for _ in range(3)]
        self.assertEqual(len(self.watches), 1)
        waiting[0].cancel()
        self.failureResultOf(waiting[0])
        self.move(b"refs/heads/main", b"b")
        self.clock.advance(0.1)
        self.assertEqual([self.successResultOf(each) for each in waiting[1:]], [(b"b",), (b"b",)])
        self.assertEqual(self.reads, 2)

    def test_locks_and_other_files_are_no_reason_to_read(self) -> None:
        self.wait()
        for name in (b"refs/heads/main.lock", b"HEAD", b"index", b"packed-refs.lock"):
            self.touch(name)
        self.clock.advance(1)
        self.assertEqual(self.reads, 1)
        self.touch(b"packed-refs")
        self.clock.advance(1)
        self.assertEqual(self.reads, 2)

    def test_deleted_and_packed_references_are_no_news(self) -> None:
        self.refs[b"refs/heads/other"] = b"x"
        waiting = self.wait()
        del self.refs[b"refs/heads/other"]
        self.touch(b"packed-refs")
        self.clock.advance(1)
        self.assertNoResult(waiting)

    def test_follower_misses_nothing_between_its_waits(self) -> None:
        follower = self.changes.follow()
        first = self.wait(follower)
        self.move(b"refs/heads/main", b"b")
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(first), (b"b",))
        self.refs[b"refs/heads/main"] = b"c"
        self.assertEqual(self.successResultOf(self.wait(follower)), (b"c",))
        self.assertNoResult(self.wait(follower))

    def test_follower_misses_nothing_from_its_beginning_on(self) -> None:
        follower = self.changes.follow()
        self.successResultOf(Deferred.fromCoroutine(follower.begin()))
        self.refs[b"refs/heads/main"] = b"b"
        self.assertEqual(self.successResultOf(self.wait(follower)), (b"b",))

    def test_a_second_waiter_that_is_behind_need_not_wait(self) -> None:
        follower = self.changes.follow()
        first = self.wait(follower)
        self.move(b"refs/heads/main", b"b")
        self.clock.advance(0.1)
        self.successResultOf(first)
        self.refs[b"refs/heads/main"] = b"c"
        self.wait()
        self.assertEqual(self.successResultOf(self.wait(follower)), (b"c",))

    def test_polls_where_inotify_cannot_be_had(self) -> None:
        self.inotify_works = False
        waiting = self.wait()
        self.refs[b"refs/heads/main"] = b"b"
        self.clock.advance(4)
        self.assertNoResult(waiting)
        self.clock.advance(1)
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(waiting), (b"b",))

    def test_polls_where_watches_have_run_out(self) -> None:
        opened = self.open

        def cramped(touched: Callable[[bytes], None]) -> FakeWatch:
            watch = opened(touched)
            watch.room = 0
            return watch

        self.changes._open_watch = cramped
        waiting = self.wait()
        self.assertTrue(self.watches[0].closed)
        self.refs[b"refs/heads/main"] = b"b"
        self.clock.advance(5)
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(waiting), (b"b",))

    def test_looks_again_now_and_then(self) -> None:
        waiting = self.wait()
        self.refs[b"refs/heads/main"] = b"b"
        self.clock.advance(60)
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(waiting), (b"b",))

    def test_tells_all_who_wait_what_went_wrong_and_works_again_later(self) -> None:
        waiting = [self.wait(), self.wait()]
        read, self.changes._refs = self.changes._refs, lambda: fail(Refused("gone"))
        self.touch()
        self.clock.advance(0.1)
        for each in waiting:
            self.failureResultOf(each, Refused)
        self.failureResultOf(self.wait(), Refused)
        self.changes._refs = read
        again = self.wait()
        self.move(b"refs/heads/main", b"b")
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(again), (b"b",))


class StillReactor:
    """Lets the test say when there is something to read."""

    def addReader(self, reader: object) -> None: ...

    def removeReader(self, reader: object) -> None: ...

    def removeWriter(self, writer: object) -> None: ...


class InotifyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.top = self.mktemp().encode()
        os.makedirs(os.path.join(self.top, b"refs/heads"))
        self.seen: list[bytes] = []
        self.watch = InotifyWatch(StillReactor(), self.seen.append)
        self.addCleanup(self.watch.close)

    def look(self) -> list[bytes]:
        self.watch._inotify.doRead()
        seen = [os.path.relpath(path, os.path.abspath(self.top)) for path in self.seen]
        self.seen.clear()
        return seen

    def replace(self, name: bytes) -> None:
        path = os.path.join(self.top, name)
        with open(path + b".lock", "wb"):
            pass
        os.rename(path + b".lock", path)

    def test_a_reference_that_is_moved(self) -> None:
        self.watch.watch([self.top, os.path.join(self.top, b"refs/heads")])
        self.replace(b"refs/heads/caf\xe9")
        self.replace(b"packed-refs")
        seen = self.look()
        self.assertIn(b"refs/heads/caf\xe9", seen)
        self.assertIn(b"packed-refs", seen)

    def test_goes_on_when_a_directory_is_deleted(self) -> None:
        inner = os.path.join(self.top, b"refs/heads/x")
        os.mkdir(inner)
        self.watch.watch([os.path.join(self.top, b"refs/heads"), inner])
        os.rmdir(inner)
        self.look()
        self.replace(b"refs/heads/main")
        self.assertIn(b"refs/heads/main", self.look())
        os.mkdir(inner)
        self.watch.watch([os.path.join(self.top, b"refs/heads"), inner])
        self.replace(b"refs/heads/x/y")
        self.assertIn(b"refs/heads/x/y", self.look())

    def test_a_directory_that_is_gone_already(self) -> None:
        self.watch.watch([os.path.join(self.top, b"refs/gone"), os.path.join(self.top, b"refs/heads")])
        self.replace(b"refs/heads/main")
        self.assertIn(b"refs/heads/main", self.look())


class DifferenceTests(SynchronousTestCase):
    def test_an_object_is_named_once(self) -> None:
        self.assertEqual(difference({}, {b"x": b"1", b"y": b"1"}).objects, (b"1",))

    def test_very_many_come_in_parts(self) -> None:
        new = {b"refs/%d" % number: b"%040d" % number for number in range(1200)}
        seen: dict[bytes, bytes] = {}
        told: list[bytes] = []
        for _ in range(3):
            news = difference(seen, new)
            self.assertLess(len(b" ".join(news.objects)), 32767 - 10)
            told += news.objects
            seen = dict(news.refs)
        self.assertEqual(sorted(told), sorted(new.values()))
        self.assertEqual(difference(seen, new).objects, ())
