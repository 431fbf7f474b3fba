"""What other sessions feel while one uploads at full speed."""

from __future__ import annotations

import os
import signal
import time
from collections import defaultdict
from contextlib import contextmanager
from typing import Iterator

from bench.client import Content, Session, Unexpected
from bench.load import Loop, paced, side_by_side
from bench.report import Goal, Row
from bench.scene import Scene
from bench.servers import Side, opened

OTHERS = 4
PAUSE_SECONDS = 0.002
Result = dict[tuple[str, str], list[float]]


def rows(scene: Scene) -> Iterator[Row]:
    others = {side.name: [opened(scene.place, side) for _ in range(OTHERS)] for side in scene.sides}
    results: Result = defaultdict(list)
    for _ in scene.rounds(scene.plan.large_rounds):
        for side in scene.sides:
            _one_round(scene, side, others[side.name], results)
    for sessions in others.values():
        for session in sessions:
            session.end()
    for kind, title in (
        ("loop", f"{OTHERS} others asking without pause"),
        ("paced", f"{OTHERS} others asking now and then"),
    ):
        yield from _rows_of(scene, results, kind, title)


def _rows_of(scene: Scene, results: Result, kind: str, title: str) -> Iterator[Row]:
    theirs, ours = scene.theirs.name, scene.ours.name

    def row(name: str, what: str, goal: Goal | None = None, unit: str = "ms") -> Row:
        key = f"{kind} {name}"
        return Row(
            f"latency.{key.replace(' ', '.')}",
            what,
            unit,
            results[ours, key],
            results[theirs, key],
            goal=goal,
        )

    yield row("idle p50", f"{title}: p50")
    yield row("idle p99", "  p99")
    yield row("busy p50", "  p50 during a PUT")
    yield row("busy p99", "  p99 during a PUT")
    yield row("added p99", "  added to p99 by the PUT", Goal("value", most=2.0))
    yield row("put", "  that PUT", unit="MB/s")


def _one_round(scene: Scene, side: Side, others: list[Session], results: Result) -> None:
    keys = [content.key for content in scene.seeds]
    seconds = 2 * scene.plan.check_seconds
    putter = opened(scene.place, side)
    for kind in ("loop", "paced"):

        def load(limit: float, until_fd: int | None, kind: str = kind) -> Loop:
            if kind == "loop":
                return side_by_side(others, keys, limit, until_fd)
            return paced(others, keys, limit, PAUSE_SECONDS, until_fd)

        idle = load(seconds, None)
        with _putting(putter, scene.large) as done_fd:
            before = time.perf_counter()
            busy = load(120.0, done_fd)
            taken = time.perf_counter() - before
        putter.remove(scene.large.key)
        for name, value in (
            ("idle p50", idle.quantile(0.5)),
            ("idle p99", idle.quantile(0.99)),
            ("busy p50", busy.quantile(0.5)),
            ("busy p99", busy.quantile(0.99)),
            ("added p99", busy.quantile(0.99) - idle.quantile(0.99)),
            ("put", scene.plan.large_bytes / 1e6 / taken),
        ):
            results[side.name, f"{kind} {name}"].append(value)
    putter.end()


@contextmanager
def _putting(session: Session, content: Content) -> Iterator[int]:
    """A PUT by another process; the descriptor is readable when it is done."""
    done_fd, report_fd = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            session.put(content)
            os.write(report_fd, b"+")
        finally:
            os._exit(0)
    os.close(report_fd)
    try:
        yield done_fd
        if os.read(done_fd, 1) != b"+":
            raise Unexpected("the PUT failed")
    finally:
        os.close(done_fd)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
