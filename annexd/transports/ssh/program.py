"""A program with a channel as its standard input, output and error."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from annexd.errors import Refused
from annexd.transports.ssh.channel import Channel

_log = Logger()

_LINGER_S = 5.0
# For what a program has left behind that holds its output open: sshd does not wait for that either.

_GRACE_S = 10.0
# From SIGTERM to SIGKILL.

Ended = Callable[[int], None]


def _uncounted(count: int) -> None:
    pass


@implementer(IPushProducer)
class Program(ProcessProtocol):
    """
    Runs until the program ends, and kills it when the channel goes.

    The program's output comes by a socket, because Twisted reads pipes of
    processes by 8 kB.  A peer that takes nothing for ``stall`` seconds loses
    the program; ``moved`` is told of bytes in both directions, ``ended`` of
    the exit code, once.
    """

    def __init__(
        self, reactor: Any, channel: Channel, stall: float, ended: Ended, moved: Ended = _uncounted
    ) -> None:
        self._reactor = reactor
        self._channel = channel
        self._stall = stall
        self._ended: Ended | None = ended
        self._moved = moved
        self._output: Any = None
        self._stall_timer: Any = None
        self._end_timer: Any = None
        self._deaf = False
        self._quiet = True
        self._outcome: Any = None
        self._closed = False

    def start(self, argv: Sequence[bytes], environment: Mapping[bytes, bytes]) -> None:
        """``argv[0]`` is a path.  Raises `Refused`."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            files = {0: "w", 1: theirs.fileno(), 2: "r"}
            try:
                self._reactor.spawnProcess(self, argv[0], argv, env=environment, path=None, childFDs=files)
            except OSError as error:
                raise Refused(f"{os.fsdecode(argv[0])} cannot be run: {error.strerror}") from None
            factory: Any = Factory()
            factory.buildProtocol = lambda _: _Output(self)
            self._output = self._reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, factory)
        self._pipe(0).registerProducer(_Throttle(self), True)
        self._channel.connect(_Input(self))
        self._channel.registerProducer(self, True)

    def _pipe(self, number: int) -> Any:
        """Of the program; `None` when it is closed."""
        return self.transport.pipes.get(number)  # type: ignore[union-attr]

    # --- its input -----------------------------------------------------

    def give(self, data: bytes) -> None:
        if not self._deaf:
            self._moved(len(data))
            self.transport.writeToChild(0, data)  # type: ignore[union-attr]

    def end_input(self) -> None:
        pipe = self._pipe(0)
        if pipe is not None:
            pipe.unregisterProducer()
            self.transport.closeStdin()  # type: ignore[union-attr]

    def pause_input(self) -> None:
        self._channel.pauseProducing()

    def resume_input(self) -> None:
        self._channel.resumeProducing()

    def input_closed(self) -> None:
        """It has heard enough, and the peer may still want to finish its sentence."""
        self._deaf = True
        self._channel.resumeProducing()

    # --- its output ----------------------------------------------------

    def output(self, data: bytes) -> None:
        self._quiet = False
        self._moved(len(data))
        self._channel.write(data)

    def errReceived(self, data: bytes) -> None:
        self._channel.write_error(data)

    def pauseProducing(self) -> None:
        self._stall_timer = self._reactor.callLater(self._stall, self._stalled)
        for source in (self._output, self._pipe(2)):
            if source is not None:
                source.pauseProducing()

    def resumeProducing(self) -> None:
        _cancel(self._stall_timer)
        self._quiet = False
        for source in (self._output, self._pipe(2)):
            if source is not None:
                source.resumeProducing()

    def stopProducing(self) -> None:
        """The channel says so to its protocol, too."""

    def _stalled(self) -> None:
        _log.warn("a peer has taken nothing for {seconds:g} seconds", seconds=self._stall)
        self._channel.abortConnection()

    # --- the end -------------------------------------------------------

    def kill(self) -> None:
        """The peer is gone, and so is the reason to go on."""
        self.resumeProducing()  # to hear the end of it
        self._signal("TERM")
        if self._outcome is None:
            self._end_timer = self._reactor.callLater(_GRACE_S, self._signal, "KILL")

    def _signal(self, name: str) -> None:
        try:
            self.transport.signalProcess(name)  # type: ignore[union-attr]
        except ProcessExitedAlready:
            pass

    def output_closed(self) -> None:
        self._output = None
        self._finish_if_over()

    def processExited(self, reason: Failure) -> None:
        self._outcome = reason.value
        _cancel(self._end_timer)
        self._linger()

    def processEnded(self, reason: Failure) -> None:
        self._closed = True
        self._finish_if_over()

    def _linger(self) -> None:
        self._quiet = True
        self._end_timer = self._reactor.callLater(_LINGER_S, self._lingered)

    def _lingered(self) -> None:
        """Whatever there was to say has been said, unless the peer has been told to wait for it."""
        if self._quiet and (self._stall_timer is None or not self._stall_timer.active()):
            self._finish()
        else:
            self._linger()

    def _finish_if_over(self) -> None:
        if self._closed and self._output is None:
            self._finish()

    def _finish(self) -> None:
        ended, self._ended = self._ended, None
        if ended is None:
            return
        _cancel(self._stall_timer)
        _cancel(self._end_timer)
        self.transport.loseConnection()  # type: ignore[union-attr]
        if self._output is not None:
            self._output.abortConnection()
        code, number = self._outcome.exitCode, self._outcome.signal
        ended(128 + number if code is None else code)
        if number is None:
            self._channel.finish(code)
        else:
            self._channel.finish_by_signal(signal.Signals(number).name.removeprefix("SIG"))


def _cancel(timer: Any) -> None:
    if timer is not None and timer.active():
        timer.cancel()


class _Output(Protocol):
    """What the program writes."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def dataReceived(self, data: bytes) -> None:
        self._program.output(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._program.output_closed()


@implementer(IHalfCloseableProtocol)
class _Input(Protocol):
    """What the peer writes."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def dataReceived(self, data: bytes) -> None:
        self._program.give(data)

    def readConnectionLost(self) -> None:
        self._program.end_input()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._program.kill()


@implementer(IPushProducer)
class _Throttle:
    """The channel, as the producer of the program's input."""

    def __init__(self, program: Program) -> None:
        self.pauseProducing = program.pause_input
        self.resumeProducing = program.resume_input
        self.stopProducing = program.input_closed
