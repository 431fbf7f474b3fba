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

message = dataclass(frozen=True, slots=True)


@message
class Unknown:
    """A line that is no message; ``line`` is what came, without its LF."""

    line: bytes


# --- introductions ---------------------------------------------------------


@message
class Auth:
    uuid: bytes
    token: bytes


@message
class AuthSuccess:
    uuid: bytes


@message
class AuthFailure:
    pass


@message
class Version:
    number: int


@message
class Bypass:
    """Gateways that a request has already passed through."""

    uuids: tuple[bytes, ...]


# --- requests --------------------------------------------------------------


@message
class CheckPresent:
    key: Key


@message
class LockContent:
    key: Key


@message
class UnlockContent:
    pass


@message
class Remove:
    key: Key


@message
class RemoveBefore:
    """Remove unless the server's clock (see `Timestamp`) has reached ``timestamp``."""

    timestamp: int
    key: Key


@message
class GetTimestamp:
    pass


@message
class Put:
    """``file`` is the associated file as on the wire; see `codec.decode_file`."""

    file: bytes
    key: Key


@message
class Get:
    offset: int
    file: bytes
    key: Key


@message
class Connect:
    """``service`` is ``git-upload-pack`` or ``git-receive-pack``."""

    service: bytes


@message
class NotifyChange:
    pass


# --- replies and what follows a request ------------------------------------


@message
class PutFrom:
    offset: int


@message
class AlreadyHave:
    pass


@message
class AlreadyHavePlus:
    uuids: tuple[bytes, ...]


@message
class Data:
    """``length`` bytes follow the line, with nothing after them."""

    length: int


@message
class DataPresent:
    pass


@message
class Valid:
    pass


@message
class Invalid:
    pass


@message
class Success:
    pass


@message
class SuccessPlus:
    uuids: tuple[bytes, ...]


@message
class Failure:
    pass


@message
class FailurePlus:
    uuids: tuple[bytes, ...]


@message
class Timestamp:
    """Whole seconds of the server's monotonic clock."""

    seconds: int


@message
class ConnectDone:
    code: int


@message
class Changed:
    """Object names of the commits that refs now point at."""

    shas: tuple[bytes, ...]


@message
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
