"""A process that is killed at any point of a brief upload leaves nothing that is not made up for."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Iterator
from typing import Any, Callable
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from annexd.repo.local import Repository
from annexd.store import Caller, Outcome
from tests.support.repositories import UUID, files_below, make_repository, open_repository
from tests.support.store_contract import key_of, put

_CALLS = ("open", "close", "write", "mkdir", "link", "rename", "unlink", "chmod", "ftruncate", "fsync")
"""Of module `os`, before which the process may be killed: all that change anything, and some more."""

_FEWEST = 20
"""Calls of an upload; with less it has not been looked at."""


class KilledTests(SynchronousTestCase):
    def test_at_any_point(self) -> None:
        self.kill_everywhere(fsync=False)

    def test_at_any_point_with_fsync(self) -> None:
        self.kill_everywhere(fsync=True)

    def kill_everywhere(self, fsync: bool) -> None:
        git_dir = make_repository(self.mktemp())
        seen = set()
        for point in itertools.count(1):
            content = b"content %d, %d" % (point, fsync)
            whole = self.upload(git_dir, content, fsync, point)
            repository, here = self.look(git_dir, content)
            seen.add(here)
            if whole:
                break
            store = repository.store(Caller(b"peer", "somebody"))
            self.assertTrue(self.does(put(store, key_of(content), content)).ok)
            self.assertEqual(repository.ledger.branch.holders(key_of(content)), {UUID})
        self.assertTrue(here)
        self.assertEqual(seen, {False, True})
        self.assertGreater(point, _FEWEST)

    def look(self, git_dir: bytes, content: bytes) -> tuple[Repository, bool]:
        """Open the repository as after a crash; is the content here, as the log says?"""
        repository = self.does(open_repository(git_dir))
        annex = repository.parts.layout.annex
        found = repository.parts.objects.find(key_of(content))
        if found is not None:
            with open(found[0], "rb") as file:
                self.assertEqual(file.read(), content)
            self.assertEqual(found[1].st_mode & 0o777, 0o444)
        logged = repository.ledger.branch.holders(key_of(content))
        self.assertEqual(logged, set() if found is None else {UUID})
        self.assertEqual(files_below(os.path.join(annex, b"transfer")), set())
        self.assertEqual(files_below(os.path.join(annex, b"tmp")), set())
        return repository, found is not None

    def upload(self, git_dir: bytes, content: bytes, fsync: bool, point: int) -> bool:
        """In a process that is killed before its call number ``point``; has it come to its end?"""
        child = os.fork()
        if not child:
            try:
                repository = self.does(open_repository(git_dir, fsync=fsync))
                store = repository.store(Caller(b"peer", "somebody"))
                with killed_at(point):
                    outcome = self.does(put(store, key_of(content), content))
                os._exit(0 if outcome == Outcome(True) else 1)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            self.assertEqual(os.WTERMSIG(status), signal.SIGKILL)
            return False
        self.assertEqual(status, 0)
        return True

    def does(self, work: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work))


@contextlib.contextmanager
def killed_at(point: int) -> Iterator[None]:
    calls = itertools.count(1)

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def act(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == point:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return act

    with contextlib.ExitStack() as patched:
        for name in _CALLS:
            patched.enter_context(mock.patch.object(os, name, counted(getattr(os, name))))
        yield
