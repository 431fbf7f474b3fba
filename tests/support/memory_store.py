"""A store in memory, for tests of everything that is made of stores."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Callable, Union

from twisted.internet.defer import Deferred

from annexd.errors import Absent, Refused, Unavailable
from annexd.flow.body import Buffer
from annexd.protocol.keys import Key
from annexd.store import Lease, Outcome, Reader, Writer

_HASHES = {
    b"MD5": hashlib.md5,
    b"SHA1": hashlib.sha1,
    b"SHA224": hashlib.sha224,
    b"SHA256": hashlib.sha256,
    b"SHA384": hashlib.sha384,
    b"SHA512": hashlib.sha512,
}


def is_content_of(key: Key, data: bytes) -> bool:
    """Whether ``data`` is what ``key`` names; keys of unknown backends are judged by size."""
    if key.size is not None and key.size != len(data):
        return False
    backend = key.backend.removesuffix(b"E")
    if backend not in _HASHES:
        return True
    name = key.name.partition(b".")[0] if key.backend.endswith(b"E") else key.name
    return _HASHES[backend](data).hexdigest().encode() == name


@dataclass
class Shelf:
    """What several stores (one for each session) have in common."""

    uuid: bytes = b"memory"
    now: Callable[[], int] = lambda: 1000
    content: dict[Key, bytes] = field(default_factory=dict)
    partial: dict[Key, bytes] = field(default_factory=dict)
    uploading: set[Key] = field(default_factory=set)
    leases: list[MemoryLease] = field(default_factory=list)
    open: list[object] = field(default_factory=list)
    """Readers and writers that were not closed yet."""
    closings: list[tuple[Key, bool]] = field(default_factory=list)
    """What readers were told when they were closed."""
    waiting: list[Deferred[tuple[bytes, ...]]] = field(default_factory=list)
    prompt: bool = False
    """Small content can be had without waiting, and without a reader."""

    def changed(self, *shas: bytes) -> None:
        """Refs point at ``shas`` now."""
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            one.callback(shas)

    def locked(self, key: Key) -> bool:
        return any(lease.key == key for lease in self.leases)


class BytesSource:
    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def remaining(self) -> int:
        return len(self._data)

    async def read(self, limit: int) -> Buffer:
        data, self._data = self._data[:limit], self._data[limit:]
        return data


class BytesSink:
    def __init__(self, start: bytes = b"") -> None:
        self.data = bytearray(start)

    async def write(self, data: Buffer) -> None:
        self.data += data


class MemoryLease:
    def __init__(self, shelf: Shelf, key: Key) -> None:
        self.key = key
        self._shelf = shelf
        self._broken: Deferred[None] = Deferred()
        shelf.leases.append(self)

    async def release(self) -> None:
        if self in self._shelf.leases:
            self._shelf.leases.remove(self)

    async def watch(self) -> None:
        await self._broken

    def lose(self) -> None:
        """As when the place where it is held goes away."""
        self._broken.errback(Unavailable("the lock was lost"))


class MemoryReader:
    def __init__(self, shelf: Shelf, key: Key, offset: int) -> None:
        self._shelf = shelf
        self._key = key
        self._content = shelf.content[key]
        self.source = BytesSource(self._content[offset:])
        shelf.open.append(self)

    async def valid(self) -> bool:
        return self._shelf.content.get(self._key) == self._content

    async def close(self, taken: bool) -> None:
        if self in self._shelf.open:
            self._shelf.open.remove(self)
            self._shelf.closings.append((self._key, taken))


class MemoryWriter:
    def __init__(self, shelf: Shelf, key: Key) -> None:
        self._shelf = shelf
        self._key = key
        self._over = False
        self.announced: int | None = None
        start = shelf.partial.get(key, b"")
        self.offset = len(start)
        self.sink = BytesSink(start)
        shelf.uploading.add(key)
        shelf.open.append(self)

    def announce(self, length: int) -> None:
        self.announced = length

    async def commit(self, valid: bool) -> Outcome:
        data = bytes(self.sink.data)
        self._over = True
        self._shelf.partial.pop(self._key, None)
        if not is_content_of(self._key, data):
            return Outcome(False, reason="the content is not what the key says")
        self._shelf.content.setdefault(self._key, data)
        return Outcome(True)

    async def recheck(self) -> Outcome:
        return Outcome(self._key in self._shelf.content)

    async def close(self) -> None:
        if self not in self._shelf.open:
            return
        self._shelf.open.remove(self)
        self._shelf.uploading.discard(self._key)
        if not self._over:
            self._shelf.partial[self._key] = bytes(self.sink.data)


class MemoryStore:
    """
    One session's view of a `Shelf`.  ``refusing`` maps names of methods to
    errors that they shall raise.
    """

    def __init__(self, shelf: Shelf | None = None) -> None:
        self.shelf = shelf or Shelf()
        self.refusing: dict[str, Exception] = {}
        self.closed = False

    @property
    def uuid(self) -> bytes:
        return self.shelf.uuid

    def present_now(self, key: Key) -> bool | None:
        return None if "present" in self.refusing else key in self.shelf.content

    async def present(self, key: Key) -> bool:
        self._admit("present")
        return key in self.shelf.content

    def read_now(self, key: Key, offset: int, file: bytes) -> bytes | None:
        if not self.shelf.prompt or "read" in self.refusing or key not in self.shelf.content:
            return None
        content = self.shelf.content[key][offset:]
        return bytes(content) if len(content) <= 65536 else None

    async def lock(self, key: Key) -> Lease:
        self._admit("lock")
        if key not in self.shelf.content:
            raise Absent("the content is not here")
        return MemoryLease(self.shelf, key)

    async def remove(self, key: Key, before: int | None = None) -> Outcome:
        self._admit("remove")
        if key not in self.shelf.content:
            return Outcome(True)
        if self.shelf.locked(key):
            raise Refused("the content is locked")
        if before is not None and self.shelf.now() >= before:
            return Outcome(False, reason="too late")
        del self.shelf.content[key]
        return Outcome(True)

    async def timestamp(self) -> int:
        self._admit("timestamp")
        return self.shelf.now()

    async def read(self, key: Key, offset: int, file: bytes) -> Reader:
        self._admit("read")
        if key not in self.shelf.content:
            raise Absent("the content is not here")
        return MemoryReader(self.shelf, key, offset)

    async def write(self, key: Key, file: bytes) -> Union[Writer, Outcome]:
        self._admit("write")
        if key in self.shelf.content:
            return Outcome(True)
        if key in self.shelf.uploading:
            raise Refused("transfer already in progress, or unable to take transfer lock")
        return MemoryWriter(self.shelf, key)

    async def changes(self) -> tuple[bytes, ...]:
        self._admit("changes")
        waiting: Deferred[tuple[bytes, ...]] = Deferred()
        self.shelf.waiting.append(waiting)
        try:
            return await waiting
        finally:
            if waiting in self.shelf.waiting:
                self.shelf.waiting.remove(waiting)

    async def close(self) -> None:
        self.closed = True

    def _admit(self, what: str) -> None:
        error = self.refusing.get(what)
        if error is not None:
            raise error
