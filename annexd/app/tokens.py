"""Tokens as the daemon sees them: whom a secret lets in, and for how long."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from annexd.app.access import TOKEN, Rights
from annexd.app.audit import AUDIT
from annexd.app.logs import clean
from annexd.app.token_file import RESERVED, Stamp, Token, TokenFile, digest_of
from annexd.errors import Refused, Unavailable
from annexd.flow.workers import Pool

_log = Logger()
_audit = Logger(namespace=AUDIT)

_LOOK_S = 5.0
# While somebody is inside by a token: how long one that was revoked behind our back may go on.

_ENTERING_S = 60.0
# From the word that lets somebody in to the session that can be ended.

_FRESH_S = 1.0
_FLUSH_S = 60.0
_FAR_S = 3600.0
_UNREAD: Stamp = (-1, -1, -1)


@dataclass(frozen=True, slots=True)
class Admission:
    """Who has come, the repository that the secret is for, and what may be done there at most."""

    principal: str
    path: bytes
    rights: Rights
    node: bytes | None = None
    """The UUID of what it is for behind the repository."""


class Inside(Protocol):
    """The sessions that are open now."""

    def visits(self) -> set[tuple[str, bytes, bytes | None]]:
        """
        Principals, each with the name of a repository where it is, and the
        UUID of what it is for behind that.
        """

    def stop(
        self, principal: str, reason: str, repository: bytes | None = None, node: bytes | None = None
    ) -> int:
        """End those sessions; how many."""


class Others(Protocol):
    """Tokens that are not ours."""

    async def find(self, digest: str) -> bytes | None:
        """The path of the repository whose secret has this SHA-256."""


Same = Callable[[bytes, bytes], Awaitable[bool]]
"""Whether two paths lead to one repository; `True` also where neither leads to any."""


class Tokens:
    """
    ``start`` and ``stop`` frame its life.  For secrets that ``file`` does not
    have there are the ``others``, asked for anew with each configuration.
    ``now`` is the time of the wall.
    """

    def __init__(
        self,
        clock: IReactorTime,
        pool: Pool,
        file: TokenFile,
        inside: Inside,
        same: Same,
        others: Callable[[], Others],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._make_others = others
        self._others = others()
        self._clock = clock
        self._pool = pool
        self._file = file
        self._inside = inside
        self._same = same
        self._now = now
        self._stamp: Stamp | None = _UNREAD
        self._tokens: dict[str, Token] = {}
        self._problem = ""
        self._looked: float | None = None
        self._admitted: float | None = None
        self._turn = DeferredLock()
        self._used: dict[str, int] = {}
        self._check: IDelayedCall | None = None
        self._flush: IDelayedCall | None = None
        self._running: set[Deferred[None]] = set()

    async def admission(self, secret: bytes) -> Admission:
        """
        Raises `Refused`; the sentence is for the log, the peer is not to know
        why.  A stranger learns nothing from the time that it takes: what is
        compared are hashes, of which nobody can choose the beginning.
        """
        digest = digest_of(secret)
        await self._look()
        token = self._tokens.get(digest)
        if token is None:
            return await self._from_others(digest)
        obstacle = token.obstacle(self._now())
        if obstacle is not None:
            raise Refused(obstacle)
        self._note(digest)
        return Admission(token.principal, token.repository, token.rights, token.node)

    async def _from_others(self, digest: str) -> Admission:
        path = await self._others.find(digest)
        if path is None:
            raise Refused(self._problem or "there is no such token")
        return Admission(TOKEN + RESERVED, path, Rights.READ_WRITE)

    def _note(self, digest: str) -> None:
        """It has been used; written down later, for what that is worth."""
        self._used[digest] = int(self._now())
        self._admitted = self._clock.seconds()
        if self._flush is None:
            self._flush = self._clock.callLater(_FLUSH_S, self._spawn, self._write_used)
        self._arm(_LOOK_S)

    # --- life ----------------------------------------------------------

    def start(self) -> None:
        """Reads the file at once: nobody waits yet."""
        try:
            self._take(self._file.read_newer(self._stamp))
        except Unavailable as error:
            self._spoilt(error)
        self._arm(_FAR_S)

    def reload(self) -> None:
        self._others = self._make_others()

    async def stop(self) -> None:
        for call in (self._check, self._flush):
            if call is not None and call.active():
                call.cancel()
        self._check = self._flush = None
        for running in list(self._running):
            running.cancel()
        if self._used:
            await self._write_used()

    async def check(self) -> None:
        """Notice what has changed, and end the sessions of tokens that are good no more."""
        self._looked = None
        await self._look()
        visits = [visit for visit in self._inside.visits() if visit[0].startswith(TOKEN)]
        if not self._problem:
            for visit in visits:
                await self._check_visit(*visit)
        entering = self._admitted is not None and self._clock.seconds() - self._admitted < _ENTERING_S
        self._arm(_LOOK_S if visits or entering else _FAR_S)

    async def _check_visit(self, principal: str, repository: bytes, node: bytes | None) -> None:
        """Tokens are known by the path that their maker wrote, sessions by the one that is configured."""
        if principal == TOKEN + RESERVED:
            return
        reason = f"the token {principal.removeprefix(TOKEN)} is not there any more"
        for token in [t for t in self._tokens.values() if (t.principal, t.node) == (principal, node)]:
            if token.repository != repository and not await self._same(token.repository, repository):
                continue
            obstacle = token.obstacle(self._now())
            if obstacle is None:
                return
            reason = obstacle
        self._inside.stop(principal, reason, repository, node)

    def _arm(self, seconds: float) -> None:
        """Check again after at most ``seconds``, and when the next token expires."""
        now = self._now()
        ends = [t.expires - now for t in self._tokens.values() if t.expires is not None and t.expires > now]
        due = min(seconds, *ends, _FAR_S) if ends else seconds
        if self._check is not None and self._check.active():
            if self._check.getTime() <= self._clock.seconds() + due:
                return
            self._check.cancel()
        self._check = self._clock.callLater(due, self._spawn, self.check)

    def _spawn(self, work: Callable[[], Awaitable[None]]) -> None:
        running: Deferred[None] = Deferred.fromCoroutine(work())  # type: ignore[arg-type]
        self._running.add(running)
        running.addErrback(_failed).addBoth(lambda _: self._running.discard(running))

    # --- the file ------------------------------------------------------

    async def _look(self) -> None:
        """Read it where it has changed; it is looked at once in a while only."""
        await self._turn.acquire()
        try:
            if self._looked is not None and self._clock.seconds() - self._looked < _FRESH_S:
                return
            try:
                self._take(await self._pool.run(self._file.read_newer, self._stamp))
            except Unavailable as error:
                self._spoilt(error)
            self._looked = self._clock.seconds()
        finally:
            self._turn.release()

    def _take(self, newer: tuple[Stamp | None, tuple[Token, ...]] | None) -> None:
        if newer is None:
            return
        former, known = self._tokens, self._stamp is not _UNREAD
        self._stamp, tokens = newer
        self._tokens = {token.digest: token for token in tokens}
        self._problem = ""
        if known:
            for event, token in _differences(former, self._tokens):
                _audit.info(
                    "{event}: {principal} for {repository}",
                    event=event,
                    principal=token.principal,
                    repository=clean(token.repository),
                    reason=token.rights.value,
                )

    def _spoilt(self, error: Unavailable) -> None:
        """Nobody new comes in by what cannot be read; those inside stay."""
        if self._problem != str(error):
            _log.error("no token is good now: {reason}", reason=str(error))
        self._problem = str(error)
        self._tokens = {}
        self._stamp = _UNREAD

    async def _write_used(self) -> None:
        self._flush = None
        used, self._used = self._used, {}
        try:
            await self._pool.run(self._file.note_used, used, frozenset(self._tokens))
        except (Refused, Unavailable) as error:
            _log.warn("when tokens were used is not written down: {reason}", reason=str(error))


def _differences(former: dict[str, Token], latter: dict[str, Token]) -> list[tuple[str, Token]]:
    """What has become of tokens, as events."""
    found = [("token-removed", former[digest]) for digest in former.keys() - latter.keys()]
    for digest, token in latter.items():
        if digest not in former:
            found.append(("token-added", token))
        elif token.revoked is not None and former[digest].revoked is None:
            found.append(("token-revoked", token))
    return found


def _failed(failure: Failure) -> None:
    if not isinstance(failure.value, CancelledError):
        _log.failure("looking after tokens", failure)
