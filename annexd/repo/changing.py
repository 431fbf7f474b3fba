"""
Adding and removing content, natively where that is safe, by an installed
git-annex where only that does everything right.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import CancelledError

from annexd.errors import Absent, Refused
from annexd.flow.workers import Workers
from annexd.protocol.keys import Key
from annexd.repo.brief import BriefWriter
from annexd.repo.delegate import GitAnnex
from annexd.repo.incoming import LocalWriter
from annexd.repo.ledger import Ledger
from annexd.repo.parts import Clocks, Parts
from annexd.repo.pointers import Unlocked
from annexd.repo.sweeper import Sweeper
from annexd.repo.verify import Means
from annexd.store import Outcome

_START_S = 300.0
"""For git-annex to start, and to wait for others of its kind."""

_SLOWEST = 10_000_000
"""Bytes per second that git-annex hashes and copies at least."""

_TOO_LATE = "the time within which the content could be removed is over"


@dataclass(frozen=True, slots=True)
class Changing:
    """What changes the content of one repository."""

    ledger: Ledger
    workers: Workers
    git_annex: GitAnnex
    clocks: Clocks
    fsync: bool
    sweeper: Sweeper

    # --- adding --------------------------------------------------------------

    def check_adding(self, parts: Parts, means: Means) -> None:
        """Refuse now what would be impossible later; for a thread."""
        if only_git_annex_adds(parts, means):
            self.git_annex.check("store content in this repository")

    async def add(self, writer: LocalWriter) -> None:
        """Put complete content, verified as far as we can, into place, and say so in the location log."""
        if not only_git_annex_adds(writer.parts, writer.checker.means):
            if self.ledger.idle and not self.fsync:
                if await self.ledger.run(self._place_and_record, writer):
                    return
            # Others need not wait for their turn, nor for a thread, while this waits for the disk.
            elif await writer.gated.bulk.run(self._place, writer):
                await self.ledger.run_anyway(self._record_or_undo, writer)
                return
        await writer.gated.bulk.run(self._add_by_git_annex, writer)

    async def recheck(self, parts: Parts, key: Key) -> Outcome:
        """Content that is here is recorded, however it came."""
        here = await self.ledger.run(self._record_what_is, parts, key)
        return Outcome(here, reason="" if here else "the content is not here")

    def _place(self, writer: LocalWriter) -> bool:
        """For a thread; `False` when that is for git-annex to do."""
        if self._has_unlocked_files(writer.parts, writer.key):
            return False
        with _or_taken_back(writer):
            writer.place()
        return True

    def _place_and_record(self, writer: LocalWriter) -> bool:
        with writer.gate:
            placed = self._place(writer)
            if placed:
                self._record(writer)
                writer.finish()
            return placed

    def _record_or_undo(self, writer: LocalWriter) -> None:
        with writer.gate:
            self._record(writer)
            writer.finish()

    def _record(self, writer: LocalWriter) -> None:
        """What the location log does not know of might as well not be here."""
        with _or_taken_back(writer):
            self._record_what_is(writer.parts, writer.key)

    def _record_what_is(self, parts: Parts, key: Key) -> bool:
        """Whoever removed the content before it was our turn has recorded that."""

        def is_here() -> bool:
            return parts.objects.find(key) is not None

        if is_here():
            self.ledger.record(key, True, is_here)
            return is_here()
        return False

    async def add_brief(self, writer: BriefWriter) -> bool:
        """The same for what is in memory still; `False` when it has to go into a partial file first."""
        if self.ledger.idle and not self.fsync:
            await self.ledger.run(self._place_and_record_brief, writer)
            return writer.placed
        try:
            await writer.gated.bulk.run(self._place_brief, writer)
        finally:
            if writer.placed:
                await self.ledger.run_anyway(self._record_brief, writer)
        return writer.placed

    def _place_and_record_brief(self, writer: BriefWriter) -> None:
        with writer.gate:
            try:
                self._place_brief(writer)
            finally:
                if writer.placed:
                    self._record_brief(writer)

    def _place_brief(self, writer: BriefWriter) -> None:
        try:
            if not self._has_unlocked_files(writer.parts, writer.key):
                with _or_taken_back(writer):
                    writer.place()
        finally:
            if not writer.placed:
                writer.finish(False)

    def _record_brief(self, writer: BriefWriter) -> None:
        recorded = False

        def is_here() -> bool:
            return writer.parts.objects.find(writer.key) is not None

        try:
            with _or_taken_back(writer):
                self.ledger.record(writer.key, True, is_here, writer.draft)
                recorded = True
        finally:
            writer.finish(recorded)

    def _add_by_git_annex(self, writer: LocalWriter) -> None:
        """For a thread."""
        size = writer.settle(self.fsync)
        verify = writer.checker.means is Means.GIT_ANNEX
        seconds = _START_S + size / _SLOWEST
        self.git_annex.setkey(writer.key, writer.path, verify=verify, seconds=seconds)
        writer.taken()

    # --- removing ------------------------------------------------------------

    async def remove(self, parts: Parts, key: Key, before: int | None) -> Outcome:
        if parts.settings.needs_git_annex_to_remove:
            return await self._remove_by_git_annex(parts, key, before)
        try:
            # Who calls it off must be able to say what has become of it.
            outcome = await self.ledger.attempt(self._remove, parts, key, before)
        finally:
            self.sweeper.start()
        if outcome is None:
            return await self._remove_by_git_annex(parts, key, before)
        return outcome

    def _remove(self, parts: Parts, key: Key, before: int | None) -> Outcome | None:
        """
        For a thread, in turn; `None` when git-annex has to do it.

        The log comes first: content that is here without being logged is
        found by the next ``git annex fsck``, content that is logged without
        being here may be relied upon.
        """
        while (found := parts.objects.find(key)) is not None:
            if self._has_unlocked_files(parts, key) or self._is_noted(parts, key):
                return None
            path = found[0]
            try:
                claim = parts.locks.claim(path, self.sweeper.add)
            except Absent:
                continue
            try:
                if self._is_late(before):
                    return Outcome(False, reason=_TOO_LATE)
                self._unlink_and_record(parts, key, path)
            finally:
                claim.release()
        return Outcome(True)

    def _unlink_and_record(self, parts: Parts, key: Key, path: bytes) -> None:
        self.ledger.record(key, False)
        try:
            parts.objects.remove(path)
        except OSError:
            self.ledger.record(key, True)
            raise

    async def _remove_by_git_annex(self, parts: Parts, key: Key, before: int | None) -> Outcome:
        """With git-annex the content goes first, so one that was stopped may not have come to the log."""
        try:
            return await self.workers.bulk.attempt(self._drop, parts, key, before)
        except (CancelledError, Refused):
            await self.ledger.run_anyway(self._record_if_gone, parts, key)
            raise

    def _record_if_gone(self, parts: Parts, key: Key) -> None:
        def is_gone() -> bool:
            return parts.objects.find(key) is None

        if is_gone() and parts.settings.uuid in self.ledger.branch.holders(key):
            self.ledger.record(key, False, is_gone)

    def _drop(self, parts: Parts, key: Key, before: int | None) -> Outcome:
        """For a thread.  git-annex knows no moment by which it has to be done, so it is stopped there."""
        if parts.objects.find(key) is None:
            return Outcome(True)
        if self._is_late(before):
            return Outcome(False, reason=_TOO_LATE)
        seconds = _START_S if before is None else min(_START_S, before - self.clocks.boot())
        self.git_annex.dropkey(key, seconds=seconds)
        return Outcome(True)

    def _has_unlocked_files(self, parts: Parts, key: Key) -> bool:
        """
        Must files of the work tree change with the content of ``key``?
        Where that is not certain, git-annex, if there is one, decides.
        """
        if parts.pointers is None:
            return False
        unlocked = parts.pointers.unlocked_files(key)
        return unlocked is Unlocked.SOME or (unlocked is Unlocked.UNKNOWN and self._has_git_annex())

    def _is_noted(self, parts: Parts, key: Key) -> bool:
        """Only git-annex can strike out what it has noted about a file that goes."""
        return parts.pointers is not None and parts.pointers.noted(key) and self._has_git_annex()

    def _has_git_annex(self) -> bool:
        with contextlib.suppress(Refused):
            self.git_annex.check("look for unlocked files")
            return True
        return False

    def _is_late(self, before: int | None) -> bool:
        return before is not None and self.clocks.boot() >= before


class _Placing(Protocol):
    def take_back(self) -> None: ...


@contextlib.contextmanager
def _or_taken_back(writer: _Placing) -> Iterator[None]:
    try:
        yield
    except (OSError, Refused):
        with contextlib.suppress(OSError, Refused):
            writer.take_back()
        raise


def only_git_annex_adds(parts: Parts, means: Means) -> bool:
    return parts.settings.needs_git_annex_to_add or means is Means.GIT_ANNEX
