"""
Ask a peer: the client's half of the protocol, as a `Store`.

A connection carries one request at a time; whoever comes meanwhile waits for
its turn.  When anything about the dialogue goes wrong the connection is of no
further use: it is aborted, and everybody is told `Unavailable`.
"""

from __future__ import annotations

from typing import Union

from twisted.internet.defer import DeferredLock

from annexd.errors import Absent, AnnexdError, FramingError, PeerLost, Refused, Unavailable
from annexd.flow.body import Sink, Source
from annexd.protocol.grammar import answers
from annexd.protocol.keys import Key
from annexd.protocol.messages import (
    AlreadyHave,
    AlreadyHavePlus,
    Changed,
    CheckPresent,
    Data,
    DataPresent,
    Error,
    Failure,
    FailurePlus,
    Get,
    GetTimestamp,
    Invalid,
    LockContent,
    Message,
    NotifyChange,
    Put,
    PutFrom,
    Remove,
    RemoveBefore,
    Success,
    SuccessPlus,
    Timestamp,
    UnlockContent,
    Valid,
)
from annexd.sessions.deadlines import Patience
from annexd.sessions.wire import Wire
from annexd.store import Lease, Outcome, Reader, Writer

_LONGEST_SENTENCE = 1000
_VALIDITY = 1
_BEFORE = 3
_DATA_PRESENT = 4


class Peer:
    """
    The repository ``uuid`` at the other end of ``wire``, to which `introduce`
    has spoken.  Without ``patience`` an answer has as long as the wire's stalls.
    """

    def __init__(self, wire: Wire, uuid: bytes, patience: Patience | None = None) -> None:
        self._wire = wire
        self._uuid = uuid
        self.patience = patience or Patience(answer=wire.deadlines.stall)
        self._turn = DeferredLock()

    @property
    def uuid(self) -> bytes:
        return self._uuid

    @property
    def tells_time(self) -> bool:
        """Whether it knows `timestamp`, and ``before`` of `remove`."""
        return self._wire.version >= _BEFORE

    def present_now(self, key: Key) -> bool | None:
        return None

    async def present(self, key: Key) -> bool:
        async with _Turn(self) as turn:
            return isinstance(await turn.ask(CheckPresent(key)), Success)

    async def lock(self, key: Key) -> Lease:
        turn = await _Turn(self).begin()
        try:
            answer = await turn.ask(LockContent(key))
        except BaseException as error:
            turn.end(error)
            raise
        if isinstance(answer, Success):
            return _RemoteLease(turn)
        turn.end(None)
        raise Refused("the peer cannot lock the content")

    async def remove(self, key: Key, before: int | None = None, seconds: float | None = None) -> Outcome:
        """``seconds`` is how long it may take, where that is not as for any answer."""
        if before is not None and not self.tells_time:
            raise Refused("the peer's protocol is too old to remove content by a certain time")
        request = Remove(key) if before is None else RemoveBefore(before, key)
        async with _Turn(self) as turn:
            return _outcome(await turn.ask(request, seconds))

    async def timestamp(self) -> int:
        if not self.tells_time:
            raise Refused("the peer's protocol is too old to tell its time")
        async with _Turn(self) as turn:
            answer = await turn.ask(GetTimestamp())
            assert isinstance(answer, Timestamp)
            return answer.seconds

    async def read(self, key: Key, offset: int, file: bytes) -> Reader:
        turn = await _Turn(self).begin()
        try:
            answer = await turn.ask(Get(offset, file, key))
            assert isinstance(answer, Data)
            reader = _RemoteReader(turn, answer.length)
            if answer.length == 0 and not await reader.holds(key):
                await reader.close(False)
                raise Absent("the peer does not have the content")
        except BaseException as error:
            turn.end(error)
            raise
        return reader

    def read_now(self, key: Key, offset: int, file: bytes) -> bytes | None:
        return None

    async def write(self, key: Key, file: bytes) -> Union[Writer, Outcome]:
        turn = await _Turn(self).begin()
        try:
            answer = await turn.ask(Put(file, key))
        except BaseException as error:
            turn.end(error)
            raise
        match answer:
            case PutFrom(offset):
                return _RemoteWriter(turn, offset)
            case AlreadyHavePlus(uuids):
                turn.end(None)
                return Outcome(True, also=uuids)
            case _:
                assert isinstance(answer, AlreadyHave)
                turn.end(None)
                return Outcome(True)

    async def changes(self) -> tuple[bytes, ...]:
        async with _Turn(self) as turn:
            answer = await turn.ask(NotifyChange(), self._wire.deadlines.idle)
            assert isinstance(answer, Changed)
            return answer.shas

    async def close(self) -> None:
        self._wire.hang_up()


class _Turn:
    """
    One request's use of the connection.  Whatever ends it other than a reply
    that was understood aborts the connection.
    """

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.wire = peer._wire
        self.patience = peer.patience
        self._over = False

    async def begin(self) -> _Turn:
        await self._peer._turn.acquire()
        if self.wire.lost:
            self.end(None)
            raise Unavailable("the connection to the peer was lost")
        return self

    async def __aenter__(self) -> _Turn:
        return await self.begin()

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.end(error)

    def end(self, error: BaseException | None) -> None:
        if self._over:
            return
        self._over = True
        if error is not None and not isinstance(error, Refused):
            self.wire.abort(PeerLost("the connection to the peer broke off"))
        self._peer._turn.release()

    async def ask(self, request: Message, seconds: float | None = None) -> Message:
        """The reply to ``request``, one of those that may come."""
        self.wire.send(request)
        return await self.expect(type(request), seconds)

    async def expect(self, kind: type[Message], seconds: float | None = None) -> Message:
        try:
            reply = await self.wire.receive(self.patience.answer if seconds is None else seconds)
        except (PeerLost, FramingError) as error:
            raise Unavailable(f"the peer did not answer: {error}") from error
        if isinstance(reply, Error):
            raise Refused(_sentence(reply.text))
        if type(reply) not in answers(kind, self.wire.version):
            raise Unavailable(f"the peer answered {kind.__name__} with {type(reply).__name__}")
        return reply


def _sentence(text: bytes) -> str:
    """It is shown to others on their terminals."""
    return "".join(filter(str.isprintable, text.decode("utf-8", "replace")[:_LONGEST_SENTENCE]))


def _outcome(answer: Message) -> Outcome:
    match answer:
        case SuccessPlus(uuids):
            return Outcome(True, also=uuids)
        case FailurePlus(uuids):
            return Outcome(False, also=uuids, reason="the peer failed")
        case Success():
            return Outcome(True)
        case _:
            return Outcome(False, reason="the peer failed")


class _RemoteLease:
    def __init__(self, turn: _Turn) -> None:
        self._turn: _Turn | None = turn

    async def release(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            if not turn.wire.lost:
                turn.wire.send(UnlockContent())
            turn.end(None)

    async def watch(self) -> None:
        if self._turn is not None:
            try:
                await self._turn.wire.watch()
            except PeerLost as error:
                raise Unavailable(f"the lock was lost: {error}") from error


class _RemoteReader:
    def __init__(self, turn: _Turn, length: int) -> None:
        self._turn = turn
        self._valid: bool | None = None
        self._verdict_given = False
        self._body = turn.wire.body(length)
        self.source: Source = self._body

    async def holds(self, key: Key) -> bool:
        """Whether there is content at all, where no bytes of it were sent."""
        if self._turn.wire.version >= _VALIDITY:
            return await self.valid()
        # A version 0 peer says the same of what it lacks and of what has no more bytes.
        self._give_verdict(True)
        return isinstance(await self._turn.ask(CheckPresent(key)), Success)

    async def valid(self) -> bool:
        """What the peer says of it; a version 0 peer says nothing, so only the reader's own check counts."""
        if self._valid is None:
            self._valid = self._turn.wire.version < _VALIDITY or await self._verdict()
        return self._valid

    async def _verdict(self) -> bool:
        try:
            return isinstance(await self._turn.expect(Data), Valid)
        except BaseException as error:
            self._turn.end(error)  # or what comes late would be taken for the answer to something else
            raise

    async def close(self, taken: bool) -> None:
        problem: AnnexdError | None = None
        if self._body.remaining:
            problem = PeerLost("not all of the content was read")
        elif not self._turn._over:
            try:
                await self.valid()
                self._give_verdict(taken)
            except AnnexdError as error:
                problem = error
        self._turn.end(problem)

    def _give_verdict(self, taken: bool) -> None:
        if not self._verdict_given:
            self._verdict_given = True
            self._turn.wire.send(Success() if taken else Failure())


class _RemoteWriter:
    def __init__(self, turn: _Turn, offset: int) -> None:
        self._turn = turn
        self.offset = offset
        self.sink: Sink = turn.wire
        self._size = offset

    def announce(self, length: int) -> None:
        self._size = self.offset + length
        self._turn.wire.send(Data(length))

    async def commit(self, valid: bool) -> Outcome:
        if self._turn.wire.version >= _VALIDITY:
            self._turn.wire.send(Valid() if valid else Invalid())
        return await self._finish()

    async def recheck(self) -> Outcome:
        if self._turn.wire.version < _DATA_PRESENT:
            return Outcome(False, reason="the peer's protocol is too old to look for content itself")
        self._turn.wire.send(DataPresent())
        return await self._finish()

    async def _finish(self) -> Outcome:
        try:
            # What was here already has not been hashed yet, and may be all.
            outcome = _outcome(await self._turn.expect(Valid, self._turn.patience.commit(self._size)))
        except BaseException as error:
            self._turn.end(error)
            raise
        self._turn.end(None)
        return outcome

    async def close(self) -> None:
        # Without a commit the peer still waits for bytes: hanging up keeps what it has for the next try.
        self._turn.end(PeerLost("the upload was given up"))
