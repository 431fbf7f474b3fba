"""A session over an ssh that runs already: no process is started for it here."""

from __future__ import annotations

import socket
from typing import Any, Callable

from twisted.internet.task import deferLater

from annexd.errors import PeerLost, Refused
from annexd.remotes import ssh_mux
from annexd.remotes.dialing import Explain
from annexd.remotes.murmur import Murmur
from annexd.sessions.wire import Wire
from annexd.transports.pipes import OwnPipes, close_all, new_pipes
from annexd.transports.readiness import readable, writable

_REQUEST = 1
_BACKLOG_PAUSE_S = 0.02


class NoSession(Refused):
    """The ssh is well, but the server, or the user's settings, allow no further session."""


class Control:
    """A connection to the control socket of an ssh."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._replies = ssh_mux.Replies()

    async def connect(self, path: str) -> None:
        """Raises `PeerLost` where nobody listens."""
        while True:
            try:
                self._socket.connect(path)
                break
            except BlockingIOError:  # more want to come than it keeps waiting
                await deferLater(self._reactor, _BACKLOG_PAUSE_S)
            except OSError as error:
                raise PeerLost(f"the control socket of ssh is closed: {error.strerror}") from None
        await self.send(ssh_mux.hello())
        if not isinstance(await self.receive(), ssh_mux.Hello):
            raise PeerLost("what answers at the control socket is no ssh")

    async def send(self, data: bytes) -> None:
        while data:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                await writable(self._reactor, self._socket)
            except OSError:
                raise PeerLost("ssh has ended") from None

    async def send_descriptor(self, fd: int) -> None:
        while True:
            try:
                socket.send_fds(self._socket, [b"\0"], [fd])
                return
            except BlockingIOError:
                await writable(self._reactor, self._socket)
            except OSError:
                raise PeerLost("ssh has ended") from None

    async def receive(self) -> ssh_mux.Reply:
        while (reply := self._replies.next()) is None:
            try:
                data = self._socket.recv(4096)
            except BlockingIOError:
                await readable(self._reactor, self._socket)
                continue
            except OSError:
                data = b""
            if not data:
                raise PeerLost("ssh has ended")
            self._replies.feed(data)
        return reply

    def close(self) -> None:
        """A session that was asked for ends with it."""
        self._socket.close()


class Session:
    """
    A command at the other end: ``output`` is what it reads from, ``input``
    what it says, ``murmur`` what it says beside that.  Owned by whoever has
    it, until `close` or `join`.
    """

    def __init__(
        self,
        reactor: Any,
        control: Control,
        descriptors: tuple[int, int],
        murmur: Murmur,
        ended: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._control = control
        self.input, self.output = descriptors
        self.murmur = murmur
        self._ended: Callable[[], None] | None = ended

    def join(self, wire: Wire) -> Explain:
        """Connect ``wire`` to the command; the session ends with it."""
        OwnPipes(self._reactor, self.input, self.output, self._part).connect(wire)
        return self.murmur.explain

    def give(self) -> tuple[int, int]:
        """``input`` and ``output``, to whoever closes them from now on."""
        given = self.input, self.output
        self.input = self.output = -1
        return given

    def close(self) -> None:
        """The command is told that nobody listens any more; what it has said beside is kept."""
        if self._ended is not None:
            if self.output >= 0:
                close_all(self.give())
            self._part()

    def _part(self) -> None:
        ended, self._ended = self._ended, None
        self._control.close()
        if ended is not None:
            ended()


async def open_session(reactor: Any, path: str, command: bytes, ended: Callable[[], None]) -> Session:
    """
    Have the ssh at the control socket ``path`` run ``command``.  ``ended`` is
    called when the session is over.  Raises `NoSession`, `PeerLost` and
    `FramingError`.
    """
    (their_input, our_output), (our_input, their_output), (our_error, their_error) = new_pipes(3)
    theirs = (their_input, their_output, their_error)
    control: Control | None = None
    try:
        control = Control(reactor)
        await control.connect(path)
        await control.send(ssh_mux.new_session(_REQUEST, command))
        for fd in theirs:
            await control.send_descriptor(fd)
        await _opened(control)
    except BaseException:
        if control is not None:
            control.close()
        close_all((our_input, our_output, our_error))
        raise
    finally:
        close_all(theirs)
    return Session(reactor, control, (our_input, our_output), Murmur(reactor, our_error), ended)


async def _opened(control: Control) -> None:
    while True:
        match await control.receive():
            case ssh_mux.Opened():
                return
            case ssh_mux.Refusal(_, reason):
                raise NoSession(reason)
            case ssh_mux.Exit():
                raise PeerLost("the session ended before it began")
