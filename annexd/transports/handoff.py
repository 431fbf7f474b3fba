"""
The daemon's unix socket: where `annexd-shell` hands over the descriptors that
sshd gave it, and where `annexd status` asks.

One connection is one question.  The peer sends a frame (4 bytes of length,
big-endian, then a kind and ``name=value`` fields with NULs between them), with
its descriptors 0, 1 and 2 beside the first byte when it is a shell.  It is
answered with one of

- ``w``, and the exit code and a LF when all is over: the peer waits,
- ``r``, 4 bytes of length and an argv with NULs between: the peer runs that,
- a document, for those who ask about the daemon.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IFileDescriptorReceiver,
    IListeningPort,
    IReactorTime,
    IReactorUNIX,
    IUNIXTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from annexd.errors import AnnexdError, ConfigError

_log = Logger()

LONGEST_FRAME = 256 * 1024
_LENGTH = struct.Struct(">I")
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_DESCRIPTORS = 3
_BACKLOG = 1024
# A client that works with many jobs, or many clients after a restart, come at once.

_PROMPT_BYTES = select.PIPE_BUF
# What poll(2) calls writable takes this much at once.


class Handoff:
    """
    One question, and the ways to answer it.  The descriptors that came with
    it are closed when it is over, but for those that were taken.
    """

    def __init__(
        self,
        kind: bytes,
        fields: Mapping[bytes, bytes],
        fds: Sequence[int],
        uid: int,
        write: Callable[[bytes], None],
        close: Callable[[], None],
    ) -> None:
        self.kind = kind
        self.fields = fields
        self.uid = uid
        """Whose process asks; the kernel says so."""
        self._fds: list[int] = list(fds)
        self._write = write
        self._close = close
        self._waiting = False
        self._answered = False

    @property
    def complete(self) -> bool:
        """It came with standard input, output and error."""
        return len(self._fds) == _DESCRIPTORS

    def fileno(self, number: int) -> int:
        """The peer's descriptor 0, 1 or 2, to look at."""
        return self._fds[number]

    def take(self, number: int) -> int:
        """The peer's descriptor 0, 1 or 2, which is the caller's from now on."""
        fd, self._fds[number] = self._fds[number], -1
        assert fd >= 0, "taken already"
        return fd

    def say(self, sentence: str) -> None:
        """A line on the peer's standard error, if that takes it."""
        self._put(2, f"annexd-shell: {sentence}\n".encode("utf-8", "replace")[:_PROMPT_BYTES])

    def print(self, data: bytes) -> None:
        """A few bytes on the peer's standard output."""
        assert len(data) <= _PROMPT_BYTES
        self._put(1, data)

    def _put(self, number: int, data: bytes) -> None:
        """
        Never waits, and leaves the descriptor's flags alone: other processes
        share them.
        """
        if not self.complete or self._fds[number] < 0:
            return
        poll = select.poll()
        poll.register(self._fds[number], select.POLLOUT)
        try:
            if poll.poll(0):
                os.write(self._fds[number], data)
        except OSError as error:
            _log.debug("the peer takes no text: {error}", error=error)

    def answer_wait(self) -> None:
        """The peer is to wait for `finish`."""
        if not self._waiting:
            self._waiting = True
            self._write(b"w")

    def finish(self, code: int) -> None:
        """The peer ends with ``code``."""
        if not self._answered:
            self.answer_wait()
            self._answer(b"%d\n" % code)

    def answer_run(self, argv: Sequence[bytes]) -> None:
        """The peer becomes this program, with the descriptors that it has."""
        joined = b"\0".join(argv)
        self._answer(b"r" + _LENGTH.pack(len(joined)) + joined)

    def answer_json(self, document: bytes) -> None:
        self._answer(document)

    def _answer(self, data: bytes) -> None:
        """Ours are closed first: that the peer's output ends must not depend on us."""
        assert not self._answered, "a question is answered once"
        self._answered = True
        self.close_descriptors()
        self._write(data)
        self._close()

    @property
    def answered(self) -> bool:
        return self._answered

    def close_descriptors(self) -> None:
        fds, self._fds = self._fds, []
        for fd in fds:
            if fd >= 0:
                os.close(fd)


Answer = Callable[[Handoff], Awaitable[None]]
"""What answers a question; cancelled when the peer goes away before that."""


@implementer(IFileDescriptorReceiver)
class Conversation(Protocol):
    """One peer, from its connection to the answer."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._buffer = bytearray()
        self._fds: list[int] = []
        self._deadline: IDelayedCall | None = None
        self._handoff: Handoff | None = None
        self.answering: Deferred[None] | None = None
        self._lost = False

    def connectionMade(self) -> None:
        self._door.conversations.add(self)
        self._deadline = self._door.clock.callLater(self._door.handshake, self._expired)

    def fileDescriptorReceived(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)  # recvmsg does not see to that
        if self._handoff is not None or len(self._fds) == _DESCRIPTORS:
            os.close(descriptor)
        else:
            self._fds.append(descriptor)

    def dataReceived(self, data: bytes) -> None:
        if self._handoff is not None:
            return  # there is nothing more to say
        self._buffer += data
        if len(self._buffer) < _LENGTH.size:
            return
        (length,) = _LENGTH.unpack_from(self._buffer)
        end = _LENGTH.size + length
        if length <= LONGEST_FRAME and len(self._buffer) < end:
            return
        kind, *fields = bytes(self._buffer[_LENGTH.size : end]).split(b"\0")
        self._buffer.clear()
        handoff = self._begin(kind, fields)
        if length > LONGEST_FRAME:
            self._refuse(handoff, f"the command is longer than {LONGEST_FRAME} bytes")
        elif handoff.uid not in self._door.uids:
            self._refuse(handoff, f"this daemon serves uid {max(self._door.uids)}, not {handoff.uid}")
        else:
            self._start(handoff)

    def _begin(self, kind: bytes, fields: list[bytes]) -> Handoff:
        self._cancel_deadline()
        pairs = (field.partition(b"=") for field in fields)
        named = {name: value for name, _, value in pairs}
        fds, self._fds = self._fds, []
        link = self._link
        self._handoff = Handoff(kind, named, fds, peer_uid(link), link.write, link.loseConnection)
        return self._handoff

    def _refuse(self, handoff: Handoff, sentence: str) -> None:
        _log.warn("refused a peer with uid {uid}: {sentence}", uid=handoff.uid, sentence=sentence)
        handoff.say(sentence)
        handoff.finish(1)

    def _start(self, handoff: Handoff) -> None:
        self.answering = Deferred.fromCoroutine(self._answer(handoff))
        self.answering.addErrback(self._failed)

    async def _answer(self, handoff: Handoff) -> None:
        try:
            await self._door.answer(handoff)
        except AnnexdError as error:
            handoff.say(str(error))
        except CancelledError:
            raise
        except BaseException:
            handoff.say("an internal error, which the daemon's log describes")
            raise
        finally:
            handoff.close_descriptors()
            if not self._lost:
                self._finish(handoff)

    def _finish(self, handoff: Handoff) -> None:
        """Nobody is left waiting, whatever happened."""
        if not handoff.answered:
            handoff.finish(1)

    def _failed(self, failure: Failure) -> None:
        if not isinstance(failure.value, CancelledError):
            _log.failure("answering a peer on the socket", failure)

    def _expired(self) -> None:
        self._deadline = None
        _log.warn("a peer on the socket has not said what it wants, and is sent away")
        self._link.loseConnection()

    def _cancel_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()

    @property
    def _link(self) -> IUNIXTransport:
        assert self.transport is not None
        return self.transport  # type: ignore[return-value]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        self._cancel_deadline()
        self._door.conversations.discard(self)
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
        if self.answering is not None:
            self.answering.cancel()


class Door(Factory):
    """
    Lets in peers with one of ``uids`` and has ``answer`` serve each of them.
    ``handshake`` is in seconds.
    """

    noisy = False

    def __init__(self, clock: IReactorTime, answer: Answer, uids: Collection[int], handshake: float) -> None:
        self.clock = clock
        self.answer = answer
        self.uids = frozenset(uids)
        self.handshake = handshake
        self.conversations: set[Conversation] = set()

    def buildProtocol(self, addr: IAddress | None) -> Conversation:
        return Conversation(self)

    async def close(self) -> None:
        """Cancel what is being answered, and wait until that has been cleaned up."""
        answering = [c.answering for c in self.conversations if c.answering is not None]
        for deferred in answering:
            deferred.cancel()
        await DeferredList(answering)


def own_uids() -> frozenset[int]:
    """Who may use a daemon: its own user, and root, whom nobody can keep out."""
    return frozenset((0, os.geteuid()))


def listen(reactor: IReactorUNIX, path: str, door: Door) -> IListeningPort:
    """
    Listen on ``path``, which others than the own user cannot connect to at
    any moment.  Raises `ConfigError`.
    """
    mask = os.umask(0o177)
    try:
        return reactor.listenUNIX(path, door, backlog=_BACKLOG, mode=0o600)
    except CannotListenError as error:
        reason = os.strerror(getattr(error.socketError, "errno", None) or errno.EINVAL)
        raise ConfigError(f"{path}: {reason}") from None
    finally:
        os.umask(mask)


def peer_uid(transport: IUNIXTransport) -> int:
    """Of the process that connected, at that moment."""
    connection: socket.socket = transport.socket  # type: ignore[attr-defined]
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _pid, uid, _gid = _CREDENTIALS.unpack(data)
    return int(uid)
