"""Content into several nodes at once; each has its own success."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.logger import Logger

from annexd.errors import Refused, Unavailable
from annexd.flow.body import Sink
from annexd.protocol.keys import Key
from annexd.router.errands import quietly
from annexd.router.fanout import Lane, tee
from annexd.router.members import Member, reasons, told
from annexd.router.parts import Parts
from annexd.router.uploads import Turn
from annexd.store import Outcome, Sharer, Writer

_log = Logger()

_Act = Callable[[Writer], Coroutine[Any, Any, Outcome]]


@dataclass(frozen=True, slots=True)
class Branch:
    """An upload to one member, for its ``wanted`` nodes."""

    member: Member
    writer: Writer
    wanted: frozenset[bytes] = frozenset()


class ClusterWriter:
    """
    See `annexd.store.Writer`.  The client sends what the node lacks that has
    least.  ``have`` are nodes that turned out to have the content, ``failed``
    those that did not take it, and why.
    """

    def __init__(
        self,
        parts: Parts,
        key: Key,
        turn: Turn,
        branches: Sequence[Branch],
        have: frozenset[bytes],
        failed: Sequence[tuple[str, str]],
    ) -> None:
        self._parts = parts
        self._key = key
        self._turn = turn
        self._branches = branches
        self.had = self._have = have
        self._unrecorded: frozenset[bytes] = frozenset()
        self._taken = False
        self._failed = list(failed)
        self._total = self.offset = min(branch.writer.offset for branch in branches)
        _share_checks([branch.writer for branch in branches])
        self._lanes = [self._lane(branch) for branch in branches]
        self._tee = tee(parts.errands.clock, self._lanes, parts.limits, parts.uploads.backlog)
        self.sink: Sink = self._tee

    def _lane(self, branch: Branch) -> Lane:
        ahead = branch.writer.offset - self.offset
        limits = self._parts.limits
        seconds = limits.for_progress(branch.member.node)
        return Lane(self._parts.errands, limits, branch.writer.sink, ahead, seconds)

    def announce(self, length: int) -> None:
        self._total = self.offset + length
        for branch, lane in zip(self._branches, self._lanes, strict=True):
            rest = self._total - branch.writer.offset
            if rest < 0:
                # What it would add up to is not what the client means.
                lane.end(Refused("what it has already is longer than the content"))
            else:
                branch.writer.announce(rest)

    async def commit(self, valid: bool) -> Outcome:
        await self._tee.settle()
        return await self._finish(lambda writer: writer.commit(valid))

    async def recheck(self) -> Outcome:
        return await self._finish(lambda writer: writer.recheck())

    async def close(self) -> None:
        try:
            for lane in self._lanes:
                lane.end(Unavailable("the upload was given up"))
            branches, self._branches = self._branches, ()
            await close_all(self._parts, branches)
            if not self._turn.disturbed:
                await self._record()
        finally:
            self._turn.end()

    async def _finish(self, act: _Act) -> Outcome:
        both = list(zip(self._branches, self._lanes, strict=True))

        async def finish(one: tuple[Branch, Lane]) -> None:
            branch, lane = one
            if lane.error is not None:
                self._left_out(branch.member, str(lane.error))
            else:
                await self._finish_one(branch, act)

        await self._parts.errands.each(len(both), both, finish)
        while self._turn.disturbed:
            self._turn.disturbed = False
            await self._look_again()
        await self._record()
        ok = self._taken or bool(self._have)
        return Outcome(ok, also=told(self._have), reason=reasons(self._failed))

    async def _finish_one(self, branch: Branch, act: _Act) -> None:
        seconds = self._parts.limits.for_commit(self._total)
        silence = f"it has not confirmed the content for {seconds:g} seconds"
        try:
            outcome = await self._parts.errands.within(seconds, act(branch.writer), silence)
        except (Refused, Unavailable) as error:
            self._left_out(branch.member, str(error))
            return
        have = branch.member.took(outcome)
        if outcome.also or not outcome.ok:  # who is too old to name them may have reached all
            branch.member.missed(branch.wanted - have)
        self._have |= have
        self._unrecorded |= have
        self._taken |= outcome.ok
        if not outcome.ok:
            self._left_out(branch.member, outcome.reason or "it does not say why")

    async def _look_again(self) -> None:
        """Somebody has removed it meanwhile: who has it still?"""
        unrecorded, self._unrecorded = self._unrecorded, frozenset()  # whoever calls this off does not know
        there: set[bytes] = set()
        self._taken = False

        async def look(branch: Branch) -> None:
            seconds = self._parts.limits.for_answer(branch.member.node)
            present = branch.member.store.present(self._key)
            try:
                if await self._parts.errands.within(seconds, present, "it has not answered"):
                    there.update(branch.member.took(Outcome(True)))
                    self._taken = True
            except (Refused, Unavailable):
                pass

        await self._parts.errands.each(max(1, len(self._branches)), self._branches, look)
        self._have &= there
        self._unrecorded = unrecorded & there

    def _left_out(self, member: Member, reason: str) -> None:
        self._failed.append((member.name, reason))
        _log.warn("{node} did not take {key}: {reason}", node=member.name, key=self._key, reason=reason)

    async def _record(self) -> None:
        unrecorded, self._unrecorded = self._unrecorded, frozenset()
        self._turn.recording()
        await self._parts.log.record(self._key, dict.fromkeys(unrecorded, True))


def _share_checks(writers: Sequence[Writer]) -> None:
    """On the disks of one machine several hashes of the same would cost more than all else."""
    first: dict[int, Writer] = {}
    for writer in writers:
        if isinstance(writer, Sharer):
            leader = first.setdefault(writer.offset, writer)
            if leader is not writer:
                writer.share_check(leader)


async def close_all(parts: Parts, branches: Sequence[Branch]) -> None:
    """Whoever does not let go soon is not waited for."""

    async def close(branch: Branch) -> None:
        closing = parts.errands.within(parts.limits.parting, branch.writer.close(), "it does not let go")
        await quietly(closing)

    await parts.errands.each(max(1, len(branches)), branches, close)
