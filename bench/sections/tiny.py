"""Many tiny objects one after the other: what a request costs besides its bytes."""

from __future__ import annotations

import resource
import time
from collections import defaultdict
from typing import Callable, Iterator, Sequence

from bench.client import Content
from bench.report import Goal, Row
from bench.scene import Scene
from bench.servers import Side, opened

_GOALS = {"put": Goal("ratio", least=3), "get": Goal("ratio", least=2), "remove": Goal("ratio", least=3)}
_TITLES = {"put": "PUT", "get": "GET", "remove": "REMOVE"}
Result = dict[tuple[str, str], list[float]]


def rows(scene: Scene) -> Iterator[Row]:
    results: Result = defaultdict(list)
    for side in scene.all_sides:
        _cycle(scene, side, defaultdict(list))
    for _ in scene.rounds(scene.plan.tiny_rounds):
        for side in scene.all_sides:
            _cycle(scene, side, results)
    theirs, ours = scene.theirs.name, scene.ours.name
    many = len(scene.tiny)
    for verb, title in _TITLES.items():
        yield Row(
            f"tiny.{verb}",
            f"{title} of {many} objects of {scene.plan.tiny_bytes} bytes",
            "1/s",
            results[ours, verb],
            results[theirs, verb],
            goal=_GOALS[verb],
        )
        if scene.synced and verb != "get":
            synced = results[scene.synced.name, verb]
            yield Row(
                f"tiny.{verb}.fsync", f"{title}, annexd with fsync", "1/s", synced, results[theirs, verb]
            )
    yield Row(
        "tiny.end",
        "end of that session, git-annex branch included",
        "ms",
        results[ours, "end"],
        results[theirs, "end"],
    )
    yield Row("tiny.cpu", "CPU of that session", "ms", results[ours, "cpu"], results[theirs, "cpu"])


def _cycle(scene: Scene, side: Side, results: Result) -> None:
    """Everything in, out again, away, in one session."""
    cpu_before = _cpu(side)
    session = opened(scene.place, side)
    results[side.name, "put"].append(_per_second(session.put, scene.tiny))
    results[side.name, "get"].append(_per_second(session.get, scene.tiny))
    results[side.name, "remove"].append(_per_second(lambda content: session.remove(content.key), scene.tiny))
    before = time.perf_counter()
    session.end()
    results[side.name, "end"].append((time.perf_counter() - before) * 1e3)
    results[side.name, "cpu"].append((_cpu(side) - cpu_before) * 1e3)


def _per_second(act: Callable[[Content], None], contents: Sequence[Content]) -> float:
    before = time.perf_counter()
    for content in contents:
        act(content)
    return len(contents) / (time.perf_counter() - before)


def _cpu(side: Side) -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime + side.cpu_of([])
