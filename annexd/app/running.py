"""Another program, run to its end or to its deadline, without a thread that waits for it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from twisted.internet.defer import CancelledError, Deferred

from annexd.errors import Unavailable

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
) -> Ended:
    """
    Raises `Unavailable` when it cannot be started, or has not ended after
    ``seconds``; it and all that it has started are ended then, as when the
    wait is cancelled.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                list(argv),
                cwd=cwd,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,  # no terminal to ask questions on, and one group to end
            )
        except (OSError, ValueError) as error:
            raise Unavailable(f"{os.fsdecode(argv[0])} cannot be started: {error}") from error
        try:
            await _Exit(reactor, process.pid).within(seconds)
        except CancelledError:
            raise
        except TimeoutError:
            name = os.path.basename(os.fsdecode(argv[0]))
            raise Unavailable(f"{name} did not end within {seconds:g} seconds: {_line(errors)}") from None
        finally:
            _end(reactor, process)
        return Ended(process.wait(), _start(output), _line(errors))


class _Exit:
    """The moment at which a child process ends, told by the kernel through a descriptor."""

    def __init__(self, reactor: Any, pid: int) -> None:
        self._reactor = reactor
        self._fd = os.pidfd_open(pid)
        self._done: Deferred[None] = Deferred()

    async def within(self, seconds: float) -> None:
        """Raises `TimeoutError`."""
        timer = self._reactor.callLater(seconds, self._late)
        self._reactor.addReader(self)
        try:
            await self._done
        finally:
            self._reactor.removeReader(self)
            os.close(self._fd)
            if timer.active():
                timer.cancel()

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "program"

    def doRead(self) -> None:
        self._reactor.removeReader(self)
        if not self._done.called:
            self._done.callback(None)

    def connectionLost(self, reason: object) -> None:
        """The reactor stops."""

    def _late(self) -> None:
        if not self._done.called:
            self._done.errback(TimeoutError())


def _end(reactor: Any, process: subprocess.Popen[bytes]) -> None:
    """First with a word, then without; whoever is left of the group is of no use to anybody."""
    if process.poll() is not None:
        return
    _signal(process, signal.SIGTERM)

    def insist() -> None:
        if process.poll() is None:
            _signal(process, signal.SIGKILL)
            process.wait()

    reactor.callLater(_GRACE_S, insist)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _start(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(_LONGEST_OUTPUT)


def _line(errors: BinaryIO) -> str:
    text = _start(errors).decode("utf-8", "backslashreplace")
    said = "; ".join(line.strip() for line in text.splitlines() if line.strip())
    return "".join(letter if letter.isprintable() else " " for letter in said)[:_LONGEST_REASON]
