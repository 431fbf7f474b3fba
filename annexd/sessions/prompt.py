"""
Answers that need nobody to wait for anything: given in the turn of the reactor
in which the question came, without a coroutine.  They are what clients of many
keys, or of many small files, spend their time on.
"""

from __future__ import annotations

from annexd.protocol.codec import decode, encode
from annexd.protocol.keys import Key
from annexd.protocol.messages import Failure, Get, Success, Valid
from annexd.sessions.activity import Activity
from annexd.sessions.wire import Wire
from annexd.store import Store

VALIDITY = 1
"""The version from which the sender of content says whether it was valid."""

_PRESENT, _ABSENT, _VALID = encode(Success()), encode(Failure()), encode(Valid())
_TAKEN = b"SUCCESS"
_QUESTION, _ORDER = b"CHECKPRESENT ", b"GET "

_Answered = tuple[bytes, float]
"""See `Wire.at_once`."""


class Prompt:
    """For one session.  What is not answered here is left to the `annexd.sessions.serve.Server`."""

    def __init__(self, wire: Wire, store: Store, activity: Activity) -> None:
        self._wire = wire
        self._store = store
        self._activity = activity
        self.unjudged = False
        """Content was sent, and the peer has not said yet what it makes of it."""

    def answer(self, line: bytes) -> _Answered | None:
        """See `Wire.at_once`."""
        if self.unjudged:
            return self._judged(line)
        if line.startswith(_QUESTION):
            return self._check_present(line[len(_QUESTION) :])
        if line.startswith(_ORDER):
            match decode(line):
                case Get(offset, file, key):
                    return self._get(offset, file, key)
        return None

    def end_get(self, taken: bool) -> None:
        self.unjudged = False
        self._activity.end(
            "done" if taken else "failed", "" if taken else "the peer could not use what it got"
        )

    def _check_present(self, raw: bytes) -> _Answered | None:
        try:
            key = Key.parse(raw)
        except ValueError:
            return None
        present = self._store.present_now(key)
        if present is None:
            return None
        self._activity.checked(key.raw, present)
        return _PRESENT if present else _ABSENT, self._wire.deadlines.idle

    def _get(self, offset: int, file: bytes, key: Key) -> _Answered | None:
        content = self._store.read_now(key, offset, file)
        if content is None:
            return None
        self._activity.begin("GET", key.raw, key.size)
        self._activity.moved(len(content))
        self.unjudged = True
        verdict = _VALID if self._wire.version >= VALIDITY else b""
        return b"DATA %d\n%b%b" % (len(content), content, verdict), self._wire.deadlines.stall

    def _judged(self, line: bytes) -> _Answered | None:
        if line != _TAKEN:
            return None
        self.end_get(True)
        return b"", self._wire.deadlines.idle
