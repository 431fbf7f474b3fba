"""How the two sides of a connection introduce themselves: AUTH and VERSION."""

from __future__ import annotations

from annexd.errors import PeerLost, Refused, Unavailable
from annexd.protocol.grammar import Moment, complaint
from annexd.protocol.messages import Auth, AuthFailure, AuthSuccess, Error, Message, Unknown, Version
from annexd.sessions.wire import Wire

NEWEST = 4
"""The newest version of the protocol that annexd speaks."""

_MOST_LINES = 20
"""A peer that says more than this without a good AUTH among it does not know what to say."""

_LONGEST_WORD = 200


def agreed(asked: int) -> int:
    """The version for a session in which the client asked for ``asked``."""
    return min(asked, NEWEST)


def greet(wire: Wire, uuid: bytes) -> None:
    """The server's first word to a peer whom the transport has vouched for, as sshd does."""
    wire.send(AuthSuccess(uuid))


class Introductions:
    """The server's side of AUTH, for a peer whom nobody has vouched for."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._lines = 0

    async def next(self) -> Auth:
        """
        The next AUTH; everything else is answered.  Raises `PeerLost`,
        `FramingError`, and `Refused` when too much else has been said.
        """
        while self._lines < _MOST_LINES:
            message = await self._wire.receive(self._wire.deadlines.handshake)
            self._lines += 1
            if isinstance(message, Auth):
                return message
            answer = complaint(Moment.AUTH, 0, message)
            if answer is None:
                raise PeerLost("the peer gave up")
            self._wire.send(answer)
        raise Refused(f"it said {_MOST_LINES} lines without a good AUTH among them")

    def fail(self) -> None:
        """One answer, whatever was wrong."""
        self._wire.send(AuthFailure())


async def introduce(wire: Wire, expected: bytes | None, auth: Auth | None = None) -> bytes:
    """
    The client's side: authenticate where ``auth`` is given, check that the
    server is the repository ``expected``, and agree on a version.  Returns
    the server's UUID; raises `Unavailable` when it is not the right one.
    """
    if auth is not None:
        wire.send(auth)
    match await wire.receive(wire.deadlines.handshake):
        case AuthSuccess(uuid):
            pass
        case AuthFailure():
            raise Unavailable("the peer does not accept our token")
        case other:
            raise Unavailable(f"the peer is no git-annex server: it said {_shown(other)}")
    if expected is not None and uuid != expected:
        raise Unavailable(f"the peer is repository {_text(uuid)}, not {_text(expected)}")
    wire.send(Version(NEWEST))
    match await wire.receive(wire.deadlines.handshake):
        case Version(number):
            wire.version = min(number, NEWEST)
        case Error():
            wire.version = 0  # a server that knows no versions
        case other:
            raise Unavailable(f"the peer cannot agree on a version: it said {_shown(other)}")
    return uuid


def _shown(message: Message) -> str:
    line = message.line[:80] if isinstance(message, Unknown) else type(message).__name__.encode()
    return repr(_text(line))


def _text(data: bytes) -> str:
    return "".join(filter(str.isprintable, data[:_LONGEST_WORD].decode("utf-8", "replace")))
