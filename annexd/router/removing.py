"""Content out of every node of a cluster, by a certain time if need be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from annexd.errors import Refused, Unavailable
from annexd.protocol.keys import Key
from annexd.router.detours import detours
from annexd.router.members import Member, reasons, told
from annexd.router.parts import Parts
from annexd.router.uploads import Claim
from annexd.store import Outcome


async def remove(parts: Parts, key: Key, before: int | None) -> Outcome:
    """
    See `annexd.store.Store.remove`.  All members are asked, whatever the
    location log says.  One that cannot be reached makes it a failure, unless
    nothing is known to be there: then everything that there was is gone.
    """
    claim = parts.uploads.claim(parts.uuid, key)
    try:
        return await _Removal(parts, key, before, claim).run()
    finally:
        claim.end()


@dataclass(frozen=True, slots=True)
class _Result:
    member: Member
    outcome: Outcome
    refused: bool = False
    unreachable: bool = False

    @property
    def reason(self) -> tuple[str, str]:
        return self.member.name, self.outcome.reason or "it does not say why"

    def failed(self, holders: frozenset[bytes], gone: AbstractSet[bytes], uploading: bool) -> bool:
        """
        Whether anything may be left there.  ``gone`` is what was removed,
        by whatever way, ``uploading`` whether more is on its way.
        """
        way = self.member.way
        if way.is_gateway and way.reaches <= gone:
            return False
        left = way.reaches & holders - gone
        if self.outcome.ok:
            return way.is_gateway and bool(left)  # it has not heard of what it did not reach
        return not self.unreachable or uploading or bool(left)


class _Removal:
    """Somebody may be putting the same content there, and be at it still when this is over."""

    def __init__(self, parts: Parts, key: Key, before: int | None, claim: Claim) -> None:
        self._parts = parts
        self._key = key
        self._before = before
        self._claim = claim
        self._gone: set[bytes] = set()
        self._unrecorded: list[_Result] = []

    async def run(self) -> Outcome:
        members = self._parts.members.now()
        if not members:
            raise Unavailable("no node of the cluster can be reached now")
        holders = await self._parts.log.holders(self._key)
        try:
            results = await self._from_each(members)
            missed = [
                (one.member, one.member.way.reaches - self._gone) for one in results if not one.unreachable
            ]
            results += await self._from_each(detours(self._parts.members, members, missed))
        finally:
            # What was removed is gone, even if nobody waits for an answer any more.
            await self._settle()
        failed = self._failed(results, holders)
        reason = reasons([result.reason for result in failed])
        if failed and not self._gone and all(one.refused or one.unreachable for one in failed):
            # Nothing has happened, and the protocol can tell why.
            raise (Unavailable if all(one.unreachable for one in failed) else Refused)(reason)
        return Outcome(not failed, also=told(frozenset(self._gone)), reason=reason)

    async def _from_each(self, members: Sequence[Member]) -> list[_Result]:
        return await self._parts.errands.each(self._parts.limits.jobs, members, self._remove_from)

    def _failed(self, results: Sequence[_Result], holders: frozenset[bytes]) -> Sequence[_Result]:
        failed = [one for one in results if one.failed(holders, self._gone, self._claim.uploading)]
        if not failed and not any(one.outcome.ok for one in results):
            return results  # of nobody it can be said that all is gone where nobody was asked
        return failed

    async def _remove_from(self, member: Member) -> _Result:
        result = await self._asked(member)
        self._gone |= member.dropped(result.outcome)
        if self._claim.uploading:  # then it may be back before the last node has answered
            await self._record_unless_back(member, result.outcome)
        else:
            self._unrecorded.append(result)
        return result

    async def _settle(self) -> None:
        unrecorded, self._unrecorded = self._unrecorded, []
        if not self._claim.uploading:
            await self._record(self._gone)
            return
        for one in unrecorded:
            await self._record_unless_back(one.member, one.outcome)

    async def _asked(self, member: Member) -> _Result:
        seconds = self._parts.limits.for_removal(member.node)
        if self._before is None:
            removal = member.store.remove(self._key)
        else:
            removal = self._remove_in_time(member, self._before)
        try:
            outcome = await self._parts.errands.within(
                seconds,
                removal,
                f"it has not answered for {seconds:g} seconds",
                lambda late: self._record_unless_back(member, late),
                call_off=False,
            )
        except Refused as error:
            return _Result(member, Outcome(False, reason=str(error)), refused=True)
        except Unavailable as error:
            return _Result(member, Outcome(False, reason=str(error)), unreachable=True)
        return _Result(member, outcome)

    async def _remove_in_time(self, member: Member, before: int) -> Outcome:
        """
        ``before`` is on our own clock, the node's is asked for: anew each time, as
        it starts again with the node.  The answer's way here counts as time that
        has passed, so that it is too early rather than too late at the node.
        """
        theirs = await member.store.timestamp()
        left = math.floor(before - self._parts.boot())
        return await member.store.remove(self._key, max(0, theirs + left))

    async def _record_unless_back(self, member: Member, outcome: Outcome) -> None:
        """What has been put there since, behind the back of who was asked, is not gone."""
        dropped = member.dropped(outcome)
        if not dropped:
            return
        self._claim.disturb()
        is_back = False  # if nobody can say so: to count on content that is not there would be worse
        try:
            is_back = await self._is_back(member)
        except (Refused, Unavailable):
            pass
        finally:
            if not is_back:
                await self._record(dropped)

    async def _is_back(self, member: Member) -> bool:
        seconds = self._parts.limits.for_answer(member.node)
        while True:
            recorded = self._claim.recorded
            present = member.store.present(self._key)
            here = await self._parts.errands.within(seconds, present, "it has not answered")
            if here or recorded == self._claim.recorded:
                return here

    async def _record(self, gone: set[bytes] | frozenset[bytes]) -> None:
        await self._parts.log.record(self._key, dict.fromkeys(gone, False))
