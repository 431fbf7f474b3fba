"""Gateways telling each other what they know; git, and the repository, are played."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.exchange import Exchange
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

    def follow(self) -> PlayedRepository:
        return self

    async def next(self) -> None:
        self._waiting.append(Deferred())
        await self._waiting[-1]


class Exchanging(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.repository = PlayedRepository()
        self.ran: list[tuple[bytes, ...]] = []
        self.errors: dict[bytes, list[str]] = {}
        self.theirs: tuple[str, ...] = ()
        self.names = ["G2"]
        self.hanging: set[bytes] = set()
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        played = cast(Repository, self.repository)
        self.exchange = Exchange(self.clock, played, self.git, lambda: self.names)

    async def git(self, arguments: Sequence[bytes]) -> None:
        verb, remote = arguments[0], next(word for word in arguments[1:] if not word.startswith(b"-"))
        self.ran.append((verb, remote))
        if remote in self.hanging:
            await Deferred[None]()
        errors = self.errors.get(verb)
        if errors:
            raise Unavailable(errors.pop(0))
        if verb == b"fetch":
            self.repository.at[b"refs/remotes/%b/git-annex" % remote] = b"theirs"
            self.repository.commits[b"theirs"] = frozenset(self.theirs)

    def start(self) -> None:
        self.exchange.start()
        self.addCleanup(lambda: self.successResultOf(Deferred.fromCoroutine(self.exchange.stop())))

    def news(self, *facts: str) -> list[tuple[bytes, ...]]:
        """What is done once there are new facts here."""
        self.ran.clear()
        self.repository.commit(BRANCH, *facts)
        self.clock.advance(1)
        return self.ran

    def test_it_takes_and_gives(self) -> None:
        self.start()
        self.assertEqual(self.ran, [(b"fetch", b"G2")])
        self.assertEqual(self.news("a"), [(b"fetch", b"G2"), (b"push", b"G2")])

    def test_who_knows_the_same_is_told_nothing(self) -> None:
        self.start()
        self.theirs = ("a",)
        self.assertEqual(self.news("a"), [(b"fetch", b"G2")])

    def test_outrun_by_others_it_takes_again_and_says_nothing(self) -> None:
        self.start()
        self.errors[b"push"] = [REJECTED]
        self.assertEqual(self.news("a"), [(b"fetch", b"G2"), (b"push", b"G2")] * 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_for_ever(self) -> None:
        self.start()
        self.errors[b"push"] = [REJECTED] * 4
        self.assertEqual(len(self.news("a")), 8)
        self.ran.clear()
        self.clock.advance(5)
        self.assertEqual(self.ran, [(b"fetch", b"G2"), (b"push", b"G2")])

    def test_one_that_is_down_is_tried_again_less_and_less_often(self) -> None:
        self.errors[b"fetch"] = ["git fetch: connection refused"] * 3
        self.start()
        for pause in (5, 10, 20):
            self.ran.clear()
            self.clock.advance(pause - 1)
            self.assertEqual(self.ran, [])
            self.clock.advance(1)
            self.assertEqual(self.ran, [(b"fetch", b"G2")])
        self.ran.clear()
        self.clock.advance(1000)
        self.assertEqual(self.ran, [])
        warnings = self.logged("not exchanged")
        self.assertEqual((len(warnings), len(self.logged("exchanged again"))), (1, 1))

    def test_nobody_waits_for_one_that_hangs(self) -> None:
        self.hanging.add(b"G2")
        self.names = ["G2", "G3"]
        self.start()
        self.assertEqual(self.ran, [(b"fetch", b"G2"), (b"fetch", b"G3")])
        self.assertEqual(self.news("a"), [(b"fetch", b"G3"), (b"push", b"G3")])

    def test_neighbours_come_and_go(self) -> None:
        self.start()
        self.names = ["G3"]
        self.assertEqual(self.news("a"), [(b"fetch", b"G3"), (b"push", b"G3")])

    def logged(self, words: str) -> list[str]:
        return [text for text in map(str, map(formatEvent, self.events)) if words in text]
