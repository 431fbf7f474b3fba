"""
Content that is so short that it comes at once.

Each trip to a thread costs more than a few kilobytes do, so these wait in
memory until all that is to be done with them is done in one.  Nobody has to
be kept off what is in memory; so the transfer is locked only while its
content goes into place, and that comes from a file which nobody else can
open, since it has no name before.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable
from typing import Callable, Union

from annexd.errors import Refused
from annexd.flow.body import Buffer, Sink
from annexd.flow.workers import Workers
from annexd.protocol.keys import Key
from annexd.repo.disks import refusing, sentence
from annexd.repo.incoming import WRONG
from annexd.repo.othertmp import write_all
from annexd.repo.partials import open_upload
from annexd.repo.parts import Parts
from annexd.repo.transfer import Draft
from annexd.repo.trips import Gate, GatedWorkers
from annexd.repo.verify import Checker, Means
from annexd.store import Outcome, Writer


class Spoiled(Refused):
    """What has come cannot be used, for a reason that is the outcome of the upload."""


class BriefSink:
    """
    A `Sink` that keeps ``limit`` bytes at most; what comes beyond is counted
    in ``excess`` and dropped.  Nothing comes in when the gate is closed.
    """

    def __init__(self, gate: Gate, limit: int) -> None:
        self.kept = bytearray()
        self.excess = 0
        self._gate = gate
        self._limit = limit

    async def write(self, data: Buffer) -> None:
        with self._gate:
            view = memoryview(data)
            room = self._limit - len(self.kept)
            self.excess += max(0, len(view) - room)
            self.kept += view[:room]


class BriefWriter:
    """
    See `annexd.store.Writer`; `open` it first.  ``add`` puts the content into
    place and records it, by the methods for threads, or says that it cannot;
    ``spell_out`` makes the writer of a partial file that then does it.
    """

    offset = 0

    def __init__(
        self,
        key: Key,
        peer: bytes,
        file: bytes,
        parts: Parts,
        workers: Workers,
        checker: Checker,
        add: Callable[[BriefWriter], Awaitable[bool]],
        recheck: Callable[[Parts, Key], Awaitable[Outcome]],
        spell_out: Callable[[], Awaitable[Union[Writer, Outcome]]],
    ) -> None:
        self.key = key
        self.parts = parts
        self.gate = Gate()
        self.gated = GatedWorkers(workers, self.gate)
        self.draft: Draft | None = None
        self.placed = False
        """Is the content in its place, which the location log may not know yet?"""
        self._peer = peer
        self._file = file
        self._workers = workers
        self._checker = checker
        self._add = add
        self._recheck = recheck
        self._spell_out = spell_out
        self._in_memory = BriefSink(self.gate, key.size or 0)
        self.sink: Sink = self._in_memory
        self._fd = -1
        self._begun = False
        self._valid = False
        self._over = False

    def open(self) -> bool:
        """
        Claim the room for it.  `False` when there is a partial file to go on
        with.  Raises `Refused` when there is no room, and `OSError`.
        """
        if os.path.lexists(self.parts.layout.tmp(self.key)):
            return False
        self.parts.space.claim(self, lambda: self.key.size or 0)
        return True

    def let_go(self) -> None:
        """Of that room."""
        self.parts.space.let_go(self)

    def announce(self, length: int) -> None:
        self._begun = True

    async def commit(self, valid: bool) -> Outcome:
        self._valid = valid
        with refusing():
            if self._in_memory.excess:
                return self._spoiled(WRONG)
            try:
                if not await self._add(self):
                    return await self._commit_spelt_out()
            except Spoiled as error:
                return Outcome(False, reason=str(error))
            return Outcome(True)

    def _spoiled(self, reason: str) -> Outcome:
        self._in_memory.kept.clear()  # it would only be resumed again
        return Outcome(False, reason=reason)

    async def _commit_spelt_out(self) -> Outcome:
        self.let_go()
        writer = await self._spell_out()
        if isinstance(writer, Outcome):
            return writer
        kept = bytes(self._in_memory.kept)
        self._over = True
        try:
            writer.announce(max(0, len(kept) - writer.offset))
            await writer.sink.write(kept[writer.offset :])
            return await writer.commit(self._valid)
        finally:
            await writer.close()

    async def recheck(self) -> Outcome:
        with refusing():
            return await self._recheck(self.parts, self.key)

    async def close(self) -> None:
        self.gate.shut()
        over, self._over = self._over, True
        self.let_go()
        if self._begun and not over:  # a peer that thought better of it has not failed
            with refusing():
                await self._workers.disk.run(self._close)

    # --- for threads ---------------------------------------------------------

    def place(self) -> bool:
        """
        Put what is in memory where complete content is, if it is right.
        `False` when it can only get there by a partial file.  Raises
        `Spoiled`, `Refused` and `OSError`; `finish` must follow in any case.
        """
        objects = self.parts.objects
        self.draft = self.parts.transfers.draft(self.key)
        if objects.find(self.key) is not None:
            self.placed = True
            return True
        self._fd = objects.open_nameless()
        if self._fd < 0:
            return False
        content = self._in_memory.kept
        if self._in_memory.excess or not self._is_right(content):
            content.clear()  # it would only be resumed again
            raise Spoiled(WRONG)
        self._write(content)
        self.placed = True  # maybe even when that fails
        self.placed = objects.place_nameless(self.key, self._fd)
        return self.placed

    def _write(self, content: Buffer) -> None:
        try:
            write_all(self._fd, content)
        except OSError as error:
            raise Spoiled(sentence(error)) from error

    def take_back(self) -> None:
        """
        Undo `place`, because that went wrong in the end, or the location log
        could not be told.  Content that came from elsewhere, or that somebody
        has locked already, stays.
        """
        found = self.parts.objects.find(self.key)
        if self._fd >= 0 and found is not None and os.path.samestat(found[1], os.fstat(self._fd)):
            claim = self.parts.locks.claim(found[0])
            try:
                self.parts.objects.remove(found[0])
            finally:
                claim.release()
        self.placed = False

    def finish(self, done: bool) -> None:
        """Give back what `place` needs; with ``done`` there is nothing left for `close`."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        if self.draft is not None:
            self.draft.end()
        if done:
            self._over = True
            self.gate.shut()
            self.parts.transfers.forget_failure(self._peer, self.key)

    def _is_right(self, content: Buffer) -> bool:
        if self._checker.means is not Means.HASH or (self._valid and not self.parts.settings.verify):
            return self.key.size == len(content)
        self._checker.digest.update(content)
        return self._checker.matches(len(content))

    def _close(self) -> None:
        """What has come is kept in a partial file, for the next try; with that, its failure is noted."""
        self.gate.close()
        if self.placed:
            return
        kept = bytes(self._in_memory.kept)
        # Somebody else's upload, or no room: what is lost then is not much.
        with contextlib.suppress(OSError, Refused):
            upload = open_upload(self.parts, self._peer, self.key, self._file)
            if upload is not None:
                try:
                    os.lseek(upload.fd, upload.offset, os.SEEK_SET)
                    write_all(upload.fd, kept[upload.offset :])
                finally:
                    upload.close(False)
