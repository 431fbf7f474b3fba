"""What the daemon does for each command that comes in through `annexd-shell`."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from twisted.logger import Logger

from annexd.app.access import READ_ONLY_REFUSAL, Rights, environment_rights, restricted, stricter
from annexd.app.admin import Sessions
from annexd.app.installed import installed_shell
from annexd.app.logs import clean
from annexd.app.plan import Current
from annexd.errors import AnnexdError, FramingError, PeerLost, Refused
from annexd.flow.signal import first_of
from annexd.protocol.codec import encode
from annexd.protocol.messages import Changed
from annexd.repo.local import Repository
from annexd.router.directory import Directory
from annexd.router.places import Place
from annexd.sessions import command
from annexd.sessions.activity import Activity
from annexd.sessions.command import (
    ConfigList,
    Delegated,
    Environment,
    Git,
    Nothing,
    NotifyChanges,
    Talk,
    shown,
)
from annexd.sessions.gitlink import GitAccess
from annexd.sessions.handshake import greet
from annexd.sessions.serve import Server
from annexd.sessions.wire import Wire
from annexd.store import Caller, Store
from annexd.transports.handoff import Handoff
from annexd.transports.pipes import PipeTransport, check_pollable

_log = Logger()

_TRANSPORT = "ssh"
_INIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who came, to which repository, and what may be done there by this command."""

    handoff: Handoff
    environment: Environment
    principal: str
    place: Place
    rights: Rights
    """Of the configuration and the environment together."""

    configured: Rights
    """Of the configuration alone."""


class Shell:
    """
    ``reactor`` has times and descriptors.  Repositories are found in
    ``directory``, rules and deadlines in ``current`` as they are when a
    command comes.
    """

    def __init__(
        self, reactor: Any, directory: Directory[Repository], sessions: Sessions, current: Current
    ) -> None:
        self._reactor = reactor
        self._directory = directory
        self._sessions = sessions
        self._current = current

    async def answer(self, handoff: Handoff) -> None:
        """Raises `AnnexdError` for what is to be said on the peer's standard error."""
        try:
            await self._answer(handoff)
        except AnnexdError as error:
            _log.warn(
                "{command} of {principal}: {reason}",
                principal=clean(_principal(handoff)),
                command=shown(handoff.fields.get(b"command", b"")),
                reason=str(error),
            )
            raise

    async def _answer(self, handoff: Handoff) -> None:
        environment = Environment.of(handoff.fields)
        wanted = command.parse(handoff.fields.get(b"command", b""))
        environment.check(wanted)
        if isinstance(wanted, Nothing):
            handoff.finish(0)
            return
        visitor = await self._received(handoff, environment, environment.path(wanted))
        match wanted:
            case Talk():
                await self._talk(visitor, wanted)
            case ConfigList():
                await self._list_config(visitor, wanted)
            case NotifyChanges():
                await self._notify(visitor, wanted)
            case Git():
                self._run_git(visitor, wanted)
            case Delegated():
                self._delegate(visitor, wanted)

    async def _received(self, handoff: Handoff, environment: Environment, path: bytes) -> Visitor:
        """Who may not enter learns no more than that nothing is served there."""
        place = await self._directory.locate(path, environment.home or None)
        principal = _principal(handoff)
        verdict = self._current.access.verdict(principal, *place.aliases)
        if verdict.rights is Rights.NONE:
            _log.info("{principal} may not enter: {because}", principal=principal, because=verdict.because)
            raise Refused(f"no repository is served at {shown(path)}")
        limits = environment_rights(environment.readonly, environment.appendonly)
        rights = stricter(verdict.rights, limits)
        return Visitor(handoff, environment, principal, place, rights, verdict.rights)

    # --- p2pstdio ------------------------------------------------------

    async def _talk(self, visitor: Visitor, wanted: Talk) -> None:
        visitor.handoff.answer_wait()
        visit = await self._directory.visit(visitor.place)
        try:
            caller = Caller(wanted.client, visitor.principal)
            store = chosen(visit.repository, wanted.uuid, caller, visitor.rights)
            with self._connected(visitor) as (wire, activity):
                await self._serve(visitor, wire, store, activity)
            await _flushed(visit.repository)
        finally:
            visit.leave()
        visitor.handoff.finish(0)

    async def _serve(self, visitor: Visitor, wire: Wire, store: Store, activity: Activity) -> None:
        """Until the client has heard all that was said to it."""
        try:
            greet(wire, store.uuid)
            git = self._git_access(visitor)
            await Server(wire, store, activity, git=git, notice=visitor.handoff.say).run()
        except FramingError:
            await _heard(wire)
            raise
        finally:
            await store.close()
        await _heard(wire)

    def _git_access(self, visitor: Visitor) -> GitAccess | None:
        """For CONNECT, where git-annex is stricter than with git's own verbs."""
        if visitor.environment.limited:
            return None
        refusal = None if visitor.rights is Rights.READ_WRITE else READ_ONLY_REFUSAL
        return GitAccess(self._reactor, visitor.place.git_dir, refusal)

    @contextmanager
    def _connected(self, visitor: Visitor) -> Iterator[tuple[Wire, Activity]]:
        """The peer's input and output as a wire, and an entry in the list of sessions."""
        deadlines = self._current.deadlines
        wire = Wire(self._reactor, deadlines)
        activity = self._sessions.open(
            visitor.principal, visitor.place.name, _TRANSPORT, lambda: wire.abort(PeerLost("annexd stops"))
        )
        reason = ""
        try:
            fds = _pollable(visitor.handoff)
            PipeTransport(self._reactor, *fds).connect(wire)
            yield wire, activity
            wire.hang_up()
        except BaseException as error:
            # Not hang_up: a peer that takes nothing would never be let go.
            reason = str(error) or "the peer went away"
            if wire.transport is not None:
                wire.abort(PeerLost(reason))
            raise
        finally:
            self._sessions.close(activity, reason)

    # --- configlist ----------------------------------------------------

    async def _list_config(self, visitor: Visitor, wanted: ConfigList) -> None:
        visit = await self._directory.visit(visitor.place)
        try:
            repository = visit.repository
            check_uuid(repository, wanted.uuid)
            if not repository.uuid:
                await self._initialise(visitor, wanted, repository)
            settings = repository.settings
            lines = b"annex.uuid=%s\ncore.gcrypt-id=%s\n" % (settings.uuid, settings.gcrypt_id)
        finally:
            visit.leave()
        visitor.handoff.print(lines)
        visitor.handoff.finish(0)

    async def _initialise(self, visitor: Visitor, wanted: ConfigList, repository: Repository) -> None:
        """A clone of a git-annex repository becomes one unasked, others when the client says so."""
        if not wanted.autoinit and await repository.ledger.run(repository.git.branch_head) is None:
            return
        if visitor.environment.readonly:
            raise Refused("Action blocked by GIT_ANNEX_SHELL_READONLY")
        if not visitor.rights.may_add:
            raise Refused("this is no git-annex repository yet, and read-only access cannot make it one")
        visitor.handoff.answer_wait()
        await repository.ledger.run(_init_blocking, repository)
        await repository.refresh()

    # --- notifychanges -------------------------------------------------

    async def _notify(self, visitor: Visitor, wanted: NotifyChanges) -> None:
        visitor.handoff.answer_wait()
        visit = await self._directory.visit(visitor.place)
        try:
            store = chosen(visit.repository, wanted.uuid, Caller(b"", visitor.principal), visitor.rights)
            with self._connected(visitor) as (wire, activity):
                await self._announce(wire, store, activity)
        finally:
            visit.leave()
        visitor.handoff.finish(0)

    async def _announce(self, wire: Wire, store: Store, activity: Activity) -> None:
        """A line for each change, until the client hangs up."""
        activity.begin("NOTIFYCHANGE")
        try:
            await wire.write(b"READY\n")
            while True:
                shas = await first_of(store.changes(), wire.watch())
                await wire.write(encode(Changed(shas)))
        except PeerLost:
            activity.end("done")
        finally:
            await store.close()

    # --- other programs ------------------------------------------------

    def _run_git(self, visitor: Visitor, wanted: Git) -> None:
        """
        By where the repository really is, so that no symlink leads git
        elsewhere.  The environment's READONLY and APPENDONLY never kept
        anybody from pushing, and lines that count on that go on to work; the
        rights of the configuration do.
        """
        if wanted.service == b"receive-pack" and visitor.configured is not Rights.READ_WRITE:
            raise Refused(READ_ONLY_REFUSAL)
        self._log_run(visitor, b"git-" + wanted.service)
        visitor.handoff.answer_run((b"git", wanted.service, visitor.place.git_dir))

    def _delegate(self, visitor: Visitor, wanted: Delegated) -> None:
        rights = visitor.configured
        adds = wanted.verb in command.ADDERS and rights.may_add
        if wanted.verb not in command.READERS and not adds and rights is not Rights.READ_WRITE:
            raise Refused(f"{wanted.verb.decode()} is not allowed with {rights.value} access")
        program = os.fsencode(self._current.config.daemon.git_annex)
        installed = installed_shell(program, os.environb)
        if installed is None:
            verb = wanted.verb.decode()
            raise Refused(f"git-annex-shell is not installed on this host; it is needed for {verb}")
        # It compares the text with GIT_ANNEX_SHELL_DIRECTORY once more.
        confined = visitor.environment.directory is not None
        path = visitor.environment.path(wanted) if confined else visitor.place.git_dir
        self._log_run(visitor, wanted.verb)
        visitor.handoff.answer_run((installed, wanted.verb, path, *wanted.arguments))

    def _log_run(self, visitor: Visitor, verb: bytes) -> None:
        _log.info(
            "{verb} by {principal} in {repository}",
            verb=verb.decode(),
            principal=clean(visitor.principal),
            repository=clean(visitor.place.name),
            transport=_TRANSPORT,
        )


# --- which store -------------------------------------------------------------


def chosen(repository: Repository, uuid: bytes | None, caller: Caller, rights: Rights) -> Store:
    """The store that a session is for: here ``--uuid`` says which."""
    check_uuid(repository, uuid)
    unserved = repository.parts.unserved
    if unserved is not None:
        raise Refused(unserved)
    return restricted(repository.store(caller), rights)


def check_uuid(repository: Repository, uuid: bytes | None) -> None:
    """In the words that users of git-annex may have seen before."""
    if uuid is None or uuid == repository.uuid:
        return
    found = f"UUID {shown(repository.uuid)}" if repository.uuid else "uninitialized repository"
    raise Refused(f"expected repository UUID {shown(uuid)} but found {found}")


# --- small parts -------------------------------------------------------------


def _principal(handoff: Handoff) -> str:
    """The name in authorized_keys, else that of the account."""
    named = handoff.fields.get(b"user")
    if named:
        return named.decode("utf-8", "replace")
    try:
        return pwd.getpwuid(handoff.uid).pw_name
    except KeyError:
        return f"uid{handoff.uid}"


def _pollable(handoff: Handoff) -> tuple[int, int]:
    """The peer's input and output, checked; raises `Refused`."""
    if not handoff.complete:
        raise Refused("the command came without standard input and output")
    for number in (0, 1):
        check_pollable(handoff.fileno(number))
    return handoff.take(0), handoff.take(1)


async def _heard(wire: Wire) -> None:
    """Until the client has taken the last reply, or cares for it no more: most close both ways at once."""
    try:
        await wire.flushed()
    except PeerLost as error:
        wire.abort(error)


async def _flushed(repository: Repository) -> None:
    """git-annex commits when a session ends, and clients look at the branch right after it."""
    try:
        await repository.flush()
    except AnnexdError as error:
        _log.warn("the location log stays in the journal: {reason}", reason=str(error))


def _init_blocking(repository: Repository) -> None:
    """For a thread.  Another client may have been first."""
    if not repository.git.config().get(b"annex.uuid"):
        repository.git_annex.init(seconds=_INIT_S)
