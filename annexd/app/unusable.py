"""What takes the place of a node that annexd has no way to."""

from __future__ import annotations

import time
from typing import Any

from annexd.errors import Unavailable
from annexd.node import Condition, Health
from annexd.store import Caller, Store


class Unusable:
    """It takes part in clusters as a node that is never reached, and says why."""

    is_local = False
    allowance = None
    cost = float("inf")

    def __init__(self, uuid: bytes, name: str, reason: str) -> None:
        self.uuid = uuid
        self.name = name
        self.reason = reason
        self.condition = Condition(Health.DOWN, time.time(), reason)

    def store(self, caller: Caller) -> Store:
        return _Nothing(self)

    def close(self) -> None:
        pass


class _Nothing:
    """Every method raises `Unavailable`."""

    def __init__(self, node: Unusable) -> None:
        self._node = node

    @property
    def uuid(self) -> bytes:
        return self._node.uuid

    def present_now(self, key: object) -> None:
        return None

    def read_now(self, key: object, offset: int, file: bytes) -> None:
        return None

    async def _refuse(self, *_: Any) -> Any:
        raise Unavailable(f"{self._node.name}: {self._node.reason}")

    present = lock = remove = timestamp = read = write = changes = _refuse

    async def close(self) -> None:
        pass
