"""
A command that somebody wants to run here, and the ways to answer it: the same
for those that sshd passes on and for those of a listener of our own.
"""

from __future__ import annotations

import pwd
from collections.abc import Sequence
from typing import Any, Protocol

from annexd.app.logs import clean
from annexd.errors import Refused
from annexd.sessions.command import Environment
from annexd.sessions.wire import Wire
from annexd.transports.handoff import Handoff
from annexd.transports.lookout import Lookout
from annexd.transports.pipes import PipeTransport, check_pollable


class Invocation(Protocol):
    """One of `connect`, `print` with `finish`, or `run` answers it, or an error does."""

    @property
    def principal(self) -> str: ...

    @property
    def transport(self) -> str:
        """Its name, for logs."""

    @property
    def address(self) -> str:
        """Where the client is, for logs; empty when that is not known."""

    @property
    def line(self) -> bytes:
        """The command, as the client wrote it."""

    @property
    def environment(self) -> Environment: ...

    def accept(self) -> None:
        """The answer may take a while; the peer is to wait for it."""

    def connect(self, wire: Wire) -> None:
        """Join the peer's standard input and output to ``wire``.  Raises `Refused`."""

    def say(self, sentence: str) -> None:
        """A line on the peer's standard error."""

    def print(self, data: bytes) -> None:
        """A few bytes on the peer's standard output."""

    def run(self, argv: Sequence[bytes]) -> None:
        """Have this program answer in our place; its exit code is the command's."""

    def finish(self, code: int) -> None:
        """The command ends with ``code``."""


class HandedOver:
    """What `annexd-shell` has handed over, see `annexd.transports.handoff`."""

    transport = "ssh"

    def __init__(self, reactor: Any, handoff: Handoff, lookout: Lookout | None = None) -> None:
        self._reactor = reactor
        self._lookout = lookout
        self._handoff = handoff
        self.principal = _principal(handoff)
        self.address = _address(handoff)
        self.line = handoff.fields.get(b"command", b"")
        self.environment = Environment.of(handoff.fields)
        self.accept = handoff.answer_wait
        self.say = handoff.say
        self.print = handoff.print
        self.run = handoff.answer_run
        self.finish = handoff.finish

    def connect(self, wire: Wire) -> None:
        if not self._handoff.complete:
            raise Refused("the command came without standard input and output")
        for number in (0, 1):
            check_pollable(self._handoff.fileno(number))
        pipes = self._handoff.take(0), self._handoff.take(1)
        PipeTransport(self._reactor, *pipes, self._lookout).connect(wire)


def _principal(handoff: Handoff) -> str:
    """The name in authorized_keys, else that of the account."""
    named = handoff.fields.get(b"user")
    if named:
        return named.decode("utf-8", "replace")
    try:
        return pwd.getpwuid(handoff.uid).pw_name
    except KeyError:
        return f"uid{handoff.uid}"


def _address(handoff: Handoff) -> str:
    """The first word of what sshd says of the connection."""
    return clean(handoff.fields.get(b"connection", b"").partition(b" ")[0])
