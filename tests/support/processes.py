"""Programs under test: run with a time limit, watched, and stopped by their process id only."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path


class Failed(AssertionError):
    """A program did not do what it should; says what it printed."""


def run(
    *argv: str | bytes | Path,
    cwd: Path,
    env: Mapping[str, str],
    seconds: float = 60.0,
    ok: bool = True,
    stdin: bytes = b"",
) -> bytes:
    """
    Run a program to its end; what it printed on stdout and stderr.

    With ``ok`` a non-zero exit fails the test; without, a zero exit does.
    """
    code, said = run_code(*argv, cwd=cwd, env=env, seconds=seconds, stdin=stdin)
    if (code == 0) != ok:
        raise Failed(f"{_line(argv)} in {cwd} exited with {code}:\n{said.decode(errors='replace')}")
    return said


def run_code(
    *argv: str | bytes | Path, cwd: Path, env: Mapping[str, str], seconds: float = 60.0, stdin: bytes = b""
) -> tuple[int, bytes]:
    """Run a program to its end; its exit code and what it printed."""
    with start(*argv, cwd=cwd, env=env, stdin=subprocess.PIPE) as process:
        try:
            said, _ = process.communicate(stdin, timeout=seconds)
        except subprocess.TimeoutExpired:
            stop_group(process)
            said = process.stdout.read() if process.stdout is not None and not process.stdout.closed else b""
            shown = said.decode(errors="replace")
            raise Failed(f"{_line(argv)} in {cwd} did not end within {seconds:g} seconds:\n{shown}") from None
    return process.returncode, said


def start(
    *argv: str | bytes | Path, cwd: Path, env: Mapping[str, str], stdin: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """Start a program in a process group of its own, its stdout and stderr in one pipe."""
    return subprocess.Popen(
        argv,
        cwd=cwd,
        env=dict(env),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def stop_group(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGKILL) -> None:
    """Signal a program that `start` started, with all that it started in its group; wait for its end."""
    if process.poll() is None:
        os.killpg(process.pid, how)
    process.wait(60)


def descendants(pid: int) -> list[int]:
    """The processes that a process started, and those that these started, and so on."""
    parents: dict[int, list[int]] = {}
    for child, parent in _all_processes():
        parents.setdefault(parent, []).append(child)
    found: list[int] = []
    todo = [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found


def _all_processes() -> Iterator[tuple[int, int]]:
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            stat = Path("/proc", name, "stat").read_text(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        yield int(name), int(stat.rpartition(")")[2].split()[1])


def stop_all(pids: list[int], seconds: float = 5.0) -> None:
    """SIGTERM to each of these processes, SIGKILL to those that stay."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            try:
                os.kill(pid, how)
            except ProcessLookupError:
                continue
        if _gone(pids, seconds):
            return


def _gone(pids: list[int], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while any(running(pid) for pid in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def running(pid: int) -> bool:
    """Whether a process exists and is not merely waiting to be reaped."""
    return state(pid) not in ("", "Z")


def state(pid: int) -> str:
    """What a process does, by ps's letter: ``S`` when it waits for something; empty when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[0]


def open_files(pid: int) -> list[str]:
    """What the file descriptors of a process refer to, sorted.  Raises `OSError` when it is gone."""
    names = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            names.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            continue  # closed meanwhile
    return sorted(names)


def has_lock(path: Path) -> bool:
    """Whether anybody holds a lock on a file; one that is there may not be locked yet."""
    try:
        inode = path.stat().st_ino
    except FileNotFoundError:
        return False
    held = (line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" not in line)
    return any(words[5].rpartition(":")[2] == str(inode) for words in held)


def until(true: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Wait until something is so; fail the test, naming it, when the time is over."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise Failed(f"waited {seconds:g} seconds in vain: {what}")
        time.sleep(0.02)


def _line(argv: tuple[str | bytes | Path, ...]) -> str:
    return " ".join(part.decode(errors="replace") if isinstance(part, bytes) else str(part) for part in argv)
