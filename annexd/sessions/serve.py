"""
Answer the requests of one peer against a `Store`.

The dialogue is written as it is spoken; which message may come when is
`annexd.protocol.grammar`'s business.  A request that fails is answered and the
session goes on; only a lost peer, an unreadable stream or a bug ends it.
"""

from __future__ import annotations

from typing import Callable

from twisted.internet.defer import CancelledError

from annexd.errors import Absent, AnnexdError, FramingError, PeerLost, Refused, Unavailable
from annexd.flow.pour import pour
from annexd.flow.signal import first_of
from annexd.protocol.codec import encode
from annexd.protocol.grammar import Moment, admits, complaint
from annexd.protocol.keys import Key
from annexd.protocol.messages import (
    AlreadyHave,
    AlreadyHavePlus,
    Bypass,
    Changed,
    CheckPresent,
    Connect,
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
    Valid,
    Version,
)
from annexd.sessions import gitlink
from annexd.sessions.activity import Activity
from annexd.sessions.handshake import agreed
from annexd.sessions.prompt import VALIDITY, Prompt
from annexd.sessions.wire import Wire
from annexd.store import Outcome, Reader, Store, Writer

_FIRST_READ = 64 * 1024
"""Content up to this size leaves in one write with its header and verdict."""

_PLUS = 2
"""The version from which replies may name other repositories."""

_NO_GIT = Refused("this repository cannot be used with git over this connection")


class Server:
    """
    One session.  ``notice`` shows a sentence to the user at the other end
    where the transport has a way beside the protocol, as ssh has with stderr;
    ``bypass`` is told which gateways the requests have passed through.
    """

    def __init__(
        self,
        wire: Wire,
        store: Store,
        activity: Activity,
        *,
        git: gitlink.GitAccess | None = None,
        notice: Callable[[str], None] = lambda sentence: None,
        bypass: Callable[[tuple[bytes, ...]], None] = lambda gateways: None,
    ) -> None:
        self._wire = wire
        self._store = store
        self._activity = activity
        self._git = git
        self._notice = notice
        self._bypass = bypass
        self._put_was_refused = False
        self._over = False
        self._prompt = Prompt(wire, store, activity)

    async def run(self) -> None:
        """
        Serve until the peer hangs up, which is no error between requests.
        Raises `PeerLost` when it was lost in the middle of one, and
        `FramingError`.
        """
        while not self._over:
            try:
                self._wire.at_once = self._prompt.answer
                message = await self._wire.receive(self._wire.deadlines.idle)
                self._wire.at_once = None
            except FramingError as error:
                self._activity.end("lost", str(error))
                self._wire.send(Error(str(error).encode()))
                raise
            except PeerLost as error:
                if self._prompt.unjudged:
                    self._activity.end("lost", str(error))
                    raise
                return
            if self._wire.lost:
                self._activity.end("lost", "the connection was closed")
                return
            await self._answer_or_say_why(message)

    async def _answer_or_say_why(self, message: Message) -> None:
        try:
            await self._answer(message)
        except (Refused, Unavailable) as error:
            self._say_why(error)
        except (PeerLost, FramingError) as error:
            self._activity.end("lost", str(error))
            raise
        except CancelledError:
            raise  # why, is known to whoever ended the session
        except BaseException as bug:
            self._activity.end("lost", f"internal error: {type(bug).__name__}")
            raise

    def _say_why(self, error: AnnexdError) -> None:
        reason = str(error)
        self._activity.end("refused", error.logged)
        self._wire.send(Error(reason.encode("utf-8", "backslashreplace")))
        self._notice(reason)

    async def _answer(self, message: Message) -> None:
        if self._prompt.unjudged:
            self._prompt.end_get(self._is_taken(message))
            return
        match message:
            case CheckPresent(key):
                await self._check_present(key)
            case Put(file, key):
                await self._put(file, key)
            case Get(offset, file, key):
                await self._get(offset, file, key)
            case Remove(key):
                await self._remove("REMOVE", key, None)
            case RemoveBefore(timestamp, key):
                await self._remove("REMOVE-BEFORE", key, timestamp)
            case LockContent(key):
                await self._lock(key)
            case GetTimestamp():
                self._wire.send(Timestamp(await self._store.timestamp()))
            case Version(number):
                self._wire.version = agreed(number)
                self._wire.send(Version(self._wire.version))
            case Bypass(gateways):
                self._bypass(gateways)
            case Connect(service):
                await self._connect(service)
            case NotifyChange():
                await self._notify_change()
            case Error() if self._put_was_refused:
                # git-annex answers an ERROR in place of PUT-FROM with one of its own.
                self._put_was_refused = False
            case Error():
                self._over = True
            case _:
                self._complain(Moment.IDLE, message)

    # --- questions -----------------------------------------------------

    async def _check_present(self, key: Key) -> None:
        present = await self._store.present(key)
        self._wire.send(Success() if present else Failure())
        self._activity.checked(key.raw, present)

    async def _lock(self, key: Key) -> None:
        self._activity.begin("LOCKCONTENT", key.raw)
        try:
            lease = await self._store.lock(key)
        except (Refused, Unavailable) as error:
            # Clients know no other answer than FAILURE.
            self._activity.end("refused", error.logged)
            self._wire.send(Failure())
            return
        try:
            self._wire.send(Success())
            await first_of(self._unlocked(), lease.watch())
        except Unavailable as error:
            raise PeerLost(str(error)) from error  # nothing else tells the client
        finally:
            await lease.release()
        self._activity.end("done")

    async def _unlocked(self) -> None:
        await self._expect(Moment.LOCKED, self._wire.deadlines.lock)

    async def _notify_change(self) -> None:
        self._activity.begin("NOTIFYCHANGE")
        # A peer that goes away ends the wait.
        shas = await first_of(self._store.changes(), self._wire.watch())
        self._wire.send(Changed(shas))
        self._activity.end("done")

    async def _connect(self, service: bytes) -> None:
        self._activity.begin("CONNECT", service)
        self._over = True
        refusal = self._git.refusal(service) if self._git else _NO_GIT
        if refusal is not None:
            await gitlink.refuse(self._wire, str(refusal))
            self._activity.end("refused", refusal.logged)
            return
        assert self._git is not None
        code = await gitlink.connect(self._wire, self._git, service)
        self._activity.end("done" if code == 0 else "failed", f"git ended with {code}" if code else "")

    # --- content out ---------------------------------------------------

    async def _get(self, offset: int, file: bytes, key: Key) -> None:
        self._activity.begin("GET", key.raw, key.size)
        try:
            reader = await self._store.read(key, offset, file)
        except Absent as error:
            absent: list[Message] = [Data(0)]
            if self._wire.version >= VALIDITY:
                absent.append(Invalid())
            self._wire.send(*absent)
            await self._expect(Moment.GET_VERDICT)
            self._activity.end("failed", str(error))
            return
        taken = False
        try:
            await self._send_content(reader)
            taken = self._is_taken(await self._wire.receive())
        finally:
            await reader.close(taken)
        self._prompt.end_get(taken)

    def _is_taken(self, verdict: Message) -> bool:
        return isinstance(self._admitted(Moment.GET_VERDICT, verdict), (Success, SuccessPlus))

    async def _send_content(self, reader: Reader) -> None:
        source = reader.source
        header = encode(Data(source.remaining))
        first = await source.read(_FIRST_READ) if source.remaining else b""
        if source.remaining:
            await self._wire.write(b"".join((header, first)))
            self._activity.moved(len(first))
            try:
                await pour(source, self._wire, self._activity.moved)
            except (Refused, Unavailable) as error:
                # The bytes that were announced can only be missed by hanging up.
                self._notice(str(error))
                raise PeerLost(str(error)) from error
            header = first = b""
        verdict = b""
        if self._wire.version >= VALIDITY:
            verdict = encode(Valid() if await reader.valid() else Invalid())
        self._activity.moved(len(first))
        await self._wire.write(b"".join((header, first, verdict)))

    # --- content in ----------------------------------------------------

    async def _put(self, file: bytes, key: Key) -> None:
        self._activity.begin("PUT", key.raw, key.size)
        try:
            writer = await self._store.write(key, file)
        except (Refused, Unavailable):
            self._put_was_refused = True
            raise
        if isinstance(writer, Outcome):
            self._wire.send(self._plus(AlreadyHave(), AlreadyHavePlus(writer.also), writer.also))
            self._activity.end("done", "already here")
            return
        try:
            self._wire.send(PutFrom(writer.offset))
            outcome = await self._receive_content(writer)
        finally:
            await writer.close()
        if outcome is None:
            self._activity.end("failed", "the peer sent no data")
        else:
            self._report(outcome)

    async def _receive_content(self, writer: Writer) -> Outcome | None:
        match await self._expect(Moment.PUT_DATA):
            case Data(length):
                writer.announce(length)
                await pour(self._wire.body(length), writer.sink, self._activity.moved)
                return await self._judge(writer, length)
            case DataPresent():
                return await writer.recheck()
        return None

    async def _judge(self, writer: Writer, length: int) -> Outcome:
        if self._wire.version < VALIDITY:
            return await writer.commit(False)
        verdict = await self._expect(Moment.PUT_VALIDITY)
        if length == 0 and isinstance(verdict, Invalid):
            return Outcome(False, reason="the peer gave the upload up")
        return await writer.commit(isinstance(verdict, Valid))

    # --- removal -------------------------------------------------------

    async def _remove(self, verb: str, key: Key, before: int | None) -> None:
        self._activity.begin(verb, key.raw)
        self._report(await self._store.remove(key, before))

    # --- replies -------------------------------------------------------

    def _report(self, outcome: Outcome) -> None:
        """Answer SUCCESS or FAILURE, and give the reason where the protocol cannot."""
        also = outcome.also
        if outcome.ok:
            self._wire.send(self._plus(Success(), SuccessPlus(also), also))
            self._activity.end("done")
        else:
            self._wire.send(self._plus(Failure(), FailurePlus(also), also))
            self._activity.end("failed", outcome.reason)
            if outcome.reason:
                self._notice(outcome.reason)

    def _plus(self, plain: Message, plus: Message, uuids: tuple[bytes, ...]) -> Message:
        return plus if uuids and self._wire.version >= _PLUS else plain

    async def _expect(self, moment: Moment, seconds: float | None = None) -> Message | None:
        """The peer's next message; `None` when it was out of turn, which the peer has been told."""
        return self._admitted(moment, await self._wire.receive(seconds))

    def _admitted(self, moment: Moment, message: Message) -> Message | None:
        if admits(moment, self._wire.version, message):
            return message
        self._complain(moment, message)
        return None

    def _complain(self, moment: Moment, message: Message) -> None:
        answer = complaint(moment, self._wire.version, message)
        if answer is not None:
            self._wire.send(answer)
