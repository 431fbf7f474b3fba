"""A repository on disk keeps the promises of a store."""

from __future__ import annotations

import os
import subprocess

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from annexd.flow.workers import InlineWorkers
from annexd.repo.local import Repository
from annexd.store import Caller, Store
from tests.support.store_contract import StoreContract

UUID = "5c3fd9ca-3f1f-4d1c-8c0e-6a9f2b1f0001"


def make_repository(path: str, *, bare: bool = True, version: int = 10, **config: str) -> bytes:
    """What ``git annex init`` leaves, as far as it matters; returns the git directory."""
    subprocess.run(["git", "init", "-q", *(["--bare"] if bare else []), path], check=True)
    git_dir = path if bare else os.path.join(path, ".git")
    for name, value in {"annex.uuid": UUID, "annex.version": str(version), "annex.diskreserve": "0", **config}.items():
        subprocess.run(["git", "--git-dir", git_dir, "config", name, value], check=True)
    os.mkdir(os.path.join(git_dir, "annex"))
    return os.fsencode(git_dir)


class LocalStoreTests(StoreContract, TestCase):
    version = 10
    bare = True

    async def make_store(self) -> Store:
        if not hasattr(self, "repository"):
            git_dir = make_repository(self.mktemp(), bare=self.bare, version=self.version)
            self.repository = await Repository.open(git_dir, workers=InlineWorkers(), clock=Clock(), fsync=False)
        return self.repository.store(Caller(b"peer", "somebody"))


class Version8Tests(LocalStoreTests):
    version = 8


class WorkTreeTests(LocalStoreTests):
    bare = False
