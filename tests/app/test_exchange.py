"""When gateways tell each other what they know, and when no more."""

from __future__ import annotations

import os
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from annexd.app.exchange import Exchange
from annexd.app.exchange_git import git_in
from annexd.flow.workers import InlineWorkers
from annexd.repo.local import Repository


class Gateway:
    """As much of a repository as is needed."""

    def __init__(self, path: str) -> None:
        os.mkdir(path)
        self.git_dir = os.fsencode(path)
        self.workers = InlineWorkers()
        self.changes = self.ledger = self.git = self
        self.changed: Deferred[None] = Deferred()

    def follow(self) -> Gateway:
        return self

    async def begin(self) -> None:
        pass

    async def next(self) -> None:
        self.changed = Deferred()
        await self.changed

    async def take_in(self) -> bool:
        return False

    async def run(self, function: Any, *arguments: Any) -> bytes:
        """What the branch is at."""
        return b"tip"


class SlowGit:
    """Does nothing until it is told, and takes its time to end when it is called off."""

    def __init__(self) -> None:
        self.running: list[Deferred[None]] = []
        self.called_off: list[Deferred[None]] = []
        self.asked: list[str] = []

    async def fetch(self, remote: str, *refspecs: bytes) -> None:
        await self.ask("fetch")

    async def push(self, remote: str, *refspecs: bytes) -> None:
        await self.ask("push")

    async def ask(self, verb: str) -> None:
        self.asked.append(verb)
        self.running.append(Deferred())
        try:
            await self.running[-1]
        except CancelledError:
            self.called_off.append(Deferred())
            await self.called_off[-1]
            raise


class ExchangeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.git = SlowGit()
        self.gateway = Gateway(self.mktemp())
        self.neighbours = ["one", "two"]
        self.over = 0
        repository = cast(Repository, self.gateway)
        self.exchange = Exchange(
            self.clock, repository, self.git, lambda: self.neighbours, self.listen, over=self.ended
        )
        self.addCleanup(self.stop)
        self.exchange.start()

    def stop(self) -> None:
        stopping = Deferred.fromCoroutine(self.exchange.stop())
        for ending in self.git.called_off:
            if not ending.called:
                ending.callback(None)
        self.successResultOf(stopping)

    async def listen(self, name: str, begun: Any, heard: Any) -> None:
        await Deferred[None]()

    def ended(self) -> None:
        self.over += 1

    def finish(self) -> None:
        """What git was asked, until nothing more is."""
        for _ in range(10):
            for running in self.git.running:
                if not running.called:
                    running.callback(None)

    def test_called_off_in_the_middle(self) -> None:
        stopping = Deferred.fromCoroutine(self.exchange.stop())
        self.git.called_off[0].callback(None)
        self.assertNoResult(stopping)
        self.git.called_off[1].callback(None)
        self.successResultOf(stopping)
        self.assertEqual((self.over, self.flushLoggedErrors()), (1, []))

    def test_after_each_change(self) -> None:
        self.finish()
        self.assertEqual(self.git.asked, ["fetch", "fetch", "push", "push"])
        self.gateway.changed.callback(None)
        self.clock.advance(2)
        self.assertEqual(len(self.git.asked), 6)
        self.finish()

    def test_when_there_is_nobody_any_more(self) -> None:
        self.finish()
        self.neighbours.clear()
        self.gateway.changed.callback(None)
        self.clock.advance(2)
        self.assertEqual(self.over, 1)

    def test_when_the_repository_is_another_one(self) -> None:
        self.finish()
        os.rename(self.gateway.git_dir, self.gateway.git_dir + b".old")
        os.mkdir(self.gateway.git_dir)
        self.gateway.changed.callback(None)
        self.clock.advance(2)
        self.assertEqual((self.over, len(self.git.asked)), (1, 4))

    def test_when_the_repository_is_gone(self) -> None:
        self.finish()
        os.rmdir(self.gateway.git_dir)
        self.gateway.changed.callback(None)
        self.clock.advance(2)
        self.assertEqual((self.over, self.flushLoggedErrors()), (1, []))


class GitTests(TestCase):
    """A git that says in what environment it runs."""

    async def environment(self, own_ssh: bool = False, **given: str) -> dict[str, str]:
        from twisted.internet import reactor

        top = os.path.abspath(self.mktemp())
        os.mkdir(top)
        with open(os.path.join(top, "git"), "w") as file:
            file.write('#!/bin/sh\ncd "$2" && env > said\n')
        os.chmod(file.name, 0o755)
        environ = {"PATH": f"{top}:{os.defpath}", **given}
        raw = {os.fsencode(name): os.fsencode(value) for name, value in environ.items()}
        config = {b"core.sshcommand": b"x"} if own_ssh else {}
        await git_in(reactor, os.fsencode(top), raw, config)([b"fetch"])
        with open(os.path.join(top, "said")) as file:
            return dict(line.rstrip("\n").split("=", 1) for line in file)

    async def test_nobody_is_asked_for_anything(self) -> None:
        found = await self.environment()
        self.assertEqual((found["GIT_TERMINAL_PROMPT"], found["GIT_ASKPASS"]), ("0", ""))
        self.assertEqual(found["SSH_ASKPASS_REQUIRE"], "never")
        self.assertIn("BatchMode=yes", found["GIT_SSH_COMMAND"])

    async def test_what_leaked_from_another_git_is_dropped(self) -> None:
        leaked = ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_CONFIG_COUNT", "GIT_OBJECT_DIRECTORY")
        found = await self.environment(**dict.fromkeys(leaked, "/elsewhere"))
        self.assertNotIn("/elsewhere", found.values())

    async def test_the_users_way_to_ssh(self) -> None:
        self.assertEqual((await self.environment(GIT_SSH_COMMAND="ssh -v"))["GIT_SSH_COMMAND"], "ssh -v")
        self.assertNotIn("GIT_SSH_COMMAND", await self.environment(GIT_SSH="myssh"))
        self.assertNotIn("GIT_SSH_COMMAND", await self.environment(own_ssh=True))
