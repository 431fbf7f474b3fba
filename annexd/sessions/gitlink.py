"""CONNECT: git's own upload-pack and receive-pack at the other end of a wire."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Mapping

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport, IPushProducer, IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from annexd.errors import Refused
from annexd.flow.body import Buffer
from annexd.flow.pour import pour
from annexd.flow.signal import first_of
from annexd.protocol.grammar import Moment, admits, complaint
from annexd.protocol.messages import ConnectDone, Data
from annexd.sessions.wire import Wire

_log = Logger()

_SERVICES = {b"git-upload-pack": b"upload-pack", b"git-receive-pack": b"receive-pack"}


@dataclass(frozen=True, slots=True)
class GitAccess:
    """
    The git repository behind a session.  ``write_refusal`` says why pushing
    is not allowed, if it is not.
    """

    spawner: IReactorProcess
    git_dir: bytes
    write_refusal: Refused | None = None

    def refusal(self, service: bytes) -> Refused | None:
        if service not in _SERVICES:
            return Refused(f"there is no service {service.decode('utf-8', 'replace')} here")
        return self.write_refusal if service == b"git-receive-pack" else None


async def connect(wire: Wire, git: GitAccess, service: bytes) -> int:
    """
    Relay until git ends or the peer does; the exit code of git.  The wire is
    of no further use: the peer has been told with CONNECTDONE.  Raises
    `PeerLost` and `FramingError`; git does not outlive it.  For what
    `GitAccess.refusal` lets pass.
    """
    process = _GitProcess(wire)
    environment: Mapping[bytes, bytes] = {
        name: value for name, value in os.environb.items() if not name.startswith(b"GIT_")
    }
    argv = [b"git", _SERVICES[service], git.git_dir]
    git.spawner.spawnProcess(process, argv[0], argv, env=environment, path=None)
    relaying = Deferred.fromCoroutine(_relay_input(wire, process)).addErrback(process.give_up)
    try:
        code = await first_of(process.end(), wire.gone())
    finally:
        relaying.cancel()
        process.kill()
    if not wire.lost:
        wire.send(ConnectDone(code))
    return code


async def refuse(wire: Wire, reason: str) -> None:
    """
    Git waits for ever when CONNECT is answered by an error of the protocol's,
    so it is told in its own: a pkt-line that says ERR.
    """
    packet = b"ERR " + reason.encode("utf-8", "backslashreplace")
    packet = b"%04x" % (len(packet) + 4) + packet
    wire.send(Data(len(packet)))
    await wire.write(packet)
    wire.send(ConnectDone(1))


async def _relay_input(wire: Wire, process: _GitProcess) -> None:
    while True:
        # Both talk at once: what the peer says to git does not wait for what git says to the peer.
        message = await wire.receive(wire.deadlines.idle, while_full=True)
        match message:
            case Data(length):
                await pour(wire.body(length), process, _uncounted)
            case ConnectDone():
                process.close_input()
                return
            case _:
                assert not admits(Moment.CONNECTED, wire.version, message)
                answer = complaint(Moment.CONNECTED, wire.version, message)
                if answer is not None:
                    wire.send(answer)
                process.kill()
                return


def _uncounted(count: int) -> None:
    pass


@implementer(IPushProducer)
class _GitProcess(ProcessProtocol):
    """
    git's standard input as a `Sink`; its output goes to the wire as `Data`.
    It is the producer of its own standard input, to learn when that is full.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._room: Deferred[None] | None = None
        self._full = False
        self._over = False
        self._relaying: Deferred[None] | None = None
        self._ended: Deferred[int] = Deferred()

    @property
    def _process(self) -> IProcessTransport:
        return self.transport  # type: ignore[return-value]

    # --- git's input ---------------------------------------------------

    def connectionMade(self) -> None:
        self._process.pipes[0].registerProducer(self, True)  # type: ignore[attr-defined]

    async def write(self, data: Buffer) -> None:
        if 0 not in self._process.pipes:  # type: ignore[attr-defined]
            return  # git has heard enough
        self._process.writeToChild(0, bytes(data))
        if self._full and not self._over:
            self._room = Deferred()
            await self._room

    def pauseProducing(self) -> None:
        self._full = True

    def resumeProducing(self) -> None:
        self._full = False
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    def stopProducing(self) -> None:
        self.resumeProducing()

    def close_input(self) -> None:
        if 0 in self._process.pipes:  # type: ignore[attr-defined]
            self._process.pipes[0].unregisterProducer()  # type: ignore[attr-defined]
        self._process.closeStdin()

    # --- git's output --------------------------------------------------

    def outReceived(self, data: bytes) -> None:
        self._process.pipes[1].pauseProducing()  # type: ignore[attr-defined]
        self._relaying = Deferred.fromCoroutine(self._relay(data)).addErrback(self.give_up)

    async def _relay(self, data: bytes) -> None:
        self._wire.send(Data(len(data)))
        await self._wire.write(data)
        if 1 in self._process.pipes:  # type: ignore[attr-defined]
            self._process.pipes[1].resumeProducing()  # type: ignore[attr-defined]

    def errReceived(self, data: bytes) -> None:
        _log.info("git says: {text}", text=data.decode("utf-8", "replace").strip())

    # --- the end -------------------------------------------------------

    async def end(self) -> int:
        """The exit code; raises what ended the relay before that."""
        return await self._ended

    def give_up(self, failure: Failure) -> None:
        """The peer is gone or makes no sense, and so is the reason for git to go on."""
        if not isinstance(failure.value, CancelledError) and not self._ended.called:
            self._ended.errback(failure)

    def kill(self) -> None:
        if self._relaying is not None:
            self._relaying.cancel()
        if not self._over:
            try:
                self._process.signalProcess("TERM")
            except ProcessExitedAlready:
                pass
            # Twisted notices the end of a process only when its pipes have ended, too.
            self.close_input()
            self._process.loseConnection()

    def processEnded(self, reason: Failure) -> None:
        self._over = True
        self.resumeProducing()
        code = getattr(reason.value, "exitCode", None)
        if not self._ended.called:
            self._ended.callback(1 if code is None else code)
