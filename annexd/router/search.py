"""Looking for a key among a cluster's members, and setting right what was recorded wrongly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from annexd.errors import Absent, AnnexdError, Refused, Unavailable
from annexd.node import Node
from annexd.protocol.keys import Key
from annexd.router.members import Member, reasons
from annexd.router.parts import Parts
from annexd.store import Reader, Store

_TRIES = 2
"""With one member."""

_Undisturbed = Callable[[], bool]
"""See `annexd.router.uploads.Uploads.since_now`."""


class Search:
    """One request's search; nobody is asked the same twice, and those in ``without`` not at all."""

    def __init__(
        self, parts: Parts, key: Key, file: bytes = b"", without: frozenset[Store] = frozenset()
    ) -> None:
        self._parts = parts
        self._key = key
        self._file = file
        self._holders: frozenset[bytes] = frozenset()
        self._asked: set[Store] = set(without)
        self._times: Counter[Node] = Counter()
        self._unsure: list[tuple[str, str]] = []
        """Members that neither have said yes nor no, and why."""

    async def present(self) -> bool:
        """
        Raises `Unavailable` where one that has it by the location log cannot be
        asked.  Where it is others that cannot, it is denied, as clients ask
        before each upload, and would send nothing as long as one node is away.
        """
        logged, others = await self._candidates()
        if await self._first([*([member] for member in logged), others]) is not None:
            return True
        elsewhere, _ = await self._candidates()  # there may be other ways, now that some have failed
        if elsewhere and await self._first([elsewhere]) is not None:
            return True
        unsure = {name for name, _ in self._unsure}
        if any(member.name in unsure for member in (*logged, *elsewhere)):
            raise self._failure()
        return False

    async def reader(self, offset: int, length: int | None) -> tuple[Member, Reader]:
        """
        The content from ``offset`` on, of which there are ``length`` bytes if
        that is known, from a member that was not asked yet.  Raises `Absent`
        when all say that they do not have it, and `Unavailable`.
        """
        at_hand = await self._at_hand(offset, length)
        if at_hand is not None:
            return at_hand
        logged, _ = await self._candidates()
        for member in logged:
            reader = await self._open(member, offset, length)
            if reader is not None:
                return member, reader
        while True:
            logged, others = await self._candidates()
            finder = await self._first([[*logged, *others]])
            if finder is None:
                raise self._failure()
            reader = await self._open(finder, offset, length)
            if reader is not None:
                return finder, reader

    async def _at_hand(self, offset: int, length: int | None) -> tuple[Member, Reader] | None:
        """From a disk of this machine, where a look tells more, and sooner, than the location log."""
        for member in self._parts.members.now():
            if self._asked or not (member.node.is_local and member.store.present_now(self._key)):
                continue
            undisturbed = self._undisturbed()
            reader = await self._open(member, offset, length)
            if reader is not None:
                if self._parts.samples.take():
                    self._parts.errands.start(self._check_log(member, undisturbed))
                return member, reader
        return None

    def check_log_later(self, finder: Member) -> None:
        """``finder`` has it at this very moment."""
        self._parts.errands.start(self._check_log(finder, self._undisturbed()))

    async def _check_log(self, finder: Member, undisturbed: _Undisturbed) -> None:
        """
        Behind the client's back: whether it says the same as the disks.  A
        look at the log costs as much as the whole download of a small file.
        """
        self._holders = await self._parts.log.holders(self._key)
        await self._found(finder, undisturbed)
        for member in self._parts.members.now():
            if member.node.is_local and member.store.present_now(self._key) is False:
                await self._record_missing(member, self._undisturbed())

    async def _candidates(self) -> tuple[list[Member], list[Member]]:
        """Those that have it by the location log, and the others."""
        self._holders = await self._parts.log.holders(self._key)
        left = [member for member in self._parts.members.now() if self._is_left(member)]
        logged = [member for member in left if member.way.reaches & self._holders]
        return logged, [member for member in left if not member.way.reaches & self._holders]

    async def _first(self, groups: Sequence[Sequence[Member]]) -> Member | None:
        """The first member that says yes; a group is asked all at once, the next one after a while."""
        limits, errands = self._parts.limits, self._parts.errands

        async def ask_all(group: Sequence[Member]) -> Member | None:
            return await errands.first(limits.jobs, 0, group, self._ask)

        return await errands.first(limits.jobs, limits.stagger, groups, ask_all)

    async def _ask(self, member: Member) -> Member | None:
        seconds = self._parts.limits.for_answer(member.node)
        undisturbed = self._undisturbed()
        try:
            here = await self._parts.errands.within(
                seconds, member.store.present(self._key), _silence(seconds), call_off=False
            )
        except (Refused, Unavailable) as error:
            self._doubt(member, error)
            return None
        if here:
            await self._found(member, undisturbed)
            return member
        await self._missed(member, undisturbed)
        return None

    async def _open(self, member: Member, offset: int, length: int | None) -> Reader | None:
        self._tick_off(member)
        seconds = self._parts.limits.for_answer(member.node)
        undisturbed = self._undisturbed()
        try:
            reader = await self._parts.errands.within(
                seconds,
                member.store.read(self._key, offset, self._file),
                _silence(seconds),
                lambda late: late.close(False),
                call_off=False,
            )
        except Absent:
            await self._missed(member, undisturbed)
            return None
        except (Refused, Unavailable) as error:
            self._doubt(member, error)
            return None
        if length is not None and reader.source.remaining != length:
            self._parts.errands.start(reader.close(False))
            self._doubt(member, Refused("its content does not have the right length"))
            return None
        return reader

    def _tick_off(self, member: Member) -> None:
        if member.store not in self._asked:
            self._asked.add(member.store)
            self._times[member.node] += 1

    def _is_left(self, member: Member) -> bool:
        """A gateway may be asked again for the sake of other nodes, since a way has failed."""
        return member.store not in self._asked and self._times[member.node] < _TRIES

    def _doubt(self, member: Member, error: AnnexdError) -> None:
        self._tick_off(member)
        if isinstance(error, Refused):  # a gateway that could not ask those who should have it
            member.missed(member.way.reaches & self._holders)
        self._unsure.append((member.name, str(error)))

    def _undisturbed(self) -> _Undisturbed:
        return self._parts.uploads.since_now(self._key)

    async def _found(self, member: Member, undisturbed: _Undisturbed) -> None:
        if member.sole is not None and member.sole not in self._holders:
            await self._correct(member.sole, True, undisturbed)

    async def _missed(self, member: Member, undisturbed: _Undisturbed) -> None:
        """A gateway may only not know."""
        self._tick_off(member)
        await self._record_missing(member, undisturbed)

    async def _record_missing(self, member: Member, undisturbed: _Undisturbed) -> None:
        if not member.way.is_gateway and member.node.uuid in self._holders:
            await self._correct(member.node.uuid, False, undisturbed)

    async def _correct(self, uuid: bytes, here: bool, undisturbed: _Undisturbed) -> None:
        """What comes or goes right now may not be any more as it was a moment ago."""
        if undisturbed():
            await self._parts.log.record(self._key, {uuid: here})

    def _failure(self) -> AnnexdError:
        if not self._unsure:
            return Absent("no node of the cluster has the content")
        return Unavailable(f"the content cannot be had: {reasons(self._unsure)}")


def present_now(parts: Parts, key: Key) -> bool | None:
    """See `annexd.store.Store.present_now`: only what disks of this machine say counts."""
    denied = True
    for member in parts.members.now():
        here = member.store.present_now(key) if member.node.is_local else None
        if here:
            return True
        if here is None:
            denied = False
    return False if denied else None


def read_now(parts: Parts, key: Key, offset: int, file: bytes) -> bytes | None:
    """See `annexd.store.Store.read_now`: what `Search.reader` would begin with, from the same member."""
    for member in parts.members.now():
        if not member.node.is_local:
            continue
        content = member.store.read_now(key, offset, file)
        if content is not None:
            if key.size is not None and len(content) != max(0, key.size - offset):
                return None
            if parts.samples.take():
                Search(parts, key).check_log_later(member)
            return content
        if member.store.present_now(key) is not False:
            return None
    return None


def _silence(seconds: float) -> str:
    return f"it has not answered for {seconds:g} seconds"
