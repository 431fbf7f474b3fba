"""
Sessions with the repositories on this disk, whatever transport the peer came
by: who may come in, what is open for whom, and what is left to do when a
session ends.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Callable, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from annexd.app.access import Operation, Rights, Verdict, restricted
from annexd.app.admin import Sessions
from annexd.app.logs import clean
from annexd.app.plan import Current
from annexd.errors import Denied, FramingError, PeerLost, Refused
from annexd.flow.disk import Hung
from annexd.flow.signal import first_of
from annexd.protocol.codec import encode
from annexd.protocol.messages import Changed, Error
from annexd.repo.changes import Follower
from annexd.repo.local import Repository
from annexd.router.directory import Directory, Visit
from annexd.router.places import Place
from annexd.sessions.activity import Activity
from annexd.sessions.command import shown
from annexd.sessions.gitlink import GitAccess
from annexd.sessions.handshake import greet
from annexd.sessions.serve import Server
from annexd.sessions.wire import Wire
from annexd.store import Caller, Store

_log = Logger()

Connect = Callable[[], Wire]
"""The peer's connection, once it is certain that there is something to talk about; may raise `Refused`."""


End = Callable[[str], None]
"""Ends a session for the reason given, though what it has under way may never end."""


@dataclass(frozen=True, slots=True)
class Seat:
    """
    What a session is for.  ``names`` are those by which rules know it, where
    it is not the repository itself; ``bypass`` is told which gateways the
    client's requests have passed through.
    """

    store: Store
    names: tuple[str, ...] = ()
    bypass: Callable[[tuple[bytes, ...]], None] = lambda gateways: None


class Proxies(Protocol):
    """What the repositories here proxy."""

    async def seat(self, repository: Repository, uuid: bytes, caller: Caller) -> Seat | None:
        """`None` where ``repository`` does not proxy for that UUID."""


Notice = Callable[[str], None]
"""Shows a sentence to the user at the other end."""


@dataclass(frozen=True, slots=True)
class Guest:
    """Who came, by what transport, to which repository, and what may be done there."""

    principal: str
    transport: str
    place: Place
    verdict: Verdict
    """Of the rules and of what limits the way in, together."""

    ruled: Verdict
    """Of the rules alone."""

    limits: Verdict
    """Of the way in alone."""

    address: str = ""
    """Where the peer is, as far as that is known."""

    node: bytes | None = None
    """The UUID of what the token is for behind the repository."""


class Host:
    """
    ``reactor`` has times and processes.  Repositories are found in
    ``directory``, rules and deadlines in ``current`` as they are when a guest
    comes.
    """

    def __init__(
        self,
        reactor: Any,
        directory: Directory[Repository],
        sessions: Sessions,
        current: Current,
        proxies: Proxies | None = None,
    ) -> None:
        self.reactor = reactor
        self._directory = directory
        self._sessions = sessions
        self._current = current
        self._proxies = proxies

    @property
    def current(self) -> Current:
        return self._current

    async def admit(
        self,
        principal: str,
        transport: str,
        path: bytes,
        home: bytes | None = None,
        limits: Rights = Rights.READ_WRITE,
        limited_by: str | None = None,
        address: str = "",
    ) -> Guest:
        """
        Raises `Refused`.  Who may not enter learns no more than that nothing
        is served there.  ``limits`` are those of the way in, or of the token
        that opened it; ``limited_by`` says to the log what they are, where the
        principal's name does not.
        """
        place = await self._directory.locate(path, home)
        ruled = self._current.access.verdict(principal, *place.aliases)
        hint = clean(principal) if limited_by is None else ""
        limiting = Verdict(limits, limited_by or hint, hint)
        verdict = ruled.within(limiting)
        if not verdict.rights.allow(Operation.ENTER):
            sentence = f"no repository is served at {shown(path)}"
            raise Denied(sentence, f"{sentence} for {clean(principal)} ({verdict.because})")
        return Guest(principal, transport, place, verdict, ruled, limiting, address)

    async def visit(self, guest: Guest) -> Visit[Repository]:
        return await self._directory.visit(guest.place)

    # --- sessions ------------------------------------------------------

    async def talk(
        self,
        guest: Guest,
        connect: Connect,
        notice: Notice,
        *,
        client: bytes = b"",
        uuid: bytes | None = None,
        git: bool = True,
    ) -> None:
        """
        The P2P protocol, until the client leaves.  ``client`` is the
        repository that it says it is, ``uuid`` the one that it expects here;
        without ``git`` there is no CONNECT.
        """
        ends: list[End] = []
        await self._unless_it_hangs(guest, ends, self._talk(guest, connect, ends, notice, client, uuid, git))

    async def _talk(
        self,
        guest: Guest,
        connect: Connect,
        ends: list[End],
        notice: Notice,
        client: bytes,
        uuid: bytes | None,
        git: bool,
    ) -> None:
        with await self.visit(guest) as repository:
            seat = await self._seat(guest, repository, uuid, Caller(client, guest.principal))
            with self._connected(guest, connect, ends) as (wire, activity):
                access = self._git_access(guest) if git else None
                await _serve(wire, seat, activity, access, lambda sentence: notice(clean(sentence)))
            # git-annex commits when a session ends, and clients look at the branch right after it.
            await repository.settle()

    async def announce(self, guest: Guest, connect: Connect, uuid: bytes | None = None) -> None:
        """A line for each change of a ref, until the client hangs up."""
        ends: list[End] = []
        await self._unless_it_hangs(guest, ends, self._announce(guest, connect, ends, uuid))

    async def _announce(self, guest: Guest, connect: Connect, ends: list[End], uuid: bytes | None) -> None:
        with await self.visit(guest) as repository:
            check_uuid(repository, uuid)
            _check_served(repository)
            guest.verdict.require(Operation.WATCH)
            with self._connected(guest, connect, ends) as (wire, activity):
                await _announce(wire, repository.changes.follow(), activity)

    async def _unless_it_hangs(self, guest: Guest, ends: list[End], work: Coroutine[Any, Any, None]) -> None:
        """
        When the repository's disk does not answer any more, the session is
        over for the client; what it has under way there goes on for itself.
        """
        disk = self._directory.disk(guest.place)
        if disk.down:
            work.close()
            raise Hung(disk.down)
        session = Deferred.fromCoroutine(work)

        async def over() -> None:
            await session

        try:
            await disk.patiently(over(), anyway=True)
        except Hung as error:
            for end in ends:
                end(str(error))
            session.cancel()
            raise

    async def _seat(self, guest: Guest, repository: Repository, uuid: bytes | None, caller: Caller) -> Seat:
        """The store that a session is for: here ``uuid`` says which."""
        if uuid is None or uuid == repository.uuid:
            return Seat(_own_store(repository, caller, guest.verdict))
        seat = None if self._proxies is None else await self._proxies.seat(repository, uuid, caller)
        if seat is None:
            raise _other_uuid(repository, uuid)
        ruled = self._current.access.verdict(guest.principal, *guest.place.aliases, node=seat.names)
        return replace(seat, store=restricted(seat.store, ruled.within(guest.limits)))

    def _git_access(self, guest: Guest) -> GitAccess:
        """For CONNECT, where git-annex is stricter than with git's own verbs."""
        refusal: Refused | None = None
        try:
            guest.verdict.require(Operation.PUSH)
        except Denied as error:
            refusal = error
        return GitAccess(self.reactor, guest.place.git_dir, refusal)

    @contextmanager
    def _connected(self, guest: Guest, connect: Connect, ends: list[End]) -> Iterator[tuple[Wire, Activity]]:
        """The peer as a wire, and an entry in the list of sessions; ``ends`` gets what ends it."""
        wire: Wire | None = None

        stopped = ""

        def stop(reason: str) -> None:
            nonlocal stopped
            stopped = stopped or reason
            if wire is not None:
                wire.abort(PeerLost(reason))

        activity = self._sessions.open(
            guest.principal, guest.place.name, guest.transport, stop, guest.address, guest.node
        )

        def give_up(reason: str) -> None:
            if wire is not None and not activity.verb == "GET":
                wire.send(Error(reason.encode()))  # in the middle of content nobody could tell it from that
                wire.hang_up()
            else:
                stop(reason)
            self._sessions.close(activity, reason)

        reason = ""
        ends.append(give_up)
        try:
            wire = connect()
            yield wire, activity
            wire.hang_up()
        except BaseException as error:
            # Not hang_up: a peer that takes nothing would never be let go.
            reason = stopped or str(error) or "the peer went away"
            stop(reason)
            raise
        finally:
            self._sessions.close(activity, reason)


# --- which store -------------------------------------------------------------


def _own_store(repository: Repository, caller: Caller, verdict: Verdict) -> Store:
    _check_served(repository)
    return restricted(repository.store(caller), verdict)


def _check_served(repository: Repository) -> None:
    unserved = repository.parts.unserved
    if unserved is not None:
        raise Refused(unserved)


def check_uuid(repository: Repository, uuid: bytes | None) -> None:
    """In the words that users of git-annex may have seen before."""
    if uuid is not None and uuid != repository.uuid:
        raise _other_uuid(repository, uuid)


def _other_uuid(repository: Repository, uuid: bytes) -> Refused:
    found = f"UUID {shown(repository.uuid)}" if repository.uuid else "uninitialized repository"
    return Refused(f"expected repository UUID {shown(uuid)} but found {found}")


# --- small parts -------------------------------------------------------------


async def _serve(wire: Wire, seat: Seat, activity: Activity, git: GitAccess | None, notice: Notice) -> None:
    """Until the client has heard all that was said to it."""
    store = seat.store
    try:
        greet(wire, store.uuid)
        await Server(wire, store, activity, git=git, notice=notice, bypass=seat.bypass).run()
    except FramingError:
        await _heard(wire)
        raise
    finally:
        await store.close()
    await _heard(wire)


async def _announce(wire: Wire, follower: Follower, activity: Activity) -> None:
    activity.begin("NOTIFYCHANGE")
    try:
        await follower.begin()
        await wire.write(b"READY\n")
        while True:
            shas = await first_of(follower.next(), wire.watch())
            await wire.write(encode(Changed(shas)))
    except PeerLost:
        activity.end("done")
    await _heard(wire)


async def _heard(wire: Wire) -> None:
    """Until the client has taken the last reply, or cares for it no more: most close both ways at once."""
    try:
        await wire.flushed()
    except PeerLost as error:
        wire.abort(error)
