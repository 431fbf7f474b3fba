"""Another program, run to its end or to its deadline, without a thread that waits for it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from annexd.errors import Unavailable
from annexd.transports.pipes import close_all, new_pipes

_GRACE_S = 5.0
_LONGEST_OUTPUT = 64 * 1024
_LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class Ended:
    """``output`` is what it wrote, the first 64 KiB; ``said`` is its standard error as one line."""

    code: int
    output: bytes
    said: str


async def run(
    reactor: Any,
    argv: Sequence[bytes],
    *,
    cwd: bytes,
    environ: Mapping[bytes, bytes],
    seconds: float,
    given: tuple[int, ...] = (),
) -> Ended:
    """
    ``given`` are descriptors that it has under the same numbers; here they
    are closed, whatever happens.  Raises `Unavailable` when it cannot be started, or has not ended after
    ``seconds``; it and all that it has started are ended then, as when the
    wait is cancelled, which takes a few seconds at most.
    """
    name = os.fsdecode(argv[0])
    try:
        process, output, errors = _started(reactor, argv, cwd, environ, given)
    except (OSError, ValueError) as error:
        raise Unavailable(f"{name} cannot be started: {error}") from error
    finally:
        close_all(given)
    exit: _Exit | None = None
    try:
        exit = _Exit(reactor, process.pid)
        await exit.within(seconds)
        return Ended(process.wait(), output.all(), _line(errors.all()))
    except TimeoutError:
        late = f"{os.path.basename(name)} did not end within {seconds:g} seconds"
        raise Unavailable(f"{late}: {_line(errors.all())}") from None
    except OSError as error:  # no descriptors are left
        raise Unavailable(f"{name} cannot be waited for: {error.strerror}") from error
    finally:
        try:
            await _end(process, exit)
        finally:
            for one in (exit, output, errors):
                if one is not None:
                    one.close()


def _started(
    reactor: Any,
    argv: Sequence[bytes],
    cwd: bytes,
    environ: Mapping[bytes, bytes],
    given: tuple[int, ...],
) -> tuple[subprocess.Popen[bytes], _Kept, _Kept]:
    (output, their_output), (errors, their_errors) = new_pipes(2)
    try:
        process = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=their_output,
            stderr=their_errors,
            pass_fds=given,
            start_new_session=True,  # no terminal to ask questions on, and one group to end
        )
    except BaseException:
        close_all((output, errors))
        raise
    finally:
        close_all((their_output, their_errors))
    return process, _Kept(reactor, output), _Kept(reactor, errors)


@implementer(IReadDescriptor)
class _Descriptor:
    """Something to wait for; owned."""

    def __init__(self, reactor: Any, fd: int) -> None:
        self._reactor = reactor
        self._fd = fd
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "program"

    def doRead(self) -> None:
        raise NotImplementedError

    def connectionLost(self, reason: Failure) -> None:
        """The reactor stops."""

    def close(self) -> None:
        if self._fd >= 0:
            self._reactor.removeReader(self)
            os.close(self._fd)
            self._fd = -1


class _Kept(_Descriptor):
    """The beginning of what a program writes; it may write without end, and leave others who do."""

    def __init__(self, reactor: Any, fd: int) -> None:
        os.set_blocking(fd, False)
        super().__init__(reactor, fd)
        self._data = bytearray()

    def doRead(self) -> None:
        try:
            data = os.read(self._fd, _LONGEST_OUTPUT)
        except BlockingIOError:
            return
        if not data:
            self.close()
        self._data += data[: _LONGEST_OUTPUT - len(self._data)]

    def all(self) -> bytes:
        """With what waits in the pipe, which holds as much."""
        if self._fd >= 0:
            self.doRead()
        return bytes(self._data)


class _Exit(_Descriptor):
    """The moment at which a child process ends, told by the kernel through a descriptor."""

    def __init__(self, reactor: Any, pid: int) -> None:
        super().__init__(reactor, os.pidfd_open(pid))
        self._over = False
        self._waiting: Deferred[None] | None = None

    async def within(self, seconds: float) -> None:
        """Raises `TimeoutError`."""
        if self._over:
            return
        waiting = self._waiting = Deferred()
        timer = self._reactor.callLater(seconds, waiting.errback, TimeoutError())
        try:
            await waiting
        finally:
            self._waiting = None
            if timer.active():
                timer.cancel()

    def doRead(self) -> None:
        self._over = True
        self._reactor.removeReader(self)
        if self._waiting is not None and not self._waiting.called:
            self._waiting.callback(None)


async def _end(process: subprocess.Popen[bytes], exit: _Exit | None) -> None:
    """First with a word, then without; whoever is left of the group is of no use to anybody."""
    if process.returncode is not None:
        return
    try:
        _signal(process, signal.SIGTERM)
        if exit is not None:
            with contextlib.suppress(TimeoutError):
                await exit.within(_GRACE_S)
    finally:
        _signal(process, signal.SIGKILL)
    if exit is not None:
        with contextlib.suppress(TimeoutError):
            await exit.within(_GRACE_S)
    process.poll()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _line(errors: bytes) -> str:
    text = errors.decode("utf-8", "backslashreplace")
    said = "; ".join(line.strip() for line in text.splitlines() if line.strip())
    return "".join(letter if letter.isprintable() else " " for letter in said)[:_LONGEST_REASON]
