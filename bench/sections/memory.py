"""What sessions that do nothing cost: in the daemon, and in what waits for each."""

from __future__ import annotations

import time
from typing import Iterator

from bench.client import Session
from bench.processes import memory, tree, tree_memory
from bench.report import Goal, Row
from bench.scene import Scene
from bench.servers import Side, opened

SETTLE_SECONDS = 1.0
MOST_IN_DAEMON_KB = 20.0
MOST_WAITING_KB = 1000.0


def rows(scene: Scene) -> Iterator[Row]:
    theirs = _waiting(scene, scene.theirs)
    if scene.daemon is None:
        ours = _waiting(scene, scene.ours)
        for count in scene.plan.idle_sessions:
            yield Row(
                f"memory.waits.{count}",
                f"{count} idle sessions: PSS of each",
                "kB",
                ours[count],
                theirs[count],
            )
        return
    yield from _daemon_rows(scene, scene.daemon.process.pid, theirs)


def _daemon_rows(scene: Scene, daemon: int, theirs: dict[int, list[float]]) -> Iterator[Row]:
    opened(scene.place, scene.ours).end()
    time.sleep(SETTLE_SECONDS)
    pss, rss = memory(daemon), memory(daemon, "Rss")
    sessions: list[Session] = []
    for count in scene.plan.idle_sessions:
        _open_up_to(scene, scene.ours, sessions, count)
        largest = count == max(scene.plan.idle_sessions)
        grown = [(memory(daemon) - pss) / count]
        waiting = [tree_memory(*(session.process.pid for session in sessions)) / count]
        title = f"{count} idle sessions: "
        yield Row(
            f"memory.daemon.{count}",
            title + "PSS added to the daemon, each",
            "kB",
            grown,
            theirs[count],
            goal=Goal("value", most=MOST_IN_DAEMON_KB) if largest else None,
        )
        yield Row(
            f"memory.daemon.rss.{count}",
            title + "RSS added, each",
            "kB",
            [(memory(daemon, "Rss") - rss) / count],
        )
        yield Row(
            f"memory.waits.{count}",
            title + "PSS of what waits, each",
            "kB",
            waiting,
            theirs[count],
            goal=Goal("value", most=MOST_WAITING_KB) if largest else None,
        )
    yield Row(
        "memory.processes", "  processes of the daemon", "", [len(tree(daemon))], goal=Goal("value", most=1)
    )
    yield Row("memory.base", "RSS of the daemon without sessions", "kB", [rss])
    _end(sessions)


def _waiting(scene: Scene, side: Side) -> dict[int, list[float]]:
    """PSS of a session's processes, by the number of sessions."""
    found: dict[int, list[float]] = {}
    sessions: list[Session] = []
    for count in scene.plan.idle_sessions:
        _open_up_to(scene, side, sessions, count)
        found[count] = [tree_memory(*(session.process.pid for session in sessions)) / count]
    _end(sessions)
    return found


def _open_up_to(scene: Scene, side: Side, sessions: list[Session], count: int) -> None:
    while len(sessions) < count:
        sessions.append(opened(scene.place, side))
    time.sleep(SETTLE_SECONDS)


def _end(sessions: list[Session]) -> None:
    for session in sessions:
        session.hang_up()
    for session in sessions:
        session.reap()
