"""The beginning of an upload to a cluster: who lacks the content, wants it, and takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

from twisted.logger import Logger

from annexd.errors import AnnexdError, Refused, Unavailable
from annexd.protocol.keys import Key
from annexd.router.members import Member, nodes_of, reasons, told
from annexd.router.parts import Parts
from annexd.router.placement import place
from annexd.router.uploads import Upload
from annexd.router.writing import Branch, ClusterWriter, close_all
from annexd.store import Outcome, Writer

_log = Logger()


async def open_upload(parts: Parts, key: Key, file: bytes) -> Union[ClusterWriter, Outcome]:
    """
    See `annexd.store.Store.write`.  While somebody else uploads the same
    content to the cluster, this waits, and then sees what is left to be done.
    """
    upload = await parts.uploads.turn(parts.uuid, key, parts.limits.same_key)
    try:
        return await _Opening(parts, key, file, upload).run()
    except BaseException:
        upload.end()
        raise


@dataclass(frozen=True, slots=True)
class _Refusal:
    name: str
    error: AnnexdError


class _Opening:
    def __init__(self, parts: Parts, key: Key, file: bytes, upload: Upload) -> None:
        self._parts = parts
        self._key = key
        self._file = file
        self._upload = upload
        self._branches: list[Branch] = []
        self._have: frozenset[bytes] = frozenset()
        """The nodes that have the content by what was answered to this request."""
        self._somebody_has_it = False
        self._refusals: list[_Refusal] = []

    async def run(self) -> Union[ClusterWriter, Outcome]:
        members = self._parts.members.now()
        holders = await self._checked(members, await self._parts.log.holders(self._key))
        targets = await self._targets(members, holders)
        try:
            await self._parts.errands.each(self._parts.limits.jobs, targets, self._open)
        except BaseException:
            await close_all(self._parts, self._branches)
            raise
        await self._parts.log.record(self._key, dict.fromkeys(self._have - holders, True))
        if self._branches:
            failed = [(refusal.name, str(refusal.error)) for refusal in self._refusals]
            return ClusterWriter(self._parts, self._key, self._upload, self._branches, self._have, failed)
        if self._have or self._somebody_has_it:
            self._upload.end()
            return Outcome(True, also=told(self._have))
        raise self._failure()

    async def _checked(self, members: list[Member], holders: frozenset[bytes]) -> frozenset[bytes]:
        """
        ``holders`` without the nodes that turn out not to have it, for the
        client will believe what it is told of them.
        """
        lacking: set[bytes] = set()

        async def check(member: Member) -> None:
            logged = member.way.reaches & holders
            seconds = self._parts.limits.for_answer(member.node)
            silence = f"it has not answered for {seconds:g} seconds"
            try:
                here = await self._parts.errands.within(seconds, member.store.present(self._key), silence)
            except (Refused, Unavailable) as error:
                self._refused(member, error)
                return
            if here:
                self._have |= logged
            else:
                lacking.update(logged)
                if not member.way.is_gateway:
                    await self._parts.log.record(self._key, {member.node.uuid: False})

        asked = [member for member in members if member.way.reaches & holders]
        await self._parts.errands.each(self._parts.limits.jobs, asked, check)
        return holders - lacking

    async def _targets(self, members: list[Member], holders: frozenset[bytes]) -> list[Member]:
        """Raises `Refused` where no node is to take it although none has it."""
        reached = nodes_of(members)
        if not reached:
            raise Unavailable("no node of the cluster can be reached now")
        lacking = reached - holders
        if not lacking:
            return []
        wishes = await self._parts.wishes.of(self._key, self._file, sorted(lacking), holders)
        placement = place([member.way for member in members], holders, wishes)
        if not placement.targets and not reached & holders:
            raise Refused(placement.reason)
        return [member for member in members if member.way.reaches & placement.targets]

    async def _open(self, member: Member) -> None:
        seconds = self._parts.limits.for_answer(member.node)
        try:
            answer = await self._parts.errands.within(
                seconds,
                member.store.write(self._key, self._file),
                f"it has not answered for {seconds:g} seconds",
                _close_late,
            )
        except (Refused, Unavailable) as error:
            self._refused(member, error)
            return
        if not isinstance(answer, Outcome):
            self._branches.append(Branch(member, answer))
        elif answer.ok:
            self._have |= member.took(answer)
            self._somebody_has_it = True
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
