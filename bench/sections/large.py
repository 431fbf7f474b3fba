"""One large object in and out, and what the disk and the hash alone would allow."""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import time
from collections import defaultdict
from typing import Callable, Iterator

from bench.client import PIPE_BYTES, Content, Session
from bench.report import Goal, Row
from bench.scene import Scene
from bench.servers import Side, opened

_MEMORY, _PIPE = "sha256 and write alone", "the same out of a pipe"
Result = dict[tuple[str, str], list[float]]


def rows(scene: Scene) -> Iterator[Row]:
    results: Result = defaultdict(list)
    for side in scene.all_sides:
        _cycle(scene, side, defaultdict(list))
    for _ in scene.rounds(scene.plan.large_rounds):
        # Memory that a virtual machine has given back is slow when it is used again.
        _limit(scene, _from_memory)
        results[_PIPE, "put"].append(_limit(scene, _from_pipe))
        for side in scene.all_sides:
            results[_MEMORY, "put"].append(_limit(scene, _from_memory))
            _cycle(scene, side, results)
    yield from _put_rows(scene, results)
    theirs, ours = scene.theirs.name, scene.ours.name
    mib = scene.plan.large_bytes >> 20
    gets, theirs_gets = results[ours, "get"], results[theirs, "get"]
    yield Row("large.get", f"GET of {mib} MiB", "MB/s", gets, theirs_gets, goal=Goal("ratio", least=3))
    yield Row(
        "large.get.copied",
        "GET, copied out by the client",
        "MB/s",
        results[ours, "copied"],
        results[theirs, "copied"],
    )
    yield Row("large.get.cpu", "CPU of GET", "s/GB", results[ours, "get cpu"], results[theirs, "get cpu"])


def _put_rows(scene: Scene, results: Result) -> Iterator[Row]:
    theirs, ours = scene.theirs.name, scene.ours.name
    mib = scene.plan.large_bytes >> 20
    puts, theirs_puts = results[ours, "put"], results[theirs, "put"]
    yield Row("large.put", f"PUT of {mib} MiB", "MB/s", puts, theirs_puts, goal=Goal("ratio", least=2))
    limit = results[_MEMORY, "put"]
    yield Row("large.put.limit", "PUT, against", "MB/s", puts, limit, _MEMORY, Goal("ratio", least=0.8))
    yield Row("large.put.pipe", "PUT, against", "MB/s", puts, results[_PIPE, "put"], _PIPE)
    if scene.synced:
        synced = results[scene.synced.name, "put"]
        yield Row("large.put.fsync", "PUT, annexd with fsync", "MB/s", synced, theirs_puts)
    yield Row("large.put.cpu", "CPU of PUT", "s/GB", results[ours, "put cpu"], results[theirs, "put cpu"])


def _cycle(scene: Scene, side: Side, results: Result) -> None:
    session = opened(scene.place, side)
    buffer = bytearray(PIPE_BYTES)
    content = scene.large
    for name, act in (
        ("put", session.put),
        ("get", session.get),
        ("copied", lambda wanted: session.get_copying(wanted, buffer)),
    ):
        rate, cpu = _one(side, session, content, act)
        results[side.name, name].append(rate)
        results[side.name, f"{name} cpu"].append(cpu)
    session.remove(content.key)
    session.end()


def _one(
    side: Side, session: Session, content: Content, act: Callable[[Content], None]
) -> tuple[float, float]:
    """MB/s and CPU seconds per GB."""
    cpu_before = side.cpu_of([session])
    before = time.perf_counter()
    act(content)
    taken = time.perf_counter() - before
    return content.size / 1e6 / taken, (side.cpu_of([session]) - cpu_before) / (content.size / 1e9)


def _limit(scene: Scene, act: Callable[[Content, int], tuple[str, float]]) -> float:
    """MB/s of one thread that only hashes and writes, to a new file on the same disk, without fsync."""
    path = scene.place.directory / "limit"
    content = scene.large
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        digest, taken = act(content, fd)
    finally:
        os.close(fd)
        path.unlink()
    assert digest.encode() in content.key
    return content.size / 1e6 / taken


def _from_memory(content: Content, fd: int) -> tuple[str, float]:
    digest = hashlib.sha256()
    populated = mmap.MAP_SHARED | mmap.MAP_POPULATE
    with mmap.mmap(content.fd, content.size, populated, mmap.PROT_READ) as source, memoryview(source) as view:
        before = time.perf_counter()
        for offset in range(0, content.size, PIPE_BYTES):
            with view[offset : offset + PIPE_BYTES] as part:
                digest.update(part)
                os.write(fd, part)
        return digest.hexdigest(), time.perf_counter() - before


def _from_pipe(content: Content, fd: int) -> tuple[str, float]:
    """The bytes come as they come to a server: out of a pipe that another process fills."""
    before = time.perf_counter()
    read_fd, write_fd = os.pipe()
    fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    feeder = os.fork()
    if not feeder:
        try:
            for offset in range(0, content.size, PIPE_BYTES):
                end = min(offset + PIPE_BYTES, content.size)
                while offset < end:
                    offset += os.splice(content.fd, write_fd, end - offset, offset_src=offset)
        finally:
            os._exit(0)
    os.close(write_fd)
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(PIPE_BYTES))
    try:
        while taken := os.readv(read_fd, [buffer]):
            digest.update(buffer[:taken])
            os.write(fd, buffer[:taken])
    finally:
        os.close(read_fd)
        os.waitpid(feeder, 0)
    return digest.hexdigest(), time.perf_counter() - before
