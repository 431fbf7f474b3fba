"""Content from a cluster's nodes into those that should have it and do not, without a client."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.logger import Logger

from annexd.errors import AnnexdError, Refused, Unavailable
from annexd.flow.pour import Moved, pour
from annexd.protocol.keys import Key
from annexd.router.members import Member, nodes_of
from annexd.router.opening import open_upload
from annexd.router.parts import Parts
from annexd.router.placement import place
from annexd.router.reading import open_reader
from annexd.router.writing import ClusterWriter
from annexd.store import Outcome, Store

_log = Logger()


async def lacking(
    parts: Parts, key: Key, holders: frozenset[bytes], ask_all: bool, file: bytes = b""
) -> frozenset[bytes]:
    """
    The nodes that want ``key`` and do not have it; none where no node has it.
    ``holders`` is what the location log says: of nodes on disks of this
    machine, and with ``ask_all`` of the others, too, it is seen whether it is
    true, and set right.  ``file`` is as in PUT.
    """
    members = parts.members.now()
    reached = nodes_of(members)
    if not reached & holders:
        return frozenset()
    holders = await _true(parts, members, key, holders, ask_all)
    left = reached - holders
    if not left or not reached & holders:
        return frozenset()
    wishes = await parts.wishes.of(key, file, sorted(left), holders)
    return place([member.way for member in members], holders, wishes).targets


async def fill(parts: Parts, key: Key, moved: Moved, file: bytes = b"") -> Outcome:
    """
    One pass over the bytes, into all nodes that lack them: those that took
    them are named; ``moved`` is told of every piece.  Where nobody took what
    one holder has, another one is tried.  Raises `AnnexdError` where there is
    nobody to give or to take it.
    """
    tried: set[Store] = set()
    outcome = await _pass(parts, key, moved, file, tried)
    while not outcome.ok:
        before = len(tried)
        try:
            again = await _pass(parts, key, moved, file, tried)
        except AnnexdError:
            break
        outcome = again
        if len(tried) == before:
            break
    return outcome


async def _pass(parts: Parts, key: Key, moved: Moved, file: bytes, tried: set[Store]) -> Outcome:
    """Those that are in ``tried`` are not asked for it, and those that have given it come into it."""
    upload = await open_upload(parts, key, file)
    if isinstance(upload, Outcome):
        return upload
    try:
        reader = await open_reader(parts, key, upload.offset, file, frozenset(tried))
        sent = False
        try:
            upload.announce(reader.source.remaining)
            await pour(reader.source, upload.sink, moved)
            sent = True
            had = upload.had if isinstance(upload, ClusterWriter) else frozenset()
            outcome = _taken(await upload.commit(await reader.valid()), had)
        finally:
            tried.update(member.store for member in reader.used)
            await reader.close(sent)
    finally:
        await upload.close()
    if not outcome.ok:
        names = ", ".join(member.name for member in reader.used)
        _log.warn(
            "nobody has taken {key} from {nodes}: {reason}", key=key, nodes=names, reason=outcome.reason
        )
    return outcome


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
