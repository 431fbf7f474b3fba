"""A repository on disk keeps the promises of a store."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from annexd.repo import transfer
from annexd.store import Caller, Store
from tests.support.repositories import make_repository, open_repository
from tests.support.store_contract import StoreContract


class LocalStoreTests(StoreContract, TestCase):
    version = 10
    bare = True
    one_upload_at_a_time = False  # all is in memory until it is complete

    async def make_store(self) -> Store:
        if not hasattr(self, "repository"):
            git_dir = make_repository(self.mktemp(), bare=self.bare, version=self.version)
            self.repository = await open_repository(git_dir)
        return self.repository.store(Caller(b"peer", "somebody"))


class Version8Tests(LocalStoreTests):
    version = 8


class WorkTreeTests(LocalStoreTests):
    bare = False


class LongTests(LocalStoreTests):
    """Of content that goes into its file as it comes."""

    one_upload_at_a_time = True

    def setUp(self) -> None:
        self.patch(transfer, "BRIEF", -1)
