"""A node that the gateway is told not to change: remote.NAME.annex-readonly."""

from __future__ import annotations

from typing import Union

from annexd.errors import Refused
from annexd.node import Allowance, Condition, Node
from annexd.protocol.keys import Key
from annexd.store import Caller, Outcome, Store, Writer


class ReadOnlyNode:
    """See `annexd.node.Node`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @property
    def uuid(self) -> bytes:
        return self._node.uuid

    @property
    def name(self) -> str:
        return self._node.name

    @property
    def cost(self) -> float:
        return self._node.cost

    @property
    def is_local(self) -> bool:
        return self._node.is_local

    @property
    def allowance(self) -> Allowance | None:
        return self._node.allowance

    @property
    def condition(self) -> Condition:
        return self._node.condition

    def store(self, caller: Caller) -> Store:
        return _ReadOnlyStore(self._node.store(caller))

    def close(self) -> None:
        self._node.close()


class _ReadOnlyStore:
    def __init__(self, store: Store) -> None:
        self._store = store
        self.present = store.present
        self.present_now = store.present_now
        self.lock = store.lock
        self.timestamp = store.timestamp
        self.read = store.read
        self.read_now = store.read_now
        self.changes = store.changes
        self.close = store.close

    @property
    def uuid(self) -> bytes:
        return self._store.uuid

    async def remove(self, key: Key, before: int | None = None) -> Outcome:
        raise self._refusal()

    async def write(self, key: Key, file: bytes) -> Union[Writer, Outcome]:
        raise self._refusal()

    def _refusal(self) -> Refused:
        return Refused("annex-readonly is set for this node on the gateway")
