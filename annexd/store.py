"""
What any place where keys live can do: the one interface that sessions serve,
that peers are asked through, and that clusters are made of.

A `Store` is a view for one session: whoever hands it out has already bound it
to a `Caller`.  All methods may raise `Refused` (the request will not be done),
`Unavailable` (the place cannot be reached) and `PeerLost` (it went away half
way).  Everything that is handed out (`Lease`, `Reader`, `Writer`) is given
back with `release()` or `close()`, however the session ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Union, runtime_checkable

from annexd.flow.body import Sink, Source
from annexd.protocol.keys import Key


@dataclass(frozen=True, slots=True)
class Caller:
    """
    On whose behalf a store is used.

    ``uuid`` is the repository that the peer says it is (not checked by
    anyone), ``name`` the principal that annexd knows it by, ``bypass`` the
    gateways that its requests have already passed through.
    """

    uuid: bytes
    name: str
    bypass: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    How a change ended.  ``also`` names other repositories that it reached,
    ``reason`` says why it failed.
    """

    ok: bool
    also: tuple[bytes, ...] = ()
    reason: str = ""


class Lease(Protocol):
    """A lock on a key's content: it cannot be removed while this is held."""

    async def release(self) -> None: ...

    async def watch(self) -> None:
        """Never returns; raises `Unavailable` when it is not held any more, though nobody has released it."""


class Reader(Protocol):
    """A key's content from an offset on, ready to be sent."""

    source: Source
    """Exactly ``source.remaining`` bytes are to be announced and sent."""

    async def valid(self) -> bool:
        """After the last byte: is what was sent still the key's content?"""

    async def close(self, taken: bool) -> None:
        """``taken``: the peer said that it has it all."""


class Writer(Protocol):
    """A key's content on its way in."""

    offset: int
    """How many bytes are here already; the peer sends the rest."""

    sink: Sink

    def announce(self, length: int) -> None:
        """Called once, before anything goes into ``sink``: this many bytes will."""

    async def commit(self, valid: bool) -> Outcome:
        """
        Verify, move into place, record.  ``valid`` is the peer's own opinion
        of what it sent; `False` (and silence, in version 0) forces a full
        check.  Content that turns out wrong is deleted.
        """

    async def recheck(self) -> Outcome:
        """Nothing was sent: has the content come here by other means?"""

    async def close(self) -> None:
        """
        Release everything.  Without a `commit` before it, the bytes that
        arrived are kept for the next try.
        """


@runtime_checkable
class Sharer(Protocol):
    """A `Writer` that may have its content checked together with that of others."""

    def share_check(self, other: object) -> None:
        """
        Both get the same bytes from now on, from the same offset: what is
        costly about checking them need be done only once, where that can be.
        Called before `Writer.announce`.
        """


class Store(Protocol):
    @property
    def uuid(self) -> bytes: ...

    async def present(self, key: Key) -> bool: ...

    def present_now(self, key: Key) -> bool | None:
        """The same where it can be told without waiting; `None` where it cannot, or is refused."""

    async def lock(self, key: Key) -> Lease:
        """Refused when the content is absent or being removed."""

    async def remove(self, key: Key, before: int | None = None) -> Outcome:
        """
        Remove, and succeed where there is nothing to remove.  With ``before``
        (on the clock of `timestamp`) only if that moment has not come when
        the content is locked for removal.
        """

    async def timestamp(self) -> int:
        """Whole seconds of a clock that never goes back."""

    async def read(self, key: Key, offset: int, file: bytes) -> Reader:
        """Raises `Absent` when the content is not here."""

    def read_now(self, key: Key, offset: int, file: bytes) -> bytes | None:
        """
        All of it from ``offset`` on, where it is small and can be had without
        waiting; `None` elsewhere, or where it is refused.
        """

    async def write(self, key: Key, file: bytes) -> Union[Writer, Outcome]:
        """An `Outcome` instead of a writer: the content is here already."""

    async def changes(self) -> tuple[bytes, ...]:
        """Wait until a git ref changes; the new object names, in hex."""

    async def close(self) -> None: ...
