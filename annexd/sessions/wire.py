"""
One connection as direct-style calls: ``await receive()``, ``send()``,
``body(n)``.

A `Wire` knows messages and bytes, but not what they mean.  It works over any
Twisted transport; over one that can be lent (`LendingTransport`) bodies are
moved by a thread.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Callable, cast, runtime_checkable
from typing import Protocol as Port

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from annexd.errors import AnnexdError, PeerLost
from annexd.flow.body import Buffer
from annexd.flow.loan import Lent, Loan
from annexd.flow.signal import Signal
from annexd.protocol.codec import decode, encode
from annexd.protocol.framing import LINE_LIMIT, Framing
from annexd.protocol.messages import Message
from annexd.sessions.deadlines import Deadlines

_HIGH_WATER = 128 * 1024
"""Bytes that have come but that nobody has asked for, at which reading pauses."""

_STRANGERS_LINE = 4096
"""Enough for an AUTH; what comes behind it waits outside."""

_TURN_S = 0.002
"""For one peer's requests, of which thousands can be waiting; then it is the others' turn."""


_LINES_AT_ONCE = 2
"""What a peer thought of the last answer, and its next question."""


class Connection(Port):
    """What a wire asks of its transport; all of Twisted's stream transports have it."""

    def write(self, data: bytes, /) -> None: ...
    def registerProducer(self, producer: Wire, streaming: bool, /) -> None: ...
    def unregisterProducer(self) -> None: ...
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...
    def loseConnection(self) -> None: ...
    def abortConnection(self) -> None: ...


@runtime_checkable
class LendingTransport(Port):
    """A transport that a thread may have to itself, one direction at a time."""

    def lend_input(self) -> Lent:
        """Nothing is read any more until `Connection.resumeProducing`."""

    def lend_output(self) -> Lent: ...

    def call_when_readable(self, callback: Callable[[], None]) -> None:
        """Once, when what has been lent has bytes or has ended."""

    def call_when_writable(self, callback: Callable[[], None]) -> None:
        """Once, when all that was written is gone and there is room for more."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class Wire(Protocol):
    """``version`` is the protocol version that both sides have agreed on."""

    def __init__(self, clock: IReactorTime, deadlines: Deadlines) -> None:
        self.version = 0
        self.deadlines = deadlines
        self._clock = clock
        self._framing = Framing()
        self._high_water = _HIGH_WATER
        self._arrival = Signal(clock)
        self._departure = Signal(clock)
        self._input_over = False
        self._reading_paused = False
        self._full = False
        self._unanswered: bytes | None = None
        self._granted = 0.0  # seconds of silence
        self._gone: Deferred[int] | None = None
        self._parting: IDelayedCall | None = None
        self._turn_ends = clock.seconds() + _TURN_S
        self.last_sign = clock.seconds()
        """When the peer last gave or took bytes, on the clock of the wire."""
        self.at_once: Callable[[bytes], tuple[bytes, float] | None] | None = None
        """
        Answers a line that comes while `receive` waits and nothing else is
        under way, or leaves it to `receive` (`None`): a small question costs
        half when no coroutine is woken for it.  With the answer comes for how
        many seconds the peer may be silent then.
        """

    def trust(self, trusted: bool) -> None:
        """Whether the peer is one for whom as much may be kept in memory as peers need."""
        self._framing.longest = LINE_LIMIT if trusted else _STRANGERS_LINE
        self._high_water = _HIGH_WATER if trusted else _STRANGERS_LINE

    # --- messages ------------------------------------------------------

    async def receive(self, seconds: float | None = None, *, while_full: bool = False) -> Message:
        """
        The next message.  Raises `PeerLost` at the end of the input,
        `Stalled` after ``seconds`` (the stall deadline by default) without a
        whole one, `FramingError` when there is no telling where it ends.

        ``while_full`` is for those who write from elsewhere, and wait for room there.
        """
        if self._full and not while_full:
            # Who asks without listening to the answers waits for them first.
            await self._drained()
        self._granted = self.deadlines.stall if seconds is None else seconds
        while (line := self._next_line()) is None:
            await self._more(self._granted)
        if self._clock.seconds() > self._turn_ends:
            await deferLater(self._clock, 0)
            self._turn_ends = self._clock.seconds() + _TURN_S
        return decode(line)

    def send(self, *messages: Message) -> None:
        """Write the lines at once; what the peer does not take is kept, see `write`."""
        if len(messages) == 1:
            self._put(encode(messages[0]))
        else:
            self._put(b"".join(map(encode, messages)))

    # --- bodies --------------------------------------------------------

    def body(self, length: int) -> Body:
        """The next ``length`` bytes of the input."""
        return Body(self, length)

    async def read(self, limit: int) -> bytes:
        """1 to ``limit`` bytes of a body."""
        while not (data := self._framing.take(limit)):
            await self._more(self.deadlines.stall)
        return data

    async def write(self, data: Buffer) -> None:
        """Write, and wait until there is room for more.  Raises `PeerLost`."""
        self._departure.check()
        self._put(bytes(data))
        if self._full:
            await self._drained()

    def borrow(self) -> Loan | None:
        """The output, for a thread to write to."""
        if not isinstance(self.transport, LendingTransport) or self.lost:
            return None
        return _LentOutput(self, self.transport)

    def borrow_input(self, most: int) -> Loan | None:
        """The input, for a thread to read from; ``most`` bytes of what has come already go along."""
        if not isinstance(self.transport, LendingTransport) or self._input_over:
            return None
        return _LentInput(self, self.transport, self._framing.take(most))

    async def watch(self) -> tuple[bytes, ...]:
        """Never returns; raises `PeerLost` when the input ends, whatever has come before."""
        while True:
            await self._arrival.wait(self.deadlines.idle, "the peer was silent for too long")

    # --- the end -------------------------------------------------------

    def hang_up(self) -> None:
        """Let go of the peer once it has taken what was written, or does not take it in time."""
        self._link.unregisterProducer()  # TLS never closes while one is registered
        self._link.loseConnection()
        if not self.lost and self._parting is None:
            error = PeerLost("the peer takes no more bytes")
            self._parting = self._clock.callLater(self.deadlines.stall, self.abort, error)

    def abort(self, error: AnnexdError) -> None:
        """Let go of the peer now; whoever waits for it is told ``error``."""
        if not self.lost:
            self._end(error)
            self._link.unregisterProducer()
            self._link.abortConnection()

    @property
    def lost(self) -> bool:
        """There is nobody to answer to any more."""
        return self._departure.failed

    @property
    def ended(self) -> bool:
        """No more comes from the peer."""
        return self._input_over or self.lost

    @property
    def quiet(self) -> bool:
        """The peer is there, has said nothing that is still to be heard, and has taken all."""
        return not (self.ended or self._full or self._framing.buffered or self._unanswered)

    @property
    def stalled(self) -> bool:
        """The peer has let a deadline pass."""
        return self._arrival.expired or self._departure.expired

    async def gone(self) -> int:
        """Never returns; raises `PeerLost` when there is nobody to answer to any more.  For one at a time."""
        self._departure.check()
        self._gone = Deferred()
        return await self._gone

    async def flushed(self) -> None:
        """Until all that was written has left the process, where the transport can tell."""
        if isinstance(self.transport, LendingTransport) and not self.lost:
            self.transport.call_when_writable(self._departure.wake)
            await self._departure.wait(self.deadlines.stall, "the peer takes no more bytes")

    # --- Twisted's side ------------------------------------------------

    def connectionMade(self) -> None:
        self._link.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        self.last_sign = self._clock.seconds()
        self._framing.feed(data)
        if self.at_once is not None and self._answered_at_once(self.at_once, len(data)):
            return
        if self._framing.buffered > self._high_water and not self._reading_paused:
            self._reading_paused = True
            self._link.pauseProducing()
        self._arrival.wake()

    def readConnectionLost(self) -> None:
        self._input_over = True
        self._arrival.fail(PeerLost("the connection was closed"))

    def writeConnectionLost(self) -> None:
        self._departure.fail(PeerLost("the peer takes no more bytes"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end(PeerLost("the connection was closed"))

    def pauseProducing(self) -> None:
        self._full = True

    def resumeProducing(self) -> None:
        self.last_sign = self._clock.seconds()
        self._full = False
        self._departure.wake()

    def stopProducing(self) -> None:
        self._departure.fail(PeerLost("the connection was closed"))

    # --- inside --------------------------------------------------------

    def _put(self, data: bytes) -> None:
        self._link.write(data)

    @property
    def _link(self) -> Connection:
        assert self.transport is not None, "the wire is not connected"
        return cast(Connection, self.transport)

    def _next_line(self) -> bytes | None:
        line, self._unanswered = self._unanswered, None
        return self._framing.line() if line is None else line

    def _answered_at_once(self, answer: Callable[[bytes], tuple[bytes, float] | None], fed: int) -> bool:
        """Only where a line or two are all that there is, as from a peer that waits for each answer."""
        if self._framing.buffered != fed or fed > LINE_LIMIT or not self._arrival.awaited:
            return False
        for _ in range(_LINES_AT_ONCE):
            line = None if self._full else self._framing.line()
            if line is None:
                return False
            answered = answer(line)
            if answered is None:
                self._unanswered = line
                return False
            reply, self._granted = answered
            self._arrival.put_off(self._granted, _silence(self._granted))
            if reply:
                self._put(reply)
            if not self._framing.buffered:
                return True
        return False

    async def _more(self, seconds: float) -> None:
        """Wait for input.  What is buffered when the input ends is still served."""
        if self._reading_paused:
            self._reading_paused = False
            self._link.resumeProducing()
        await self._arrival.wait(seconds, _silence(seconds))
        self._turn_ends = self._clock.seconds() + _TURN_S

    async def _drained(self) -> None:
        while self._full:
            stall = self.deadlines.stall
            await self._departure.wait(stall, f"the peer has taken nothing for {stall:g} seconds")

    def _end(self, error: AnnexdError) -> None:
        self._input_over = True
        self._arrival.fail(error)
        self._departure.fail(error)
        if self._parting is not None and self._parting.active():
            self._parting.cancel()
        gone, self._gone = self._gone, None
        if gone is not None and not gone.called:
            gone.errback(error)


@lru_cache(maxsize=16)
def _silence(seconds: float) -> str:
    return f"the peer has sent nothing for {seconds:g} seconds"


class Body:
    """Exactly ``remaining`` bytes of a wire's input; a `Source` and a `Lender`."""

    def __init__(self, wire: Wire, length: int) -> None:
        self._wire = wire
        self._length = length
        self.remaining = length

    async def read(self, limit: int) -> Buffer:
        try:
            data = await self._wire.read(min(limit, self.remaining))
        except PeerLost as error:
            got = self._length - self.remaining
            raise type(error)(f"{error} after {got} of {self._length} bytes") from None
        self.remaining -= len(data)
        return data

    def borrow(self) -> Loan | None:
        return self._wire.borrow_input(self.remaining)


class _LentInput:
    """The wire's input, lent; see `annexd.flow.loan.Loan`."""

    def __init__(self, wire: Wire, transport: LendingTransport, leftover: bytes) -> None:
        self._wire = wire
        self._transport = transport
        self.lent = transport.lend_input()
        self.leftover = leftover

    async def ready(self) -> None:
        self._transport.call_when_readable(self._wire._arrival.wake)
        stall = self._wire.deadlines.stall
        await self._wire._arrival.wait(stall, _silence(stall))

    def check(self) -> None:
        self._wire._departure.check()
        self._wire.last_sign = self._wire._clock.seconds()

    def give_back(self) -> None:
        self.lent.give_back()
        self._wire._reading_paused = False
        self._wire._link.resumeProducing()


class _LentOutput:
    """The wire's output, lent."""

    leftover = b""

    def __init__(self, wire: Wire, transport: LendingTransport) -> None:
        self._wire = wire
        self.lent = transport.lend_output()

    async def ready(self) -> None:
        await self._wire.flushed()

    def check(self) -> None:
        self._wire._departure.check()
        self._wire.last_sign = self._wire._clock.seconds()

    def give_back(self) -> None:
        self.lent.give_back()
