"""A git-annex repository on this disk, and its content as a `Store`."""

from __future__ import annotations

from typing import Union

from twisted.internet.interfaces import IReactorTime

from annexd.errors import Absent, Refused
from annexd.flow.workers import Workers
from annexd.protocol.keys import Key
from annexd.repo.content import Held
from annexd.repo.disks import refusing
from annexd.repo.git import Git
from annexd.repo.incoming import LocalWriter
from annexd.repo.ledger import Ledger
from annexd.repo.objects import may_change
from annexd.repo.outgoing import LocalReader, Opened, open_object
from annexd.repo.partials import Upload, open_upload
from annexd.repo.parts import Clocks, Parts, assemble, branch_text, config_stamp
from annexd.repo.settings import Settings
from annexd.repo.trips import fetch
from annexd.repo.verify import Checker, Means, equivalent_keys, equivalents_name, has_equivalents, is_secure
from annexd.store import Caller, Lease, Outcome, Reader, Writer

_DEFAULT_CLOCKS = Clocks()


class Repository:
    """
    One repository, shared by all its sessions.  Made by `open`; all methods
    may raise `Refused`.
    """

    def __init__(
        self, git: Git, parts: Parts, workers: Workers, clock: IReactorTime, fsync: bool, clocks: Clocks
    ) -> None:
        self.git_dir = git.git_dir
        self.parts = parts
        self.workers = workers
        self.clocks = clocks
        self.fsync = fsync
        self.git = git
        self.ledger = Ledger(parts.branch, workers.disk, clock)

    @classmethod
    async def open(
        cls,
        git_dir: bytes,
        *,
        workers: Workers,
        clock: IReactorTime,
        fsync: bool = True,
        clocks: Clocks = _DEFAULT_CLOCKS,
    ) -> Repository:
        """
        Open the repository whose git directory is ``git_dir``.  One that
        git-annex has not been initialised in can be opened, too, see
        `Settings.service_obstacle`; it has no content.
        """
        git = Git(git_dir)
        with refusing():
            parts = await workers.disk.run(assemble, git, fsync=fsync, clocks=clocks)
        return cls(git, parts, workers, clock, fsync, clocks)

    @property
    def settings(self) -> Settings:
        return self.parts.settings

    @property
    def uuid(self) -> bytes:
        return self.parts.settings.uuid

    def store(self, caller: Caller) -> LocalStore:
        return LocalStore(self, caller)

    async def refresh(self) -> None:
        """Read the configuration again if it has changed."""
        with refusing():
            parts = await self.ledger.run(self._parts_now)
        self.parts = parts
        self.ledger.branch = parts.branch

    def _parts_now(self) -> Parts:
        if config_stamp(self.git) == self.parts.stamp:
            return self.parts
        self.git.close()
        return assemble(self.git, fsync=self.fsync, clocks=self.clocks)

    async def flush(self) -> None:
        """Commit the journal now."""
        await self.ledger.flush()

    async def close(self) -> None:
        await self.ledger.close()
        await self.ledger.run(self.git.close)


class LocalLease:
    """See `annexd.store.Lease`."""

    def __init__(self, workers: Workers, held: Held) -> None:
        self._workers = workers
        self._held: Held | None = held

    async def release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            with refusing():
                await self._workers.disk.run(held.release)


class LocalStore:
    """One session's view of a `Repository`; see `annexd.store.Store`."""

    def __init__(self, repository: Repository, caller: Caller) -> None:
        self._repository = repository
        self._workers = repository.workers
        self._peer = caller.uuid

    @property
    def uuid(self) -> bytes:
        return self._repository.uuid

    async def present(self, key: Key) -> bool:
        parts = self._repository.parts
        with refusing():
            # One or two stats of a local file system take about as many
            # microseconds, a trip to a thread fifty: so here the reactor does it.
            if parts.is_local:
                found = parts.objects.find(key)
                if found is None or not may_change(found[1]):
                    return found is not None
            return await self._workers.disk.run(is_present, parts, key)

    async def timestamp(self) -> int:
        return int(self._repository.clocks.boot())

    async def lock(self, key: Key) -> Lease:
        parts = self._changeable()
        with refusing():
            held = await fetch(self._workers.disk, lambda: lock_content(parts, key), lambda held: held.release())
        return LocalLease(self._workers, held)

    async def read(self, key: Key, offset: int, file: bytes) -> Reader:
        parts = self._readable()

        def get() -> Opened:
            return open_object(parts, self._peer, key, offset, file)

        with refusing():
            opened = await fetch(self._workers.disk, get, lambda opened: opened.close(False))
        return LocalReader(parts, self._workers, opened)

    async def write(self, key: Key, file: bytes) -> Union[Writer, Outcome]:
        parts = self._changeable()
        if await self.present(key):
            return Outcome(True)
        checker = await self._checker(parts, key)

        def get() -> Upload | None:
            return open_upload(parts, self._peer, key, file)

        def give_back(upload: Upload | None) -> None:
            if upload is not None:
                upload.close(False)

        with refusing():
            upload = await fetch(self._workers.disk, get, give_back)
        if upload is None:
            return Outcome(True)
        return LocalWriter(key, upload, parts, self._workers, checker, self._add, self._recheck)

    async def remove(self, key: Key, before: int | None = None) -> Outcome:
        parts = self._changeable()
        with refusing():
            return await self._repository.ledger.run(self._remove, parts, key, before)

    async def changes(self) -> tuple[bytes, ...]:
        raise NotImplementedError

    async def close(self) -> None:
        pass

    # --- may it be done? -----------------------------------------------------

    def _readable(self) -> Parts:
        return _unless(self._repository.parts, self._repository.settings.service_obstacle())

    def _changeable(self) -> Parts:
        return _unless(self._repository.parts, self._repository.settings.write_obstacle())

    async def _checker(self, parts: Parts, key: Key) -> Checker:
        """What tells whether content is that of ``key``; refuses keys that may not come here."""
        equivalents: tuple[Key, ...] = ()
        if has_equivalents(key):
            name = equivalents_name(parts.layout.log_name(key))
            text = await self._repository.ledger.run(branch_text, self._repository.git, parts.layout, name)
            equivalents = equivalent_keys(text)
        if not key.recordable:
            raise Refused("the key cannot be used as the name of a file")
        if parts.settings.secure_hashes_only and not is_secure(key, equivalents):
            raise Refused("annex.securehashesonly does not allow keys of this backend here")
        return Checker(key, equivalents)

    # --- changes -------------------------------------------------------------

    async def _add(self, writer: LocalWriter) -> None:
        """Put verified content into place, and say so in the location log."""
        ledger = self._repository.ledger
        if self._repository.fsync or not ledger.idle:
            # Others need not wait for their turn while this waits for the disk.
            await writer.gated.disk.run(writer.place)
            await ledger.run(self._record_what_is, writer.parts, writer.key)
        else:
            await ledger.run(self._place_and_record, writer)

    def _place_and_record(self, writer: LocalWriter) -> None:
        with writer.gate:
            writer.place()
            self._record_what_is(writer.parts, writer.key)

    def _record_what_is(self, parts: Parts, key: Key) -> bool:
        """Whoever removed the content before it was our turn has recorded that."""
        here = parts.objects.find(key) is not None
        if here:
            self._repository.ledger.record(key, True)
        return here

    async def _recheck(self, key: Key) -> Outcome:
        here = await self._repository.ledger.run(self._record_what_is, self._repository.parts, key)
        return Outcome(here, reason="" if here else "the content is not here")

    def _remove(self, parts: Parts, key: Key, before: int | None) -> Outcome:
        """
        For a thread, in turn.  The log comes first: content that is here
        without being logged is found by the next ``git annex fsck``, content
        that is logged without being here may be relied upon.
        """
        ledger = self._repository.ledger
        while (found := parts.objects.find(key)) is not None:
            path = found[0]
            try:
                claim = parts.locks.claim(path)
            except Absent:
                continue
            try:
                if before is not None and self._repository.clocks.boot() >= before:
                    return Outcome(False, reason="the time within which the content could be removed is over")
                ledger.record(key, False)
                try:
                    parts.objects.remove(path)
                except OSError:
                    ledger.record(key, True)
                    raise
            finally:
                claim.release()
            parts.objects.prune(path)
        return Outcome(True)


def _unless(parts: Parts, obstacle: str | None) -> Parts:
    if obstacle is not None:
        raise Refused(obstacle)
    return parts


def is_present(parts: Parts, key: Key) -> bool:
    """For a thread."""
    found = parts.objects.find(key)
    return found is not None


def lock_content(parts: Parts, key: Key) -> Held:
    """For a thread."""
    found = parts.objects.find(key)
    if found is None:
        raise Absent("the content is not here")
    return parts.locks.share(found[0])
