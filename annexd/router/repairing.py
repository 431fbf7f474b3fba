"""Content from a cluster's nodes into those that should have it and do not, without a client."""

from __future__ import annotations

from collections.abc import Sequence

from annexd.errors import Refused, Unavailable
from annexd.flow.pour import Moved, pour
from annexd.protocol.keys import Key
from annexd.router.members import Member, nodes_of
from annexd.router.opening import open_upload
from annexd.router.parts import Parts
from annexd.router.placement import place
from annexd.router.reading import open_reader
from annexd.router.writing import ClusterWriter
from annexd.store import Outcome


async def lacking(parts: Parts, key: Key, holders: frozenset[bytes], ask_all: bool) -> frozenset[bytes]:
    """
    The nodes that want ``key`` and do not have it; none where no node has it.
    ``holders`` is what the location log says: of nodes on disks of this
    machine, and with ``ask_all`` of the others, too, it is seen whether it is
    true, and set right.
    """
    members = parts.members.now()
    reached = nodes_of(members)
    if not reached & holders:
        return frozenset()
    holders = await _true(parts, members, key, holders, ask_all)
    left = reached - holders
    if not left or not reached & holders:
        return frozenset()
    wishes = await parts.wishes.of(key, b"", sorted(left), holders)
    return place([member.way for member in members], holders, wishes).targets


async def fill(parts: Parts, key: Key, moved: Moved) -> Outcome:
    """
    One pass over the bytes, into all nodes that lack them: those that took
    them are named; ``moved`` is told of every piece.  Raises `AnnexdError`
    where there is nobody to give or to take it.
    """
    upload = await open_upload(parts, key, b"")
    if isinstance(upload, Outcome):
        return upload
    try:
        reader = await open_reader(parts, key, upload.offset, b"")
        sent = False
        try:
            upload.announce(reader.source.remaining)
            await pour(reader.source, upload.sink, moved)
            sent = True
            had = upload.had if isinstance(upload, ClusterWriter) else frozenset()
            return _taken(await upload.commit(await reader.valid()), had)
        finally:
            await reader.close(sent)
    finally:
        await upload.close()


def _taken(outcome: Outcome, had: frozenset[bytes]) -> Outcome:
    """Of an upload, without those that had the content before it."""
    took = tuple(uuid for uuid in outcome.also if uuid not in had)
    return Outcome(outcome.ok and (bool(took) or not outcome.also), took, outcome.reason)


async def _true(
    parts: Parts, members: Sequence[Member], key: Key, holders: frozenset[bytes], ask_all: bool
) -> frozenset[bytes]:
    """The holders without those that turn out not to have it."""
    own = [member for member in members if not member.way.is_gateway and member.node.uuid in holders]
    asked = [member for member in own if ask_all or member.node.is_local]

    async def gone(member: Member) -> bool:
        seconds = parts.limits.for_answer(member.node)
        silence = f"it has not answered for {seconds:g} seconds"
        undisturbed = parts.uploads.since_now(key)
        try:
            here = await parts.errands.within(seconds, member.store.present(key), silence)
        except (Refused, Unavailable):
            return False  # nobody can say so
        if here or not undisturbed():
            return False
        await parts.log.record(key, {member.node.uuid: False})
        return True

    answers = await parts.errands.each(parts.limits.jobs, asked, gone)
    return holders.difference(
        member.node.uuid for member, is_gone in zip(asked, answers, strict=True) if is_gone
    )
