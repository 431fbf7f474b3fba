"""A git-annex repository on this disk, and its content as a `Store`."""

from __future__ import annotations

import contextlib
import os
from typing import Callable, Union

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from annexd.errors import Absent, AnnexdError, Refused
from annexd.flow.workers import Workers
from annexd.protocol.keys import Key
from annexd.repo import leftovers
from annexd.repo.brief import BriefWriter
from annexd.repo.changes import Changes, Follower, Refs, Watch
from annexd.repo.changing import Changing, only_git_annex_adds
from annexd.repo.content import Held
from annexd.repo.delegate import GitAnnex
from annexd.repo.disks import refusing
from annexd.repo.git import Git
from annexd.repo.incoming import LocalWriter
from annexd.repo.leases import LocalLease, lock_content
from annexd.repo.ledger import Ledger
from annexd.repo.objects import may_have_changed
from annexd.repo.outgoing import LocalReader, Opened, is_unmodified, open_object, read_now
from annexd.repo.partials import Upload, open_upload
from annexd.repo.parts import Clocks, Parts, assemble, branch_text, config_stamp
from annexd.repo.pointers import Pointers
from annexd.repo.settings import Settings
from annexd.repo.sweeper import Sweeper
from annexd.repo.transfer import is_brief
from annexd.repo.trips import fetch
from annexd.repo.verify import Checker, equivalent_keys, equivalents_name, has_equivalents, is_secure
from annexd.store import Caller, Lease, Outcome, Reader, Writer

_log = Logger()

_DEFAULT_CLOCKS = Clocks()
_COMMIT_S = 300.0

OpenWatch = Callable[[Callable[[bytes], None]], Watch]


def no_watch(touched: Callable[[bytes], None]) -> Watch:
    raise OSError("there are no watches")


class Repository:
    """
    One repository, shared by all its sessions.  Made by `open`; all methods
    may raise `Refused`.
    """

    def __init__(
        self,
        git: Git,
        parts: Parts,
        workers: Workers,
        clock: IReactorTime,
        git_annex: GitAnnex,
        open_watch: OpenWatch,
        fsync: bool,
        clocks: Clocks,
        work_tree: bytes | None = None,
    ) -> None:
        self.git_dir = git.git_dir
        self.work_tree = work_tree
        self.git = git
        self.git_annex = git_annex
        self.parts = parts
        self.workers = workers
        self.clocks = clocks
        self._fsync = fsync
        self._unmerged = ""
        self.ledger = Ledger(parts.branch, self._commit, workers.disk, clock)
        self.sweeper = Sweeper(clock, workers.disk, lambda path: self.parts.locks.finish(path))
        self.changing = Changing(self.ledger, workers, git_annex, clocks, fsync, self.sweeper)
        self.changes = Changes(git.common_dir, self._refs, open_watch, clock, workers.disk)

    @classmethod
    async def open(
        cls,
        git_dir: bytes,
        *,
        workers: Workers,
        clock: IReactorTime,
        fsync: bool = True,
        program: bytes | None = None,
        open_watch: OpenWatch = no_watch,
        clocks: Clocks = _DEFAULT_CLOCKS,
        make_git: Callable[[bytes], Git] = Git,
    ) -> Repository:
        """
        Open the repository whose git directory is ``git_dir``.  One that
        git-annex has not been initialised in can be opened, too, see
        `Settings.service_obstacle`; it has no content.

        With ``fsync``, what has been acknowledged survives a power failure.
        ``program`` is the git-annex for what is left to it, ``open_watch``
        makes the watches on references (without it they are polled), and
        ``make_git`` what reads the git side, see `annexd.repo.git_apart`.
        """
        git = make_git(git_dir)

        def read() -> tuple[Parts, bytes | None]:
            work_tree = git.work_tree
            pointers = None if work_tree is None else Pointers(git_dir, work_tree)
            return assemble(git, pointers, fsync=fsync, clocks=clocks), work_tree

        with refusing():
            parts, work_tree = await workers.disk.run(read)
        git_annex = GitAnnex(git_dir, work_tree, program)
        repository = cls(git, parts, workers, clock, git_annex, open_watch, fsync, clocks, work_tree)
        if parts.unchangeable is None:
            await repository._make_up_for_kills()
        return repository

    async def _make_up_for_kills(self) -> None:
        """A repository that cannot be written to is not worse for what was left there."""
        try:
            with refusing():
                await self.ledger.run(self._clear_leftovers)
        except Refused as error:
            _log.warn("{name}: not tidied up: {reason}", name=self.git_dir, reason=str(error))

    def _clear_leftovers(self) -> None:
        """For a thread."""

        def record(key: Key) -> None:
            self.ledger.record(key, True)

        with contextlib.suppress(OSError):  # there is no journal
            if self.settings.always_commit and os.listdir(self.parts.layout.journal):
                self.ledger.found_written()
        leftovers.clear(self.parts, record)
        leftovers.undo_removals(self.parts, record)

    def _commit(self) -> None:
        settings = self.settings
        if settings.always_commit and settings.needs_git_annex_to_commit:
            self.git_annex.commit(seconds=_COMMIT_S)
        else:
            self.parts.branch.commit()

    @property
    def settings(self) -> Settings:
        return self.parts.settings

    @property
    def uuid(self) -> bytes:
        return self.parts.settings.uuid

    def store(self, caller: Caller) -> LocalStore:
        return LocalStore(self, caller)

    async def refresh(self) -> None:
        """Read the configuration again if it has changed; mostly it has not, and nobody is waited for."""
        with refusing():
            if await self.workers.disk.run(config_stamp, self.git) == self.parts.stamp:
                return
            parts = await self.ledger.run(self._parts_now)
        self.parts = parts
        self.ledger.branch = parts.branch

    def _parts_now(self) -> Parts:
        if config_stamp(self.git) == self.parts.stamp:
            return self.parts
        self.git.close()
        return assemble(self.git, self.parts.pointers, fsync=self._fsync, clocks=self.clocks)

    async def _refs(self) -> Refs:
        return await self.ledger.run(self.git.refs)

    async def take_in(self, most_slices: int | None = None) -> bool:
        """
        Merge what others have pushed, or git has fetched, of the git-annex
        branch; was there anything?  What cannot be merged is no reason not to
        go on with what is known.  A large merge is done in slices, between
        which others use the branch; whoever stops after ``most_slices`` leaves
        the rest to the next one to come.
        """
        try:
            with refusing():
                slices = 0
                while not await self.ledger.run(self.parts.branch.prepare_merge):
                    slices += 1
                    if slices == most_slices:
                        return False
                return await self.ledger.run(self.parts.branch.merge)
        except Refused as error:
            if str(error) != self._unmerged:
                self._unmerged = str(error)
                _log.warn("{name}: not merged: {reason}", name=self.git_dir, reason=str(error))
            return False

    async def flush(self) -> None:
        """Commit the journal now, and leave nothing behind that is to be tidied up."""
        await self.sweeper.done()
        await self.ledger.flush()

    async def settle(self) -> None:
        """`flush`, for those who have nobody to tell what goes wrong: the journal keeps it."""
        try:
            await self.flush()
        except AnnexdError as error:
            _log.warn("the location log stays in the journal: {reason}", reason=str(error))

    async def close(self) -> None:
        await self.sweeper.done()
        await self.ledger.close()
        await self.ledger.run(self._close)

    def _close(self) -> None:
        self.git.close()
        if self.parts.pointers is not None:
            self.parts.pointers.close()


class LocalStore:
    """One session's view of a `Repository`; see `annexd.store.Store`."""

    def __init__(self, repository: Repository, caller: Caller) -> None:
        self._repository = repository
        self._workers = repository.workers
        self._peer = caller.uuid
        self._follower: Follower | None = None

    @property
    def uuid(self) -> bytes:
        return self._repository.uuid

    async def present(self, key: Key) -> bool:
        parts = self._readable()
        with refusing():
            here = _present_now(parts, key)
            if here is None:
                # Of what is on a local disk, only what may have to be read whole.
                pool = self._workers.bulk if parts.is_local else self._workers.disk
                here = await pool.run(is_present, parts, key)
            return here

    def present_now(self, key: Key) -> bool | None:
        try:
            return _present_now(self._readable(), key)
        except (OSError, Refused):
            return None  # `present` says why

    async def timestamp(self) -> int:
        return int(self._repository.clocks.boot())

    async def lock(self, key: Key) -> Lease:
        parts = self._changeable()

        def get() -> Held:
            return lock_content(parts, key)

        with refusing():
            held = await fetch(self._workers.disk, get, lambda held: held.release())
        return LocalLease(self._workers, held)

    async def read(self, key: Key, offset: int, file: bytes) -> Reader:
        parts = self._readable()
        secure = parts.settings.secure_hashes_only
        if secure or parts.pointers is not None:
            # What may have to be read whole for that is known then, when it is opened.
            if not await self.present(key):
                raise Absent("the content is not here, or has been modified")
        if secure:
            with refusing():
                await self._checker(parts, key)  # git-annex does not hand out such content either

        def get() -> Opened:
            return open_object(parts, self._peer, key, offset, file)

        with refusing():
            opened = await fetch(self._workers.disk, get, lambda opened: opened.close(False))
        return LocalReader(parts, self._workers, opened)

    def read_now(self, key: Key, offset: int, file: bytes) -> bytes | None:
        try:
            parts = self._readable()
            return None if parts.settings.secure_hashes_only else read_now(parts, key, offset)
        except (OSError, Refused):
            return None  # `read` says why

    async def write(self, key: Key, file: bytes) -> Union[Writer, Outcome]:
        parts = self._changeable()
        if await self.present(key):
            return Outcome(True)
        if is_brief(key):
            brief = await self._write_brief(parts, key, file)
            if brief is not None:
                return brief
        return await self._write_partial(parts, key, file)

    async def _write_brief(self, parts: Parts, key: Key, file: bytes) -> BriefWriter | None:
        """`None` where that cannot be done in memory."""
        with refusing():
            checker = await self._checker(parts, key)
        if only_git_annex_adds(parts, checker.means):
            return None

        async def spell_out() -> Union[Writer, Outcome]:
            return await self._write_partial(parts, key, file)

        add, recheck = self._repository.changing.add_brief, self._repository.changing.recheck
        writer = BriefWriter(key, self._peer, file, parts, self._workers, checker, add, recheck, spell_out)
        with refusing():
            if parts.is_local:
                opened = writer.open()
            else:
                opened = await fetch(self._workers.disk, writer.open, lambda _: writer.let_go())
        return writer if opened else None

    async def _write_partial(self, parts: Parts, key: Key, file: bytes) -> Union[Writer, Outcome]:
        with refusing():
            checker = await self._checker(parts, key)
        changing = self._repository.changing

        def get() -> Upload | None:
            changing.check_adding(parts, checker.means)
            return open_upload(parts, self._peer, key, file)

        def give_back(upload: Upload | None) -> None:
            if upload is not None:
                upload.close(False)

        with refusing():
            upload = await fetch(self._workers.disk, get, give_back)
        if upload is None:
            return Outcome(True)
        return LocalWriter(key, upload, parts, self._workers, checker, changing.add, changing.recheck)

    async def remove(self, key: Key, before: int | None = None) -> Outcome:
        parts = self._changeable()
        with refusing():
            return await self._repository.changing.remove(parts, key, before)

    async def changes(self) -> tuple[bytes, ...]:
        if self._follower is None:
            self._follower = self._repository.changes.follow()
        return await self._follower.next()

    async def close(self) -> None:
        pass

    # --- may it be done? -----------------------------------------------------

    def _readable(self) -> Parts:
        parts = self._repository.parts
        if parts.unserved is not None:
            raise Refused(parts.unserved)
        return parts

    def _changeable(self) -> Parts:
        parts = self._repository.parts
        if parts.unchangeable is not None:
            raise Refused(parts.unchangeable)
        return parts

    async def _checker(self, parts: Parts, key: Key) -> Checker:
        """What tells whether content is that of ``key``; refuses keys that may not come here."""
        if not key.recordable:
            raise Refused("the key cannot be used as the name of a file")
        equivalents: tuple[Key, ...] = ()
        if has_equivalents(key):
            name = equivalents_name(parts.layout.log_name(key))
            text = await self._repository.ledger.run(branch_text, self._repository.git, parts.layout, name)
            equivalents = equivalent_keys(text)
        if parts.settings.secure_hashes_only and not is_secure(key, equivalents):
            raise Refused("annex.securehashesonly does not allow keys of this backend here")
        return Checker(key, equivalents)


def _present_now(parts: Parts, key: Key) -> bool | None:
    """
    One or two stats of a local file system take about as many microseconds, a
    trip to a thread fifty: so there the reactor does it.
    """
    if not parts.is_local:
        return None
    found = parts.objects.find(key)
    if found is None:
        return False
    return None if may_have_changed(found[1]) else True


def is_present(parts: Parts, key: Key) -> bool:
    """For a thread."""
    found = parts.objects.find(key)
    return found is not None and is_unmodified(parts, key, *found)
