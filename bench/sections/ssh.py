"""As users have it: through sshd, whose work is the larger part."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Callable, Iterator, Sequence

from bench.client import Content, Session
from bench.load import one_after_the_other
from bench.processes import machine_cpu_seconds
from bench.report import Goal, Row
from bench.scene import Scene
from bench.servers import Side
from bench.sshd import Sshd

Result = dict[tuple[str, str], list[float]]

# "Not slower": a run of git-annex-shell against itself differs by this much.
_NOT_LONGER = Goal("ratio", most=1.05)
_NOT_SLOWER = Goal("ratio", least=0.95)


def rows(scene: Scene) -> Iterator[Row]:
    sshd = Sshd(scene.place, scene.sides, scene.cipher)
    try:
        results: Result = defaultdict(list)
        for side in scene.sides:
            sshd.open_master(side)
        _starts(scene, sshd, results)
        _checks(scene, sshd, results)
        _bodies(scene, sshd, results)
        for side in scene.sides:
            sshd.close_master(side)
    finally:
        sshd.stop()
    theirs, ours = scene.theirs.name, scene.ours.name

    def row(name: str, title: str, unit: str, goal: Goal | None = None) -> Row:
        return Row(f"ssh.{name}", title, unit, results[ours, name], results[theirs, name], goal=goal)

    yield row("start", "ssh: session start, new connection", "ms", _NOT_LONGER)
    yield row("start.master", "ssh: session start, ControlMaster", "ms", _NOT_LONGER)
    yield row("check", "ssh: CHECKPRESENT, one connection", "1/s", Goal("ratio", least=1.3))
    mib = scene.plan.large_bytes >> 20
    yield row("get", f"ssh: GET of {mib} MiB", "MB/s", _NOT_SLOWER)
    yield row("get.cpu", "ssh: whole machine's CPU for it", "s/GB", Goal("ratio", most=0.9))
    yield row("put", f"ssh: PUT of {mib} MiB", "MB/s", Goal("ratio", least=2))
    yield row("put.cpu", "ssh: whole machine's CPU for it", "s/GB")


def _starts(scene: Scene, sshd: Sshd, results: Result) -> None:
    for name, argv_of in (("start", sshd.argv), ("start.master", sshd.master_argv)):
        for side in scene.sides:
            _start(scene, argv_of(side))
        for _ in range(scene.plan.ssh_start_rounds):
            for side in scene.sides:
                results[side.name, name].append(_start(scene, argv_of(side)))


def _start(scene: Scene, argv: Sequence[str]) -> float:
    before = time.perf_counter()
    session = Session(scene.place, argv)
    session.greet()
    session.present(scene.seeds[0].key)
    taken = time.perf_counter() - before
    session.end()
    return taken * 1e3


def _checks(scene: Scene, sshd: Sshd, results: Result) -> None:
    keys = [content.key for content in scene.seeds]
    sessions = {side.name: _opened(scene, sshd, side) for side in scene.sides}
    for _ in range(scene.plan.check_rounds):
        for side in scene.sides:
            rate = one_after_the_other(sessions[side.name], keys, scene.plan.check_seconds)
            results[side.name, "check"].append(rate)
    for session in sessions.values():
        session.end()


def _bodies(scene: Scene, sshd: Sshd, results: Result) -> None:
    for side in scene.sides:
        _put_and_get(scene, sshd, side, defaultdict(list))
    for _ in scene.rounds(scene.plan.large_rounds):
        for side in scene.sides:
            _put_and_get(scene, sshd, side, results)


def _put_and_get(scene: Scene, sshd: Sshd, side: Side, results: Result) -> None:
    session = _opened(scene, sshd, side)
    for name, act in (("put", session.put), ("get", session.get)):
        rate, cpu = _one(scene.large, act)
        results[side.name, name].append(rate)
        results[side.name, f"{name}.cpu"].append(cpu)
    session.remove(scene.large.key)
    session.end()


def _one(content: Content, act: Callable[[Content], None]) -> tuple[float, float]:
    """MB/s, and the whole machine's CPU seconds per GB."""
    cpu_before = machine_cpu_seconds()
    before = time.perf_counter()
    act(content)
    taken = time.perf_counter() - before
    return content.size / 1e6 / taken, (machine_cpu_seconds() - cpu_before) / (content.size / 1e9)


def _opened(scene: Scene, sshd: Sshd, side: Side) -> Session:
    session = Session(scene.place, sshd.argv(side))
    session.greet()
    session.present(scene.seeds[0].key)
    return session
