"""
The connections to one peer: opened when they are wanted, kept warm, shared by
all sessions, one request at a time on each.

A peer that is dead or frozen costs one deadline, once.  Whoever misses an
answer, or a connection, takes the link down: all who wait for one are told so
at once, and so are all who come, until the peer has answered `Watch`, which
tries it again from time to time.  When nobody has asked for long, it does not:
then the first one to come is let through, and the others hear the same until
he has an answer.  But where others have heard from the peer meanwhile, only
the one request fails.
"""

from __future__ import annotations

import time
from random import Random
from typing import Callable

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from annexd.errors import AnnexdError, PeerLost, Refused, Stalled, Unavailable
from annexd.node import Condition
from annexd.protocol.keys import Key
from annexd.protocol.messages import Bypass
from annexd.remotes.dialing import Dialer, Explain
from annexd.remotes.pool import Connection, Idle
from annexd.remotes.queue import Queue
from annexd.remotes.vitals import Backoff, Vitals
from annexd.remotes.watch import Watch
from annexd.sessions.ask import Peer
from annexd.sessions.deadlines import Patience
from annexd.sessions.handshake import introduce
from annexd.sessions.wire import Wire

_BYPASS = 2
"""The version from which on a peer knows it."""

_CRAMPED_S = 5.0
"""A peer that serves some connections and takes no more is not asked for another one so soon."""

_BEYOND = 8
"""Times as many as there should be, at most."""

_NOBODYS = Key.parse(b"WORM-s1-m0--annexd-asks")
"""A key to ask for where any answer will do."""


class Link:
    """
    ``name`` is what users call the peer, ``uuid`` what is asked for there,
    ``most`` how many requests should go to it at once: when nobody gives back
    soon, as with long transfers, there are more.  ``settles``: see `Idle`.
    ``close`` ends everything.
    """

    def __init__(
        self,
        name: str,
        uuid: bytes,
        dialer: Dialer,
        clock: IReactorTime,
        *,
        patience: Patience | None = None,
        most: int = 8,
        settles: bool = False,
        backoff: Backoff | None = None,
        random: Random | None = None,
        time_of_day: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.uuid = uuid
        self.clock = clock
        self.patience = patience or Patience()
        self.vitals = Vitals(clock, random or Random(), time_of_day, backoff or Backoff())
        self.transfers = 0
        self._watch = Watch(clock, self.vitals, self._look)
        self._way: tuple[bytes, ...] = ()
        self._dialer = dialer
        self._most = most
        self._idle = Idle(clock, self.patience.idle, settles)
        self._used: set[Connection] = set()
        self._dials: dict[Deferred[Connection], bool] = {}  # whether it was dropped
        self._queue = Queue(clock, self.patience.answer, f"{name} is busy: all connections to it are in use")
        self._cramped_until = 0.0
        self._closed = False

    def use(self, patience: Patience, most: int) -> None:
        """From now on, for those that are connected as well."""
        self.patience = patience
        self._most = most
        self._idle.seconds = patience.idle
        self._queue.seconds = patience.answer
        for connection in (*self._idle, *self._used):
            connection.peer.patience = patience
            connection.wire.deadlines = patience.deadlines

    @property
    def condition(self) -> Condition:
        return self.vitals.condition(self.transfers)

    # --- for requests --------------------------------------------------

    async def take(self, bypass: tuple[bytes, ...], fresh: bool = False) -> Connection:
        """
        A connection to ask one request on, to be given back.  Raises
        `Unavailable`.  ``fresh``: not one that may have died unnoticed.
        """
        began = self.clock.seconds()
        self._way = bypass
        self._watch.wanted()
        while True:
            if self._closed:
                raise Unavailable(f"{self.name} is not in use any more")
            if self.vitals.down and self._watch.awake:
                raise Unavailable(self.condition.reason)
            probing = self.vitals.admit()
            connection = None if probing or fresh else self._idle.take(bypass)
            if connection is not None:
                self._used.add(connection)
                return connection
            if probing or self._make_room(self._queue.stands_still(began)):
                try:
                    return await self._open(bypass, probing)
                except Unavailable:
                    if probing or not self._cramped:
                        raise
            else:
                await self._queue.wait(began)

    def answered(self, connection: Connection, latency_s: float | None = None) -> None:
        """The peer has answered; what follows is a transfer or a lock, if anything."""
        connection.asking = False
        self.vitals.answered(latency_s)
        self._done_probing(connection)

    def changed(self, connection: Connection) -> None:
        """The peer has stored or removed something."""
        if connection.changed_since is None:
            connection.changed_since = self.clock.seconds()

    def lasts(self, connection: Connection) -> None:
        """It will be in use for long; others need not wait for that."""
        connection.lasting = True
        self._next()

    def give_back(self, connection: Connection) -> None:
        if connection not in self._used:
            return
        self._used.discard(connection)
        self._done_probing(connection)
        if connection.wire.quiet and not self._closed and not self.vitals.down:
            self._idle.keep(connection)
        else:
            if connection.wire.stalled and not connection.hurried:
                self._missed(f"{self.name} has let a deadline pass without a sign of life")
            connection.wire.abort(PeerLost("the connection is not used any more"))
        self._next()

    def close(self) -> None:
        self._closed = True
        self._watch.end()
        self._drop(f"{self.name} is not in use any more", set(self._used))

    # --- the pool ------------------------------------------------------

    def _make_room(self, beyond: bool) -> bool:
        """
        Whether there may be one more connection, ``beyond`` how many there
        should be if need be; one that is idle, for others, goes for it.
        """
        used = len(self._dials) + sum(not connection.lasting for connection in self._used)
        if used and self._cramped:
            return False
        if used >= self._most:
            return beyond and not self._dials and used < self._most * _BEYOND
        if used + len(self._idle) >= self._most:
            self._idle.hang_up_oldest()
        return True

    @property
    def _cramped(self) -> bool:
        return self.clock.seconds() < self._cramped_until

    def _next(self) -> None:
        if not self._closed:
            self._queue.next()

    # --- opening -------------------------------------------------------

    async def _open(self, bypass: tuple[bytes, ...], probing: bool) -> Connection:
        began = self.clock.seconds()
        dial = Deferred.fromCoroutine(self._dial(bypass)).addTimeout(self.patience.connect, self.clock)
        self._dials[dial] = False
        connection = None
        try:
            connection = await dial
        except CancelledError:
            if self._dials[dial]:
                raise Unavailable(self.condition.reason or f"{self.name} is not in use any more") from None
            raise
        except (AnnexdError, TimeoutError, OSError) as error:  # OSError: no descriptors are left
            raise self._not_opened(error, began) from None
        finally:
            del self._dials[dial]
            if connection is None:
                if probing:
                    self.vitals.probed()
                self._next()
        connection.probing = probing
        self._used.add(connection)
        self._queue.moved()
        return connection

    async def _dial(self, bypass: tuple[bytes, ...]) -> Connection:
        wire = Wire(self.clock, self.patience.deadlines)
        try:
            explain = await self._dialer.connect(wire)
            await self._introduce(wire, explain)
        except BaseException:
            if wire.transport is not None:
                wire.abort(PeerLost("the connection was given up"))
            raise
        if bypass and wire.version >= _BYPASS:
            wire.send(Bypass(bypass))
        return Connection(wire, Peer(wire, self.uuid, self.patience), bypass, explain)

    async def _introduce(self, wire: Wire, explain: Explain) -> None:
        try:
            await introduce(wire, self.uuid, self._dialer.auth)
        except Stalled:
            raise
        except PeerLost as error:
            raise Unavailable(await explain() or str(error)) from None

    def _not_opened(self, error: Exception, began: float) -> Unavailable:
        silent = isinstance(error, (Stalled, TimeoutError))
        why = f"no answer within {self.patience.connect:g} seconds" if silent else str(error)
        reason = f"{self.name} cannot be reached: {why}"
        if self._others_live(began, silent):
            self._cramped_until = self.clock.seconds() + _CRAMPED_S
            if silent:
                self.vitals.missed(reason)
        else:
            self._go_down(reason, silent)
        return Unavailable(reason)

    # --- health --------------------------------------------------------

    def _missed(self, reason: str) -> None:
        """An answer did not come, or a body did not move."""
        if self._heard_since(self.clock.seconds() - min(self.patience.answer, self.patience.stall)):
            self.vitals.missed(reason)
        else:
            self._go_down(reason, silent=True)

    def _others_live(self, began: float, silent: bool) -> bool:
        """While a connection could not be had."""
        if silent:
            return self._heard_since(began)
        return any(not (connection.wire.ended or connection.lasting) for connection in self._used)

    def _heard_since(self, moment: float) -> bool:
        return any(connection.heard_since(moment) for connection in self._used)

    def _go_down(self, reason: str, silent: bool) -> None:
        self.vitals.failed(reason, silent)
        self._watch.begin()
        # Transfers notice by themselves; and what is locked is locked, until its connection really ends.
        self._drop(reason, {connection for connection in self._used if connection.asking})

    async def _look(self) -> None:
        """Is it back?  To introduce itself is no proof of that, so it is asked something."""
        if not self.vitals.admit():
            return
        connection = await self._open(self._way, True)
        try:
            await connection.peer.present(_NOBODYS)
            self.answered(connection)
        except Refused:
            self.answered(connection)
        finally:
            self.give_back(connection)

    def _drop(self, reason: str, used: set[Connection]) -> None:
        """Tell all who wait for the peer, and those that ``used`` are in use by."""
        for connection in [*self._idle.clear(), *used]:
            connection.wire.abort(PeerLost(reason))
        for dial in list(self._dials):
            if dial in self._dials and not dial.called:
                self._dials[dial] = True
                dial.cancel()
        self._queue.fail(Unavailable(reason))

    def _done_probing(self, connection: Connection) -> None:
        if connection.probing:
            connection.probing = False
            self.vitals.probed()
