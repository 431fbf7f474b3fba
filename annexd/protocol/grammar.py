"""
Which message may come when.

A *moment* is what the server waits for.  It is left by exactly one message,
whichever that is: one that is admitted is acted upon, any other is consumed,
answered by at most one line, and ends the moment as if it had not been asked
for.  So the dialogue can always go on, and nothing but the moment, the version
and the message decides what a peer is told.

    moment        admitted (from version)             then
    AUTH          AUTH                                IDLE, or AUTH again after AUTH-FAILURE
    IDLE          the requests, VERSION, BYPASS       see below
    PUT_DATA      DATA, DATA-PRESENT (4)              PUT_VALIDITY (1); else the result, IDLE
    PUT_VALIDITY  VALID (1), INVALID (1)              the result, IDLE
    GET_VERDICT   SUCCESS, FAILURE, both -PLUS (2)    IDLE
    LOCKED        UNLOCKCONTENT                       IDLE; the lock is released in any case
    CONNECTED     DATA, CONNECTDONE                   CONNECTED until CONNECTDONE; then the end
    NOTIFIED      as IDLE                             IDLE

    IDLE leads, by PUT that was answered PUT-FROM, to PUT_DATA; by GET whose
    content (and, from version 1 on, its validity) was sent to GET_VERDICT; by
    LOCKCONTENT that was answered SUCCESS to LOCKED; by CONNECT to CONNECTED;
    by NOTIFYCHANGE to NOTIFIED; otherwise to IDLE.

Four things do not follow from this, and are so because git-annex has them so:

- The version does not gate requests: a session of version 0 may ask for
  GETTIMESTAMP.  It gates what stands in for an older message (DATA-PRESENT
  for DATA, SUCCESS-PLUS for SUCCESS), and whether there is a PUT_VALIDITY.
- ERROR is the peer's way of giving up: the connection at AUTH and IDLE, the
  request at PUT_DATA and GET_VERDICT.  There it is admitted, and never
  answered.  Elsewhere it is as wrong as any other message.
- A line that cannot be read is told from a message out of turn only at AUTH
  and IDLE.
- NOTIFIED reads nothing until CHANGED is sent; what has come by then is
  answered as at IDLE.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from annexd.protocol import messages as m
from annexd.protocol.messages import Message

Kinds = Mapping[type[Message], int]
"""Kinds of messages, each with the version from which on it counts."""


class Moment(Enum):
    """What a server waits for."""

    AUTH = "AUTH"
    IDLE = "a request"
    PUT_DATA = "the content of a PUT"
    PUT_VALIDITY = "the validity of a PUT's content"
    GET_VERDICT = "the verdict on a GET's content"
    LOCKED = "UNLOCKCONTENT"
    CONNECTED = "git's input"
    NOTIFIED = "a change of refs"


# --- the server's half -----------------------------------------------------

_AT_IDLE: Kinds = {
    m.CheckPresent: 0,
    m.LockContent: 0,
    m.Remove: 0,
    m.RemoveBefore: 0,
    m.GetTimestamp: 0,
    m.Put: 0,
    m.Get: 0,
    m.Connect: 0,
    m.NotifyChange: 0,
    m.Version: 0,
    m.Bypass: 0,
    m.Error: 0,
}

_ADMITTED: Mapping[Moment, Kinds] = {
    Moment.AUTH: {m.Auth: 0, m.Error: 0},
    Moment.IDLE: _AT_IDLE,
    Moment.PUT_DATA: {m.Data: 0, m.DataPresent: 4, m.Error: 0},
    Moment.PUT_VALIDITY: {m.Valid: 1, m.Invalid: 1},
    Moment.GET_VERDICT: {m.Success: 0, m.SuccessPlus: 2, m.Failure: 0, m.FailurePlus: 2, m.Error: 0},
    Moment.LOCKED: {m.UnlockContent: 0},
    Moment.CONNECTED: {m.Data: 0, m.ConnectDone: 0},
    Moment.NOTIFIED: _AT_IDLE,
}

_UNKNOWN = m.Error(b"unknown command")
_UNEXPECTED = m.Error(b"unexpected command")

_EXPECTED: Mapping[Moment, m.Error] = {
    Moment.PUT_DATA: m.Error(b"expected DATA"),  # not "or DATA-PRESENT", in any version
    Moment.PUT_VALIDITY: m.Error(b"expected VALID or INVALID"),
    Moment.GET_VERDICT: m.Error(b"expected SUCCESS or SUCCESS-PLUS or FAILURE or FAILURE-PLUS"),
    Moment.LOCKED: m.Error(b"expected UNLOCKCONTENT"),
    Moment.CONNECTED: m.Error(b"expected DATA or CONNECTDONE"),
}
_PLAIN_VERDICT_EXPECTED = m.Error(b"expected SUCCESS or FAILURE")


def admits(moment: Moment, version: int, message: Message) -> bool:
    """May ``message`` come at ``moment`` of a session of ``version``?"""
    return _counts(_ADMITTED[moment], type(message), version)


def complaint(moment: Moment, version: int, message: Message) -> m.Error | None:
    """What to answer to a message that is not admitted; `None` for one that is."""
    if admits(moment, version, message):
        return None
    if moment is Moment.GET_VERDICT and version < 2:
        return _PLAIN_VERDICT_EXPECTED
    if moment in _EXPECTED:
        return _EXPECTED[moment]
    return _UNKNOWN if isinstance(message, m.Unknown) else _UNEXPECTED


# --- the client's half -----------------------------------------------------

_PRESENCE: Kinds = {m.Success: 0, m.Failure: 0}
_RESULT: Kinds = {m.Success: 0, m.Failure: 0, m.SuccessPlus: 2, m.FailurePlus: 2}

_ANSWERS: Mapping[type[Message], Kinds] = {
    m.Auth: {m.AuthSuccess: 0, m.AuthFailure: 0},
    m.Version: {m.Version: 0},
    m.CheckPresent: _PRESENCE,
    m.LockContent: _PRESENCE,
    m.Remove: _RESULT,
    m.RemoveBefore: {kind: max(since, 3) for kind, since in _RESULT.items()},
    m.GetTimestamp: {m.Timestamp: 3},
    m.Get: {m.Data: 0},
    m.Data: {m.Valid: 1, m.Invalid: 1},
    m.Put: {m.PutFrom: 0, m.AlreadyHave: 0, m.AlreadyHavePlus: 2},
    m.Valid: _RESULT,
    m.Invalid: _RESULT,
    m.DataPresent: {kind: max(since, 4) for kind, since in _RESULT.items()},
    m.Connect: {m.Data: 0, m.ConnectDone: 0},
    m.NotifyChange: {m.Changed: 0},
}


def answers(request: type[Message], version: int) -> frozenset[type[Message]]:
    """
    The kinds of messages with which a peer of ``version`` answers ``request``.
    `Error` may come in place of any.  None at all: there is no answer to wait
    for (`UnlockContent`, `Bypass`), or the peer does not know the request.

    GET and PUT have two steps.  After the body of a `Get` comes what
    ``answers(Data)`` says; the result of a `Put` is what ``answers(Valid)``
    says (in version 0 too, where nothing is sent after the body), or
    ``answers(DataPresent)``.
    """
    kinds = _ANSWERS.get(request, {})
    return frozenset(kind for kind in kinds if _counts(kinds, kind, version))


def _counts(kinds: Kinds, kind: type[Message], version: int) -> bool:
    since = kinds.get(kind)
    return since is not None and version >= since
