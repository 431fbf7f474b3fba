"""From nothing to the first answer, without ssh in between."""

from __future__ import annotations

import resource
import time
from collections import defaultdict
from typing import Iterator

from bench.client import Session
from bench.report import Row
from bench.scene import Scene
from bench.servers import Shell, Side, wrapper


def rows(scene: Scene) -> Iterator[Row]:
    sides: list[Side] = list(scene.sides)
    installed = wrapper()
    if installed:
        sides.append(Shell("PyPI's wrapper", scene.theirs.repository, installed))
    taken: dict[str, list[float]] = defaultdict(list)
    cpu: dict[str, list[float]] = defaultdict(list)
    for side in sides:
        _start(scene, side)
    for _ in range(scene.plan.start_rounds):
        for side in sides:
            wall_ms, cpu_ms = _start(scene, side)
            taken[side.name].append(wall_ms)
            cpu[side.name].append(cpu_ms)
    theirs, ours = scene.theirs.name, scene.ours.name
    yield Row("start", "session start to first CHECKPRESENT reply", "ms", taken[ours], taken[theirs])
    if installed:
        name = sides[-1].name
        yield Row("start.wrapper", "same, against PyPI's wrapper", "ms", taken[ours], taken[name], name)
    yield Row("start.cpu", "CPU of a session with one CHECKPRESENT", "ms", cpu[ours], cpu[theirs])


def _start(scene: Scene, side: Side) -> tuple[float, float]:
    """Wall until the first answer, CPU of everything until the end; milliseconds."""
    cpu_before = _cpu(side)
    before = time.perf_counter()
    session = Session(scene.place, side.argv())
    session.greet()
    session.present(scene.seeds[0].key)
    wall = time.perf_counter() - before
    session.end()
    return wall * 1e3, (_cpu(side) - cpu_before) * 1e3


def _cpu(side: Side) -> float:
    """The processes of a session are waited for at its end; a daemon goes on."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime + side.cpu_of([])
