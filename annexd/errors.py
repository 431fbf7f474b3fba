"""
What can go wrong, one class each, and what becomes of the session.

Every error carries one sentence that a user can act on.  ``str(error)`` is
that sentence: it is shown to the peer where the protocol can carry it, and
logged always, so secrets never go into it.  Anything that is not one of these
is a bug: the failure is logged and the session closed.
"""


class AnnexdError(Exception):
    """Something that annexd foresaw; ``str()`` is a sentence for a user."""

    @property
    def logged(self) -> str:
        """The same for the log, which may know more than the peer."""
        return str(self)


class Refused(AnnexdError):
    """The request will not be done; the session goes on with the next one."""


class Denied(Refused):
    """Somebody may not do it; ``logged`` says in full where that is written."""

    def __init__(self, sentence: str, logged: str) -> None:
        super().__init__(sentence)
        self._logged = logged

    @property
    def logged(self) -> str:
        return self._logged


class Absent(Refused):
    """The store does not hold the key."""


class OutOfTurn(AnnexdError):
    """A well-formed message at a moment when it may not come; the session goes on."""


class FramingError(AnnexdError):
    """The byte stream can no longer be cut into messages; the connection is closed."""


class PeerLost(AnnexdError):
    """The connection ended, or was given up, in the middle of something."""


class Stalled(PeerLost):
    """A deadline passed without a sign of the peer."""


class Unavailable(AnnexdError):
    """A store cannot be reached now; another one may do."""


class ConfigError(AnnexdError):
    """The configuration cannot be used; the sentence names file, line and key."""
