"""A cluster of three nodes on the gateway's own disk."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections import defaultdict
from typing import Callable, Iterator, Sequence

from bench.client import Content, Session
from bench.cluster import Gateway
from bench.load import one_after_the_other
from bench.place import fill
from bench.processes import memory, tree, tree_memory
from bench.report import Goal, Row
from bench.scene import Scene
from bench.servers import Annexd, Daemon, Shell, Side, opened

Result = dict[tuple[str, str], list[float]]

_GOALS = {
    "put": Goal("ratio", least=3),
    "get": Goal("ratio", least=3),
    "check": Goal("ratio", least=4),
    "check limit": None,
    "tiny put": Goal("ratio", least=4),
    "tiny get": Goal("ratio", least=6),
    "tiny remove": None,
    "first put": Goal("ratio", most=0.2),
    "memory": Goal("ratio", most=1 / 8),
    "processes": None,
}
_TITLES = {
    "put": ("PUT", "MB/s"),
    "get": ("GET", "MB/s"),
    "check": ("CHECKPRESENT, one connection", "1/s"),
    "check limit": ("the same echoed by cat: wake-ups alone", "1/s"),
    "tiny put": ("tiny PUT", "1/s"),
    "tiny get": ("tiny GET", "1/s"),
    "tiny remove": ("tiny REMOVE", "1/s"),
    "first put": ("many sessions: the first PUT, median", "ms"),
    "memory": ("many sessions: PSS of the gateway", "MB"),
    "processes": ("many sessions: processes of the gateway", ""),
}


def rows(scene: Scene) -> Iterator[Row]:
    theirs = Shell(scene.theirs.name, Gateway(scene.place, "cluster-a"), scene.place.shell)
    gateway = Gateway(scene.place, "cluster-b")
    daemon = Daemon(scene.place, [], [gateway, *gateway.nodes], "cluster")
    try:
        ours = Annexd(scene.ours.name, gateway, daemon)
        results = _measure(scene, theirs, ours)
    finally:
        daemon.stop()
    for name, (title, unit) in _TITLES.items():
        mine, other = results[ours.name, name], results[theirs.name, name]
        yield Row(
            f"cluster.{name.replace(' ', '.')}", f"cluster: {title}", unit, mine, other, goal=_GOALS[name]
        )


def _measure(scene: Scene, theirs: Side, ours: Annexd) -> Result:
    results: Result = defaultdict(list)
    large = _large(scene)
    try:
        for side in (theirs, ours):
            _cycle(scene, side, large, defaultdict(list))
        for _ in scene.rounds(scene.plan.cluster_rounds):
            for side in (theirs, ours):
                _cycle(scene, side, large, results)
            results[ours.name, "check limit"].append(_echoes(scene, large.key))
        for side in (theirs, ours):
            _many(scene, side, results)
    finally:
        os.close(large.fd)
    return results


def _large(scene: Scene) -> Content:
    path, size = scene.place.directory / "cluster-large", scene.plan.cluster_bytes
    key = b"SHA256E-s%d--%s.bin" % (size, fill(path, size))
    return Content(key, os.open(path, os.O_RDONLY), 0, size)


def _cycle(scene: Scene, side: Side, large: Content, results: Result) -> None:
    scene.place.settle(4 * large.size)
    session = opened(scene.place, side)
    for name, act in (("put", session.put), ("get", session.get)):
        before = time.perf_counter()
        act(large)
        results[side.name, name].append(large.size / 1e6 / (time.perf_counter() - before))
    results[side.name, "check"].append(
        one_after_the_other(session, [large.key] * 20, scene.plan.check_seconds)
    )
    session.remove(large.key)
    for name, do in (
        ("tiny put", session.put),
        ("tiny get", session.get),
        ("tiny remove", lambda content: session.remove(content.key)),
    ):
        results[side.name, name].append(_per_second(do, scene.tiny))
    session.end()


def _echoes(scene: Scene, key: bytes) -> float:
    session = Session(scene.place, ["cat"])
    answer = b"CHECKPRESENT " + key + b"\n"
    try:
        return one_after_the_other(session, [key] * 20, scene.plan.check_seconds, answer)
    finally:
        session.end()


def _per_second(act: Callable[[Content], None], contents: Sequence[Content]) -> float:
    before = time.perf_counter()
    for content in contents:
        act(content)
    return len(contents) / (time.perf_counter() - before)


def _many(scene: Scene, side: Side, results: Result) -> None:
    """All at once: each has its session, and puts one object."""
    sessions = [opened(scene.place, side) for _ in range(scene.plan.cluster_sessions)]
    contents = [scene.tiny[i % len(scene.tiny)] for i in range(len(sessions))]
    taken: list[float] = []
    begin = threading.Barrier(len(sessions))

    def put(session: Session, content: Content) -> None:
        begin.wait()
        before = time.perf_counter()
        session.put(content)
        taken.append((time.perf_counter() - before) * 1e3)

    threads = [threading.Thread(target=put, args=pair) for pair in zip(sessions, contents, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(taken) != len(sessions):
        raise AssertionError(f"{len(sessions) - len(taken)} of the first PUTs failed")
    results[side.name, "first put"].append(statistics.median(taken))
    pids = [pid for session in sessions for pid in tree(session.process.pid)]
    if isinstance(side, Annexd):
        results[side.name, "memory"].append(
            memory(side.daemon.process.pid, "Pss") / 1e3
            + tree_memory(*(s.process.pid for s in sessions)) / 1e3
        )
        results[side.name, "processes"].append(len(tree(side.daemon.process.pid)))
    else:
        results[side.name, "memory"].append(tree_memory(*(s.process.pid for s in sessions)) / 1e3)
        results[side.name, "processes"].append(len(pids))
    for content in contents:
        sessions[0].remove(content.key)
    for session in sessions:
        session.hang_up()
    for session in sessions:
        session.reap()
