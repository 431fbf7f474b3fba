"""Content out of every node of a cluster, by a certain time if need be."""

from __future__ import annotations

import math
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from annexd.errors import Refused, Unavailable
from annexd.protocol.keys import Key
from annexd.router.detours import detours
from annexd.router.members import Member, reasons, told
from annexd.router.parts import Parts
from annexd.store import Outcome


@dataclass(frozen=True, slots=True)
class _Result:
    member: Member
    outcome: Outcome
    refused: bool = False
    unreachable: bool = False

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


async def remove(parts: Parts, key: Key, before: int | None) -> Outcome:
    """
    See `annexd.store.Store.remove`.  All members are asked, whatever the
    location log says.  One that cannot be reached makes it a failure, unless
    nothing is known to be there: then everything that there was is gone.
    """
    members = parts.members.now()
    if not members:
        raise Unavailable("no node of the cluster can be reached now")
    holders = await parts.log.holders(key)
    uploading = parts.uploads.under_way(parts.uuid, key)
    gone: set[bytes] = set()

    async def remove_from(member: Member) -> _Result:
        result = await _remove_from(parts, member, key, before)
        gone.update(member.dropped(result.outcome))
        return result

    try:
        results = await parts.errands.each(parts.limits.jobs, members, remove_from)
        missed = [(one.member, one.member.way.reaches - gone) for one in results if not one.unreachable]
        again = detours(parts.members, members, missed)
        results += await parts.errands.each(parts.limits.jobs, again, remove_from)
    finally:
        # What was removed is gone, even if nobody waits for an answer any more.
        await parts.log.record(key, dict.fromkeys(gone, False))
    failed = [result for result in results if result.failed(holders, frozenset(gone), uploading)]
    if not failed and not any(one.outcome.ok for one in results):
        failed = results  # of nobody it can be said that all is gone where nobody was asked
    reason = reasons([(one.member.name, one.outcome.reason or "it does not say why") for one in failed])
    if failed and not gone and all(one.refused or one.unreachable for one in failed):
        # Nothing has happened, so that the protocol can tell why.
        raise (Unavailable if all(one.unreachable for one in failed) else Refused)(reason)
    return Outcome(not failed, also=told(frozenset(gone)), reason=reason)


async def _remove_from(parts: Parts, member: Member, key: Key, before: int | None) -> _Result:
    seconds = parts.limits.for_removal(member.node)
    silence = f"it has not answered for {seconds:g} seconds"
    try:
        if before is None:
            removal = member.store.remove(key)
        else:
            removal = _remove_in_time(parts, member, key, before)
        outcome = await parts.errands.within(
            seconds,
            removal,
            silence,
            lambda late: parts.log.record(key, dict.fromkeys(member.dropped(late), False)),
            call_off=False,
        )
        return _Result(member, outcome)
    except Refused as error:
        return _Result(member, Outcome(False, reason=str(error)), refused=True)
    except Unavailable as error:
        return _Result(member, Outcome(False, reason=str(error)), unreachable=True)


async def _remove_in_time(parts: Parts, member: Member, key: Key, before: int) -> Outcome:
    """
    ``before`` is on our own clock, the node's is asked for: anew each time, as
    it starts again with the node.  The answer's way here counts as time that
    has passed, so that it is too early rather than too late at the node.
    """
    theirs = await member.store.timestamp()
    left = math.floor(before - parts.boot())
    return await member.store.remove(key, max(0, theirs + left))
