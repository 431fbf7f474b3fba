"""One command of a client of the SSH listener; see `annexd.app.invocation.Invocation`."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from annexd.app.admin import Sessions
from annexd.app.doorman import TRANSPORT, SshUser
from annexd.app.shell import Shell
from annexd.errors import AnnexdError, Refused
from annexd.sessions.activity import Activity
from annexd.sessions.command import Environment
from annexd.sessions.deadlines import Deadlines
from annexd.sessions.wire import Wire
from annexd.transports.ssh.channel import Channel
from annexd.transports.ssh.program import Program

_log = Logger()

_KEPT = re.compile(rb"HOME|PATH|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|XDG_CONFIG_HOME")
# What programs need to know of the daemon's environment: where things are, and which language.

_GIT_PROTOCOL = re.compile(rb"[a-z0-9:=.-]+")


class SshCommand:
    """
    Over when the channel is closed; `gone` is called then.  An empty ``line``
    is a wish for a shell.
    """

    transport = TRANSPORT

    def __init__(
        self,
        reactor: Any,
        channel: Channel,
        user: SshUser,
        address: str,
        line: bytes,
        sessions: Sessions,
        deadlines: Deadlines,
        gone: Callable[[SshCommand], None],
    ) -> None:
        self._reactor = reactor
        self._channel = channel
        self._sessions = sessions
        self._deadlines = deadlines
        self._gone = gone
        self._answering: Deferred[None] | None = None
        self._connected = False
        self._answered = False
        self.principal = user.principal
        self.address = address
        self.line = line
        home = os.fsencode(os.path.expanduser("~"))
        self.environment = Environment.of({**user.limits, b"home": home})

    # --- its life ------------------------------------------------------

    def start(self, shell: Shell) -> None:
        self._channel.when_closed = self._closed
        self._answering = Deferred.fromCoroutine(self._answer(shell))
        self._answering.addErrback(self._failed)

    async def _answer(self, shell: Shell) -> None:
        try:
            if not self.line:
                raise Refused(
                    "there is no interactive shell here, only git and git-annex commands are served"
                )
            await shell.answer(self)
        except AnnexdError as error:
            self.say(str(error))
        finally:
            if not self._answered:
                self.finish(1)

    def _failed(self, failure: Failure) -> None:
        if not isinstance(failure.value, CancelledError):
            _log.failure("answering a command of {user}", failure, user=self.principal)

    def _closed(self) -> None:
        """A session learns from its wire that the peer is gone, and may have things to put in order."""
        if not self._connected:
            self.cancel()
        self._gone(self)

    def cancel(self) -> Deferred[None]:
        """What was under way is lost; fires when it has been put in order."""
        answering = self._answering or succeed(None)
        answering.cancel()
        return answering

    # --- the ways to answer --------------------------------------------

    def accept(self) -> None:
        """SSH clients wait for as long as it takes."""

    def connect(self, wire: Wire) -> None:
        self._connected = True
        self._channel.connect(wire)

    def say(self, sentence: str) -> None:
        self._channel.write_error(f"annexd: {sentence}\n".encode("utf-8", "replace"))

    def print(self, data: bytes) -> None:
        self._channel.write(data)

    def finish(self, code: int) -> None:
        self._answered = True
        self._channel.finish(code)

    def run(self, argv: Sequence[bytes]) -> None:
        """The command goes on in `annexd status` and in the log as long as the program runs."""
        path = shutil.which(argv[0])
        if path is None:
            raise Refused(f"{os.fsdecode(argv[0])} is not installed on this host")
        # All that is run here takes a verb and a repository.
        verb = argv[1] if b"/" in argv[0] else argv[0] + b"-" + argv[1]
        activity = self._sessions.open(
            self.principal, argv[2], TRANSPORT, lambda _: self._channel.abortConnection(), self.address
        )
        activity.begin(verb.decode())
        try:
            program = Program(
                self._reactor,
                self._channel,
                self._deadlines.stall,
                ended=lambda code: self._ended(activity, code),
                moved=activity.moved,
            )
            program.start((path, *argv[1:]), self._environment(os.environb))
        except BaseException:
            self._sessions.close(activity, "it could not be started")
            raise
        self._answered = True

    def _ended(self, activity: Activity, code: int) -> None:
        if self._channel.localClosed:
            activity.end("lost", "the peer went away")
        else:
            activity.end("failed" if code else "done", f"exit code {code}" if code else "")
        self._sessions.close(activity)

    def _environment(self, own: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """Nothing of the daemon's that is secret, and nothing of git's but what the client asks for."""
        found = {name: value for name, value in own.items() if _KEPT.fullmatch(name)}
        found[b"HOME"] = self.environment.home
        if _GIT_PROTOCOL.fullmatch(self._channel.git_protocol):
            found[b"GIT_PROTOCOL"] = self._channel.git_protocol
        limits = self.environment
        for name, is_set in (
            (b"GIT_ANNEX_SHELL_READONLY", limits.readonly),
            (b"GIT_ANNEX_SHELL_APPENDONLY", limits.appendonly),
            (b"GIT_ANNEX_SHELL_LIMITED", limits.limited),
        ):
            if is_set:
                found[name] = b"1"
        if limits.directory is not None:
            found[b"GIT_ANNEX_SHELL_DIRECTORY"] = limits.directory
        return found
