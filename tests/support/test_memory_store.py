"""The store in memory keeps the promises of a store."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from annexd.store import Store
from tests.support.memory_store import MemoryStore, Shelf
from tests.support.store_contract import StoreContract


class MemoryStoreTests(StoreContract, TestCase):
    def setUp(self) -> None:
        self.shelf = Shelf()

    async def make_store(self) -> Store:
        return MemoryStore(self.shelf)
