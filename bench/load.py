"""CHECKPRESENT in closed loops: the next request goes out when the answer is in."""

from __future__ import annotations

import os
import select
import time
from dataclasses import dataclass
from typing import Sequence

from bench.client import Session, Unexpected


@dataclass(frozen=True, slots=True)
class Loop:
    requests: int
    seconds: float
    latencies_ms: Sequence[float]
    """Sorted."""

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    def quantile(self, part: float) -> float:
        return self.latencies_ms[min(int(part * len(self.latencies_ms)), len(self.latencies_ms) - 1)]


def one_after_the_other(
    session: Session, keys: Sequence[bytes], seconds: float, answer: bytes = b"SUCCESS\n"
) -> float:
    """Requests per second of one session."""
    requests = [b"CHECKPRESENT " + key + b"\n" for key in keys]
    read, write, read_fd, write_fd = os.read, os.write, session.read_fd, session.write_fd
    done = 0
    start = time.perf_counter()
    end = start + seconds
    while (now := time.perf_counter()) < end:
        for request in requests[:20]:
            write(write_fd, request)
            if read(read_fd, 4096) != answer:
                raise Unexpected("not the answer to CHECKPRESENT")
        done += 20
        requests = requests[20:] + requests[:20]
    return done / (now - start)


def side_by_side(
    sessions: Sequence[Session], keys: Sequence[bytes], seconds: float, until_fd: int | None = None
) -> Loop:
    """
    All sessions at once, each with one request under way, for so many seconds
    or until a descriptor becomes readable.
    """
    requests = [b"CHECKPRESENT " + key + b"\n" for key in keys]
    write_fds = {session.read_fd: session.write_fd for session in sessions}
    asked: dict[int, int] = {}
    latencies: list[int] = []
    epoll = select.epoll()
    for session in sessions:
        epoll.register(session.read_fd, select.EPOLLIN)
    if until_fd is not None:
        epoll.register(until_fd, select.EPOLLIN)
    clock, read, write = time.perf_counter_ns, os.read, os.write
    start = clock()
    end = start + int(seconds * 1e9)
    for fd, write_fd in write_fds.items():
        asked[fd] = clock()
        write(write_fd, requests[fd % len(requests)])
    running = True
    while asked:
        for fd, _ in epoll.poll(30.0):
            if fd == until_fd:
                running = False
                epoll.unregister(fd)
                continue
            if read(fd, 4096) != b"SUCCESS\n":
                raise Unexpected("not the answer to CHECKPRESENT")
            now = clock()
            latencies.append(now - asked.pop(fd))
            running = running and now < end
            if running:
                asked[fd] = clock()
                write(write_fds[fd], requests[len(latencies) % len(requests)])
    taken = (clock() - start) / 1e9
    epoll.close()
    return Loop(len(latencies), taken, sorted(latency / 1e6 for latency in latencies))


def paced(
    sessions: Sequence[Session], keys: Sequence[bytes], seconds: float, pause: float, until_fd: int | None
) -> Loop:
    """One request at a time on one session after the other, with a pause between: no load of their own."""
    latencies: list[float] = []
    start = time.perf_counter()
    while time.perf_counter() < start + seconds:
        session = sessions[len(latencies) % len(sessions)]
        before = time.perf_counter()
        session.present(keys[len(latencies) % len(keys)])
        latencies.append((time.perf_counter() - before) * 1e3)
        if until_fd is None:
            time.sleep(pause)
        elif select.select([until_fd], [], [], pause)[0]:
            break
    return Loop(len(latencies), time.perf_counter() - start, sorted(latencies))
