"""Gateways telling each other what they know; git, and the repository, are played."""

from __future__ import annotations

from typing import Any, Callable, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.exchange import Exchange
from annexd.app.tidings import Heard
from annexd.errors import Unavailable
from annexd.flow.workers import InlineWorkers
from annexd.repo.git import BRANCH
from annexd.repo.local import Repository

REJECTED = "git push: ! [rejected] git-annex -> synced/git-annex (fetch first)"


class PlayedRepository:
    """
    Branches are sets of facts, and commits numbered, so that two with the same
    facts are not the same commit.  It is its own git, its ledger, and what
    follows its changes.
    """

    def __init__(self) -> None:
        self.git = self.ledger = self.changes = self
        self.commits: dict[bytes, frozenset[str]] = {}
        self.merges: set[bytes] = set()
        self.at: dict[bytes, bytes] = {}
        self._waiting: list[Deferred[None]] = []
        self.git_dir = b"/"
        self.workers = InlineWorkers()
        self.commit(BRANCH)

    def commit(self, ref: bytes, *facts: str) -> None:
        name = b"%d" % len(self.commits)
        self.commits[name] = frozenset(facts)
        self.at[ref] = name
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)

    async def take_in(self) -> bool:
        return True

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    def refs(self) -> dict[bytes, bytes]:
        return dict(self.at)

    def contains(self, commit: bytes, other: bytes) -> bool:
        return commit == other

    def same_tree(self, commit: bytes, other: bytes) -> bool:
        return self.commits[commit] == self.commits[other]

    def lacking(self, names: set[bytes]) -> set[bytes]:
        return names - self.commits.keys()

    def is_merge(self, commit: bytes) -> bool:
        return commit in self.merges

    def follow(self) -> PlayedRepository:
        return self

    async def begin(self) -> None:
        pass

    async def next(self) -> None:
        self._waiting.append(Deferred())
        await self._waiting[-1]


class Exchanging(SynchronousTestCase):
    poll_s = 0.0

    def setUp(self) -> None:
        self.clock = Clock()
        self.repository = PlayedRepository()
        self.ran: list[tuple[str, str]] = []
        self.errors: dict[str, list[str]] = {}
        self.theirs: tuple[str, ...] = ()
        self.names = ["G2"]
        self.hanging: set[str] = set()
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        played = cast(Repository, self.repository)
        self.listening: list[Deferred[None]] = []
        self.begun: list[Callable[[], None]] = []
        self.heard: list[Heard] = []
        self.exchange = Exchange(
            self.clock, played, self, lambda: self.names, self.listen, poll_s=self.poll_s
        )

    async def fetch(self, remote: str, *refspecs: bytes) -> None:
        await self.run_git("fetch", remote)
        self.repository.at[b"refs/remotes/%b/git-annex" % remote.encode()] = b"theirs"
        self.repository.commits[b"theirs"] = frozenset(self.theirs)

    async def push(self, remote: str, *refspecs: bytes) -> None:
        await self.run_git("push", remote)

    async def run_git(self, verb: str, remote: str) -> None:
        self.ran.append((verb, remote))
        if remote in self.hanging:
            await Deferred[None]()
        errors = self.errors.get(verb)
        if errors:
            raise Unavailable(errors.pop(0))

    async def listen(self, name: str, begun: Callable[[], None], heard: Heard) -> None:
        self.begun.append(begun)
        self.heard.append(heard)
        self.listening.append(Deferred())
        await self.listening[-1]

    def start(self) -> None:
        self.exchange.start()
        self.addCleanup(lambda: self.successResultOf(Deferred.fromCoroutine(self.exchange.stop())))

    def news(self, *facts: str) -> list[tuple[str, str]]:
        """What is done once there are new facts here."""
        self.ran.clear()
        self.repository.commit(BRANCH, *facts)
        self.clock.advance(1)
        return self.ran

    def logged(self, words: str) -> list[str]:
        return [text for text in map(str, map(formatEvent, self.events)) if words in text]


class Deaf(Exchanging):
    """The neighbours tell nothing."""

    def test_it_takes_and_gives(self) -> None:
        self.start()
        self.assertEqual(self.ran, [("fetch", "G2")])
        self.assertEqual(self.news("a"), [("fetch", "G2"), ("push", "G2")])

    def test_who_knows_the_same_is_told_nothing(self) -> None:
        self.start()
        self.theirs = ("a",)
        self.assertEqual(self.news("a"), [("fetch", "G2")])

    def test_outrun_by_others_it_takes_again_and_says_nothing(self) -> None:
        self.start()
        self.errors["push"] = [REJECTED]
        self.assertEqual(self.news("a"), [("fetch", "G2"), ("push", "G2")] * 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_for_ever(self) -> None:
        self.start()
        self.errors["push"] = [REJECTED] * 4
        self.assertEqual(len(self.news("a")), 8)
        self.ran.clear()
        self.clock.advance(5)
        self.assertEqual(self.ran, [("fetch", "G2"), ("push", "G2")])

    def test_one_that_is_down_is_tried_again_less_and_less_often(self) -> None:
        self.errors["fetch"] = ["git fetch: connection refused"] * 3
        self.start()
        for pause in (5, 10, 20):
            self.ran.clear()
            self.clock.advance(pause - 1)
            self.assertEqual(self.ran, [])
            self.clock.advance(1)
            self.assertEqual(self.ran, [("fetch", "G2")])
        self.ran.clear()
        self.clock.advance(1000)
        self.assertEqual(self.ran, [])
        warnings = self.logged("not exchanged")
        self.assertEqual((len(warnings), len(self.logged("exchanged again"))), (1, 1))

    def test_nobody_waits_for_one_that_hangs(self) -> None:
        self.hanging.add("G2")
        self.names = ["G2", "G3"]
        self.start()
        self.assertEqual(self.ran, [("fetch", "G2"), ("fetch", "G3")])
        self.assertEqual(self.news("a"), [("fetch", "G3"), ("push", "G3")])

    def test_neighbours_come_and_go(self) -> None:
        self.start()
        self.names = ["G3"]
        self.assertEqual(self.news("a"), [("fetch", "G3"), ("push", "G3")])


class Polling(Exchanging):
    poll_s = 300.0

    def test_from_time_to_time(self) -> None:
        self.start()
        self.news("a")
        self.ran.clear()
        self.clock.advance(299)
        self.assertEqual(self.ran, [])
        self.clock.advance(1)
        self.assertEqual(self.ran, [("fetch", "G2"), ("push", "G2")])
        self.ran.clear()
        self.theirs = ("a",)
        self.clock.advance(300)
        self.assertEqual(self.ran, [("fetch", "G2")])


class Hearing(Exchanging):
    """The neighbour tells of changes."""

    def hear(self, *commits: bytes) -> list[tuple[str, str]]:
        """What is done about that."""
        self.ran.clear()
        self.heard[-1](commits)
        self.clock.advance(2)
        return self.ran

    def start(self) -> None:
        super().start()
        self.begun[-1]()

    def test_there_is_a_look_when_it_begins(self) -> None:
        self.start()
        self.assertEqual(self.ran, [("fetch", "G2")] * 2)

    def test_what_is_not_here_is_fetched(self) -> None:
        self.start()
        self.assertEqual(self.hear(b"new"), [("fetch", "G2")])
        self.assertEqual(self.hear(b"theirs"), [])

    def test_changes_there_come_in_bursts(self) -> None:
        self.start()
        self.heard[-1]((b"x",))
        self.clock.advance(1)
        self.assertEqual(self.hear(b"y"), [("fetch", "G2")])

    def test_what_changes_here_is_pushed_at_once(self) -> None:
        self.start()
        self.assertEqual(self.news("a"), [("push", "G2")])
        self.assertEqual(self.hear(self.repository.at[BRANCH]), [])

    def test_what_it_has_been_given_by_others_is_not_pushed(self) -> None:
        self.start()
        self.repository.commits[b"new"] = frozenset("a")
        self.heard[-1]((b"new",))
        self.repository.at[BRANCH] = b"new"
        self.ran.clear()
        self.clock.advance(2)
        self.assertEqual(self.ran, [])

    def test_outrun_it_takes_first(self) -> None:
        self.start()
        self.errors["push"] = [REJECTED]
        self.assertEqual(self.news("a"), [("push", "G2"), ("fetch", "G2"), ("push", "G2")])

    def test_merges_of_the_same_are_not_merged_for_ever(self) -> None:
        self.start()
        self.repository.merges.add(b"%d" % len(self.repository.commits))
        self.theirs = ("a",)
        self.assertEqual(self.news("a"), [("fetch", "G2")])

    def test_it_falls_silent_and_speaks_again(self) -> None:
        self.start()
        self.listening[-1].errback(Unavailable("gone"))
        self.assertEqual(self.news("a"), [("fetch", "G2"), ("push", "G2")])
        self.clock.advance(4)
        self.ran.clear()
        self.begun[-1]()
        self.assertEqual((len(self.begun), self.ran), (2, [("fetch", "G2"), ("push", "G2")]))
        self.assertEqual(len(self.logged("not heard of: gone")), 1)
        self.assertEqual(len(self.logged("heard of again")), 1)

    def test_one_that_never_speaks_is_asked_less_and_less_often(self) -> None:
        self.exchange.start()
        self.addCleanup(lambda: self.successResultOf(Deferred.fromCoroutine(self.exchange.stop())))
        for pause in (10, 20, 40):
            self.listening[-1].errback(Unavailable("no such command"))
            count = len(self.listening)
            self.clock.advance(pause - 1)
            self.assertEqual(len(self.listening), count)
            self.clock.advance(1)
            self.assertEqual(len(self.listening), count + 1)
        self.assertEqual(len(self.logged("not heard of")), 1)

    def test_nobody_listens_when_it_is_over(self) -> None:
        self.start()
        self.heard[-1]((b"x",))
        self.successResultOf(Deferred.fromCoroutine(self.exchange.stop()))
        self.assertTrue(self.listening[-1].called)
        self.assertEqual(self.clock.getDelayedCalls(), [])
