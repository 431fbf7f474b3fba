"""Content on its way into a repository on this disk."""

from __future__ import annotations

import os
from collections.abc import Awaitable
from typing import Callable

from twisted.internet.defer import Deferred

from annexd.flow.body import CarriedSink, NoDigest, Sink
from annexd.flow.workers import Workers
from annexd.protocol.keys import Key
from annexd.repo.disks import refusing, sentence
from annexd.repo.objects import discard
from annexd.repo.partials import CatchUp, PartialSink, Upload
from annexd.repo.parts import Parts
from annexd.repo.sharing import Common, Share
from annexd.repo.trips import Gate, GatedWorkers
from annexd.repo.verify import Checker, Means
from annexd.store import Outcome

WRONG = "what arrived is not the content of that key; it was deleted"


class LocalWriter:
    """
    See `annexd.store.Writer`.  ``add`` puts a complete and verified partial
    file into place and records it; ``recheck`` records content that is here.
    """

    def __init__(
        self,
        key: Key,
        upload: Upload,
        parts: Parts,
        workers: Workers,
        checker: Checker,
        add: Callable[[LocalWriter], Awaitable[None]],
        recheck: Callable[[Parts, Key], Awaitable[Outcome]],
    ) -> None:
        self.key = key
        self.parts = parts
        self.path = upload.path
        self.offset = upload.offset
        self.checker = checker
        self._upload = upload
        self._workers = workers
        self.gate = Gate()
        self.gated = GatedWorkers(workers, self.gate)
        """For all that touches the partial file: closing waits for it."""
        self._add = add
        self._recheck = recheck
        self._begun = False
        self._done = False
        self._closed = False
        self._catching_up: Deferred[None] | None = None
        self._hashing = checker.means is Means.HASH and parts.settings.verify and not upload.offset
        digest = checker.digest if self._hashing else NoDigest()
        self._sink = PartialSink(self.gated, upload, digest)
        self.sink: Sink = self._sink if parts.is_local else CarriedSink(self._sink)
        if upload.offset and checker.means is Means.HASH and parts.settings.verify:
            self._catch_up()

    def share_check(self, other: object) -> None:
        """See `annexd.store.Sharer`."""
        if isinstance(other, LocalWriter) and self._can_share(other):
            digest = other._sink.digest
            common = digest.common if isinstance(digest, Share) else Common(digest)
            other._sink.digest, self._sink.digest = Share(common), Share(common)
            self.checker = other.checker

    def _can_share(self, other: LocalWriter) -> bool:
        """Only what is hashed as it comes, from the beginning on, and means the same."""
        both = (self, other)
        return all(one._hashing and not one._begun for one in both) and self.checker.means_as(other.checker)

    def announce(self, length: int) -> None:
        self._begun = True
        if self._sink.limit is None:
            self._sink.limit = self.offset + length

    async def commit(self, valid: bool) -> Outcome:
        with refusing():
            if self._sink.refusal is not None:
                return Outcome(False, reason=str(self._sink.refusal))
            if self._sink.error is not None:
                return Outcome(False, reason=sentence(self._sink.error))
            if self._sink.excess or not await self._is_right(valid):
                await self.gated.disk.run(self._discard)
                return Outcome(False, reason=WRONG)
            await self._add(self)
            return Outcome(True)

    async def recheck(self) -> Outcome:
        with refusing():
            return await self._recheck(self.parts, self.key)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._catching_up is not None:
            self._catching_up.cancel()
            self._catching_up.addErrback(lambda failure: None)  # nobody asks for its result any more
        if not self._upload.over:
            with refusing():
                await self._workers.disk.run(self._close)

    # --- for threads ---------------------------------------------------------

    def place(self) -> None:
        """Move the partial file to where complete content is."""
        self.parts.objects.place(self.key, self.path, self._upload.fd)
        self._done = True

    def take_back(self) -> None:
        """
        Undo `place`, because that went wrong in the end, or the location log
        could not be told.  Content that came from elsewhere, or that somebody
        has locked already, stays.
        """
        found = self.parts.objects.find(self.key)
        if found is not None and os.path.samestat(found[1], os.fstat(self._upload.fd)):
            claim = self.parts.locks.claim(found[0])
            try:
                self.parts.objects.take_back(found[0], self.path)
                self._done = False
            finally:
                claim.release()

    def settle(self, fsync: bool) -> int:
        """Make the partial file ready for somebody else to move it away; its size."""
        if fsync:
            os.fsync(self._upload.fd)
        return self._sink.offset

    def taken(self) -> None:
        """Somebody else has moved it away."""
        self._done = True

    def finish(self) -> None:
        """All is done: there is nothing left for `close`."""
        self.gate.shut()
        self._upload.close(True)

    def _discard(self) -> None:
        """Wrong content would only be resumed again."""
        discard(self.path)

    def _close(self) -> None:
        self.gate.close()
        # A peer that thought better of it has not failed.
        self._upload.close(self._done if self._begun else None)

    # --- is it right? --------------------------------------------------------

    async def _is_right(self, valid: bool) -> bool:
        size = self._sink.offset
        if self.key.size not in (None, size):
            return False
        if self.checker.means is not Means.HASH or (valid and not self.parts.settings.verify):
            return True
        if not self._hashing and self._catching_up is None:
            self._catch_up()
        if self._catching_up is not None:
            await self._catching_up
        digest = self._sink.digest
        return self.checker.matches(size) and (not isinstance(digest, Share) or digest.complete)

    def _catch_up(self) -> None:
        """Hash what nobody has hashed yet, from the beginning of the file."""
        work = CatchUp(self._sink, self.checker.digest)

        async def run() -> None:
            while not await self.gated.bulk.run(work.step):
                pass

        self._catching_up = Deferred.fromCoroutine(run())
