"""What the daemon does for each command of an SSH client."""

from __future__ import annotations

import os

from twisted.logger import Logger

from annexd.app.access import Operation, environment_limits
from annexd.app.audit import AUDIT
from annexd.app.hosting import Guest, Host, check_uuid
from annexd.app.installed import installed_shell
from annexd.app.invocation import Invocation
from annexd.app.logs import clean
from annexd.errors import AnnexdError, Refused
from annexd.repo.local import Repository
from annexd.sessions import command
from annexd.sessions.command import ConfigList, Delegated, Git, Nothing, NotifyChanges, Talk, shown
from annexd.sessions.wire import Wire

_log = Logger()
_audit = Logger(namespace=AUDIT)

_INIT_S = 120.0


class Shell:
    """The commands that stock clients send, as ``host`` lets them."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def answer(self, asked: Invocation) -> None:
        """Raises `AnnexdError` for what is to be said on the peer's standard error."""
        try:
            await self._answer(asked)
        except AnnexdError as error:
            _log.warn(
                "{command} of {principal}: {reason}",
                principal=clean(asked.principal),
                command=shown(asked.line),
                reason=clean(error.logged),
            )
            if isinstance(error, Refused):
                _audit.debug(
                    "{command} of {principal} is refused",
                    event="refused",
                    principal=asked.principal,
                    transport=asked.transport,
                    address=asked.address,
                    command=shown(asked.line),
                    result="refused",
                    reason=error.logged,
                )
            raise

    async def _answer(self, asked: Invocation) -> None:
        environment = asked.environment
        wanted = command.parse(asked.line)
        environment.check(wanted)
        if isinstance(wanted, Nothing):
            asked.finish(0)
            return
        path, home = environment.path(wanted), environment.home or None
        limits = environment_limits(environment.readonly, environment.appendonly)
        guest = await self._host.admit(
            asked.principal,
            asked.transport,
            path,
            home,
            limits.rights,
            limited_by=limits.because,
            address=asked.address,
        )
        match wanted:
            case Talk():
                await self._talk(asked, guest, wanted)
            case ConfigList():
                await self._list_config(asked, guest, wanted)
            case NotifyChanges():
                asked.accept()
                await self._host.announce(guest, lambda: self._connected(asked), wanted.uuid)
                asked.finish(0)
            case Git():
                self._run_git(asked, guest, wanted)
            case Delegated():
                self._delegate(asked, guest, wanted)

    async def _talk(self, asked: Invocation, guest: Guest, wanted: Talk) -> None:
        asked.accept()
        await self._host.talk(
            guest,
            lambda: self._connected(asked),
            asked.say,
            client=wanted.client,
            uuid=wanted.uuid,
            git=not asked.environment.limited,
        )
        asked.finish(0)

    def _connected(self, asked: Invocation) -> Wire:
        wire = Wire(self._host.reactor, self._host.current.deadlines)
        asked.connect(wire)
        return wire

    # --- configlist ----------------------------------------------------

    async def _list_config(self, asked: Invocation, guest: Guest, wanted: ConfigList) -> None:
        asked.accept()  # opening a repository may take longer than a client waits for an answer
        with await self._host.visit(guest) as repository:
            check_uuid(repository, wanted.uuid)
            if not repository.uuid:
                await self._initialise(asked, guest, wanted, repository)
            settings = repository.settings
            lines = b"annex.uuid=%s\ncore.gcrypt-id=%s\n" % (settings.uuid, settings.gcrypt_id)
        asked.print(lines)
        asked.finish(0)

    async def _initialise(
        self, asked: Invocation, guest: Guest, wanted: ConfigList, repository: Repository
    ) -> None:
        """A clone of a git-annex repository becomes one unasked, others when the client says so."""
        if not wanted.autoinit and await repository.ledger.run(repository.git.branch_head) is None:
            return
        if asked.environment.readonly:
            raise Refused("Action blocked by GIT_ANNEX_SHELL_READONLY")
        guest.verdict.require(Operation.INIT)
        await repository.ledger.run(_init_blocking, repository)
        await repository.refresh()

    # --- other programs ------------------------------------------------

    def _run_git(self, asked: Invocation, guest: Guest, wanted: Git) -> None:
        """
        By where the repository really is, so that no symlink leads git
        elsewhere.  The environment's READONLY and APPENDONLY never kept
        anybody from pushing, and lines that count on that go on to work; the
        rights of the configuration do.
        """
        if wanted.service == b"receive-pack":
            guest.ruled.require(Operation.PUSH)
        _log_run(guest, b"git-" + wanted.service, changes=wanted.service == b"receive-pack")
        asked.run((b"git", wanted.service, guest.place.git_dir))

    def _delegate(self, asked: Invocation, guest: Guest, wanted: Delegated) -> None:
        needed = Operation.PUT if wanted.verb in command.ADDERS else Operation.REMOVE
        if wanted.verb not in command.READERS:
            sentence = f"{wanted.verb.decode()} is not allowed with {guest.ruled.rights.value} access"
            guest.ruled.require(needed, sentence)
        program = os.fsencode(self._host.current.config.daemon.git_annex)
        installed = installed_shell(program, os.environb)
        if installed is None:
            verb = wanted.verb.decode()
            raise Refused(f"git-annex-shell is not installed on this host; it is needed for {verb}")
        # It compares the text with GIT_ANNEX_SHELL_DIRECTORY once more.
        confined = asked.environment.directory is not None
        path = asked.environment.path(wanted) if confined else guest.place.git_dir
        _log_run(guest, wanted.verb, changes=wanted.verb not in command.READERS)
        asked.run((installed, wanted.verb, path, *wanted.arguments))


def _log_run(guest: Guest, verb: bytes, changes: bool) -> None:
    """How it ends is not ours to see."""
    log = _audit if changes else _log
    log.info(
        "{verb} by {principal} in {repository}",
        verb=verb.decode(),
        event=verb.decode(),
        principal=clean(guest.principal),
        repository=clean(guest.place.name),
        transport=guest.transport,
        address=guest.address,
        result="begun",
    )


def _init_blocking(repository: Repository) -> None:
    """For a thread.  Another client may have been first."""
    if not repository.git.config().get(b"annex.uuid"):
        repository.git_annex.init(seconds=_INIT_S)
