"""Lets users in to the SSH listener, and remembers those who knocked in vain."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Callable, Protocol

from twisted.logger import Logger

from annexd.app.anteroom import neighbourhood, shown
from annexd.app.audit import AUDIT
from annexd.app.authorized_keys import Entry
from annexd.app.guessing import Guessing
from annexd.app.ssh_callers import NAMELESS
from annexd.app.ssh_users import Users
from annexd.errors import Refused

_audit = Logger(namespace=AUDIT)

TRANSPORT = "ssh-listener"

_ODD = re.compile(r"[^A-Za-z0-9_.@+-]")


class Visitor(Protocol):
    @property
    def principal(self) -> str: ...


@dataclass(frozen=True, slots=True)
class SshUser:
    """``limits`` are for `annexd.sessions.command.Environment.of`."""

    principal: str
    limits: dict[bytes, bytes] = field(default_factory=dict)


class KeyDoorman:
    """``now`` is the time of the wall, in seconds since 1970: keys expire by it."""

    def __init__(self, users: Users, guessing: Guessing, now: Callable[[], float] = time.time) -> None:
        self.users = users
        self._guessing = guessing
        self._now = now

    async def admit(self, login: bytes, key: bytes, address: str) -> SshUser:
        """See `annexd.transports.ssh.login.Doorman`; the first line that fits counts."""
        reason = "no key was offered that is known"
        for entry in await self.users.entries(login.decode("utf-8", "replace")):
            if entry.key == key:
                reason = self._objection(entry, address)
                if not reason:
                    return SshUser(entry.user, entry.limits)
        raise Refused(reason)

    def _objection(self, entry: Entry, address: str) -> str:
        if entry.origins is not None and not entry.origins.cover(address):
            return f"the key in {entry.place} is not for use from there"
        if entry.expires is not None and self._now() >= entry.expires:
            return f"the key in {entry.place} has expired"
        return ""

    def delay(self, address: str) -> float:
        """Short, for agents have clients offer keys that are for other hosts, and no key can be guessed."""
        return self._guessing.passed(neighbourhood(address))

    def entered(self, visitor: Visitor, address: str) -> None:
        _audit.info(
            "{event} of {principal} from {address}",
            event="login",
            principal=visitor.principal,
            address=shown(address, NAMELESS),
            transport=TRANSPORT,
            reason="",
        )

    def turned_away(self, login: bytes, address: str, reason: str) -> None:
        self._guessing.failed(neighbourhood(address))
        _audit.warn(
            "{event} of {principal} from {address}: {reason}",
            event="login-refused",
            principal=_ODD.sub("?", login.decode("utf-8", "replace"))[:64],
            address=shown(address, NAMELESS),
            transport=TRANSPORT,
            reason=reason,
        )
