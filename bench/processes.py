"""The processes that are measured: starting them, what they cost, and their certain end."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import Container, Iterator, Mapping, Sequence

KB = 1000
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Overdue(Exception):
    """Something that is measured takes longer than anything here may take."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Interrupt whatever the main thread is doing after so many seconds."""

    def overdue(signum: int, frame: object) -> None:
        raise Overdue(f"not done within {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, overdue)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Processes:
    """Everything that was started here and has not ended."""

    def __init__(self) -> None:
        self._alive: dict[int, subprocess.Popen[bytes]] = {}

    def start(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        stdin: int,
        stdout: int,
        stderr: int,
        cwd: str | None = None,
    ) -> subprocess.Popen[bytes]:
        """A process group of its own, so that nothing below it is left over either."""
        process = subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=dict(env),
            cwd=cwd,
            process_group=0,
            bufsize=0,
        )
        self._alive[process.pid] = process
        return process

    def reap(self, process: subprocess.Popen[bytes], seconds: float = 30.0) -> int:
        """Wait for an end that is due; insist when it does not come."""
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._kill(process)
            raise Overdue(f"{process.args!r} did not end within {seconds:g} seconds") from None
        finally:
            self._alive.pop(process.pid, None)

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """Ask to end, wait a little, kill."""
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10.0)
            except subprocess.TimeoutExpired:
                pass
        self._kill(process)
        self._alive.pop(process.pid, None)

    def stop_all(self, but: Container[int] = ()) -> None:
        """Now; ``but`` are the process ids of those that go on."""
        for pid in [pid for pid in self._alive if pid not in but]:
            self._kill(self._alive.pop(pid))

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        if process.returncode is None:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()


def tree(*roots: int) -> list[int]:
    """Processes and everything below them."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = _stat(int(name))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(name))
    found = list(roots)
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def cpu_seconds(root: int) -> float:
    """What a process, what runs below it and what it has waited for have used."""
    total = 0.0
    for pid in tree(root):
        fields = _stat(pid)
        if fields:
            total += _own_cpu(pid) + (int(fields[13]) + int(fields[14])) / _TICKS_PER_SECOND
    return total


def _own_cpu(pid: int) -> float:
    """The process's own clock counts nanoseconds, /proc/*/stat only ticks of 10 ms."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def machine_cpu_seconds() -> float:
    """Of all processors, whoever uses them: all but idle and waiting for disks."""
    with open("/proc/stat", encoding="ascii") as stat:
        numbers = [int(word) for word in stat.readline().split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq = numbers[:7]
    return (user + nice + system + irq + softirq) / _TICKS_PER_SECOND


def memory(pid: int, field: str = "Pss") -> float:
    """Pss, Rss or Anonymous of one process, in kB of 1000 bytes."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as lines:
        for line in lines:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024 / KB
    raise LookupError(field)


def tree_memory(*roots: int, field: str = "Pss") -> float:
    """Of all of them together."""
    total = 0.0
    for pid in tree(*roots):
        try:
            total += memory(pid, field)
        except (OSError, LookupError):
            continue
    return total


def _stat(pid: int) -> list[str]:
    """/proc/PID/stat from the state on (whose index is 0); empty when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()
    except OSError:
        return []
