"""CONNECT as those ask for it who have git here, and its service at the peer."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from annexd.errors import PeerLost, Unavailable
from annexd.flow.pour import pour
from annexd.flow.signal import first_of
from annexd.protocol.messages import Connect, ConnectDone, Data, Error, Message
from annexd.sessions.wire import Wire

_STEP = 64 * 1024
_LONGEST_SENTENCE = 300


async def call(wire: Wire, service: bytes, git: Wire) -> None:
    """
    Relay between ``git``, of which only bytes are wanted, and its ``service``
    at the peer, until that has ended; then git's input is closed.  The peer has
    been introduced.  Raises `Unavailable` where it refuses, `PeerLost`.
    """
    wire.send(Connect(service))
    telling = Deferred.fromCoroutine(_tell(git, wire))
    # After a push git says no more, and waits for the answer.
    telling.addErrback(_when_git_is_done)
    try:
        await first_of(_hear(wire, git), wire.gone())
    finally:
        telling.cancel()


async def _tell(git: Wire, wire: Wire) -> None:
    while True:
        data = await git.read(_STEP)
        wire.send(Data(len(data)))
        await wire.write(data)


async def _hear(wire: Wire, git: Wire) -> None:
    while True:
        match await wire.receive(while_full=True):
            case Data(length):
                await pour(wire.body(length), git, _uncounted)
            case ConnectDone():
                git.hang_up()
                return
            case other:
                raise Unavailable(_refusal(other))


def _when_git_is_done(failure: Failure) -> None:
    failure.trap(PeerLost, CancelledError)  # type: ignore[no-untyped-call]


def _refusal(answer: Message) -> str:
    if isinstance(answer, Error):
        return f"the peer says: {answer.text[:_LONGEST_SENTENCE].decode('utf-8', 'replace')}"
    return f"the peer gives no access to git, but answers {type(answer).__name__}"


def _uncounted(count: int) -> None:
    pass
