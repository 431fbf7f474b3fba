"""
One frozen class for each message of the P2P protocol, versions 0 to 4.

Messages are values: :mod:`annexd.protocol.codec` turns a line into one and
back, :mod:`annexd.protocol.grammar` says which may come when.  Everything on
the wire is bytes, and so are the fields: UUIDs, tokens and file names are
whatever the peer sent.  The body that follows `Data` is not part of the
message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

from annexd.protocol.keys import Key


@dataclass(frozen=True, slots=True)
class Unknown:
    """A line that is no message; ``line`` is what came, without its LF."""

    line: bytes


# --- introductions ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Auth:
    uuid: bytes
    token: bytes


@dataclass(frozen=True, slots=True)
class AuthSuccess:
    uuid: bytes


@dataclass(frozen=True, slots=True)
class AuthFailure:
    pass


@dataclass(frozen=True, slots=True)
class Version:
    number: int


@dataclass(frozen=True, slots=True)
class Bypass:
    """Gateways that a request has already passed through."""

    uuids: tuple[bytes, ...]


# --- requests --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CheckPresent:
    key: Key


@dataclass(frozen=True, slots=True)
class LockContent:
    key: Key


@dataclass(frozen=True, slots=True)
class UnlockContent:
    pass


@dataclass(frozen=True, slots=True)
class Remove:
    key: Key


@dataclass(frozen=True, slots=True)
class RemoveBefore:
    """Remove unless the server's clock (see `Timestamp`) has reached ``timestamp``."""

    timestamp: int
    key: Key


@dataclass(frozen=True, slots=True)
class GetTimestamp:
    pass


@dataclass(frozen=True, slots=True)
class Put:
    """``file`` is the associated file as on the wire; see `codec.decode_file`."""

    file: bytes
    key: Key


@dataclass(frozen=True, slots=True)
class Get:
    offset: int
    file: bytes
    key: Key


@dataclass(frozen=True, slots=True)
class Connect:
    """``service`` is ``git-upload-pack`` or ``git-receive-pack``."""

    service: bytes


@dataclass(frozen=True, slots=True)
class NotifyChange:
    pass


# --- replies and what follows a request ------------------------------------


@dataclass(frozen=True, slots=True)
class PutFrom:
    offset: int


@dataclass(frozen=True, slots=True)
class AlreadyHave:
    pass


@dataclass(frozen=True, slots=True)
class AlreadyHavePlus:
    uuids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Data:
    """``length`` bytes follow the line, with nothing after them."""

    length: int


@dataclass(frozen=True, slots=True)
class DataPresent:
    pass


@dataclass(frozen=True, slots=True)
class Valid:
    pass


@dataclass(frozen=True, slots=True)
class Invalid:
    pass


@dataclass(frozen=True, slots=True)
class Success:
    pass


@dataclass(frozen=True, slots=True)
class SuccessPlus:
    uuids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    pass


@dataclass(frozen=True, slots=True)
class FailurePlus:
    uuids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Timestamp:
    """Whole seconds of the server's monotonic clock."""

    seconds: int


@dataclass(frozen=True, slots=True)
class ConnectDone:
    code: int


@dataclass(frozen=True, slots=True)
class Changed:
    """Object names of the commits that refs now point at."""

    shas: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Error:
    text: bytes


Message = Union[
    Unknown,
    Auth,
    AuthSuccess,
    AuthFailure,
    Version,
    Bypass,
    CheckPresent,
    LockContent,
    UnlockContent,
    Remove,
    RemoveBefore,
    GetTimestamp,
    Put,
    Get,
    Connect,
    NotifyChange,
    PutFrom,
    AlreadyHave,
    AlreadyHavePlus,
    Data,
    DataPresent,
    Valid,
    Invalid,
    Success,
    SuccessPlus,
    Failure,
    FailurePlus,
    Timestamp,
    ConnectDone,
    Changed,
    Error,
]
