"""The beginning of an upload to a cluster: who lacks the content, wants it, and takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Union

from twisted.logger import Logger

from annexd.errors import AnnexdError, Refused, Unavailable
from annexd.protocol.keys import Key
from annexd.router.beside import Bystander
from annexd.router.members import Member, nodes_of, reasons, told
from annexd.router.parts import Parts
from annexd.router.placement import place
from annexd.router.uploads import Turn
from annexd.router.writing import Branch, ClusterWriter, close_all
from annexd.store import Outcome, Writer

_log = Logger()


async def open_upload(parts: Parts, key: Key, file: bytes) -> Union[Writer, Outcome]:
    """
    See `annexd.store.Store.write`.  While somebody else uploads the same
    content to the cluster, this waits, and then sees what is left to be done;
    unless it is a gateway that asks, see `Bystander`.
    """
    if parts.members.bypass and parts.uploads.under_way(parts.uuid, key):
        return Bystander(parts, key)
    turn = await parts.uploads.turn(parts.uuid, key, parts.limits.same_key)
    try:
        return await _Opening(parts, key, file, turn).run()
    except BaseException:
        turn.end()
        raise


@dataclass(frozen=True, slots=True)
class _Refusal:
    name: str
    error: AnnexdError


class _Opening:
    def __init__(self, parts: Parts, key: Key, file: bytes, turn: Turn) -> None:
        self._parts = parts
        self._key = key
        self._file = file
        self._turn = turn
        self._branches: list[Branch] = []
        self._holders: frozenset[bytes] = frozenset()
        self._have: frozenset[bytes] = frozenset()
        self._having: list[Member] = []
        self._refusals: list[_Refusal] = []
        self._wanting: frozenset[bytes] = frozenset()

    async def run(self) -> Union[ClusterWriter, Outcome]:
        targets = await self._targets()
        try:
            await self._open_all(targets)
        except BaseException:
            await close_all(self._parts, self._branches)
            raise
        await self._parts.log.record(self._key, dict.fromkeys(self._have - self._holders, True))
        if self._branches:
            failed = [(refusal.name, str(refusal.error)) for refusal in self._refusals]
            return ClusterWriter(self._parts, self._key, self._turn, self._branches, self._have, failed)
        if self._having:
            self._turn.end()
            return Outcome(True, also=told(self._have))
        raise self._failure()

    async def _open_all(self, targets: Sequence[Member]) -> None:
        """Those that had it are asked again when somebody has removed it before all have answered."""
        await self._parts.errands.each(self._parts.limits.jobs, targets, self._open)
        while self._turn.disturbed:
            self._turn.disturbed = False
            having, self._having, self._have = self._having, [], frozenset()
            await self._parts.errands.each(self._parts.limits.jobs, having, self._open)

    async def _targets(self) -> list[Member]:
        """
        Those that are to have it, and those that have it by the location log:
        they are asked whether that is so.  Raises `Refused` where no node is to
        take it although none has it.
        """
        members = self._parts.members.now()
        self._holders = holders = await self._parts.log.holders(self._key)
        reached = nodes_of(members)
        if not reached:
            raise Unavailable("no node of the cluster can be reached now")
        wishes = await self._parts.wishes.of(self._key, self._file, sorted(reached - holders), holders)
        placement = place([member.way for member in members], holders, wishes)
        targets = placement.targets | (reached & holders)
        if not targets:
            raise Refused(placement.reason)
        self._wanting = placement.targets
        return [member for member in members if member.way.reaches & targets]

    async def _open(self, member: Member) -> None:
        seconds = self._parts.limits.for_opening(member.node)
        try:
            answer = await self._parts.errands.within(
                seconds,
                member.store.write(self._key, self._file),
                f"it has not answered for {seconds:g} seconds",
                _close_late,
                call_off=False,
            )
        except (Refused, Unavailable) as error:
            self._refused(member, error)
            return
        if not isinstance(answer, Outcome):
            self._branches.append(Branch(member, answer, member.way.reaches & self._wanting))
        elif answer.ok:
            self._have |= member.took(answer)
            self._having.append(member)
        else:
            self._refused(member, Refused(answer.reason))

    def _refused(self, member: Member, error: AnnexdError) -> None:
        self._refusals.append(_Refusal(member.name, error))
        _log.warn(
            "{node} does not take {key}: {reason}", node=member.name, key=self._key, reason=error.logged
        )

    def _failure(self) -> AnnexdError:
        sentence = reasons([(refusal.name, str(refusal.error)) for refusal in self._refusals])
        reachable = any(isinstance(refusal.error, Refused) for refusal in self._refusals)
        return (Refused if reachable else Unavailable)(f"no node of the cluster takes it: {sentence}")


async def _close_late(answer: Union[Writer, Outcome]) -> None:
    if not isinstance(answer, Outcome):
        await answer.close()
