"""What sessions that do nothing cost: in the daemon, and in what waits for each."""

from __future__ import annotations

import time
from typing import Iterator

from bench.client import Session
from bench.processes import memory, tree, tree_memory
from bench.report import Goal, Row
from bench.scene import Scene
from bench.servers import Annexd, Daemon, Side, opened

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
    # One of its own: what others have used and given back would hide what sessions take.
    daemon = Daemon(scene.place, [], [scene.ours.repository], "memory")
    try:
        yield from _daemon_rows(scene, Annexd(scene.ours.name, scene.ours.repository, daemon), theirs)
    finally:
        daemon.stop()


def _daemon_rows(scene: Scene, ours: Annexd, theirs: dict[int, list[float]]) -> Iterator[Row]:
    pid = ours.daemon.process.pid
    opened(scene.place, ours).end()
    time.sleep(SETTLE_SECONDS)
    before = memory(pid, "Rss")
    sessions: list[Session] = []
    for count in scene.plan.idle_sessions:
        _open_up_to(scene, ours, sessions, count)
        goals = count == max(scene.plan.idle_sessions)
        grown = [(memory(pid, "Rss") - before) / count]
        waiting = [tree_memory(*(session.process.pid for session in sessions)) / count]
        title = f"{count} idle sessions: "
        in_daemon = Goal("value", most=MOST_IN_DAEMON_KB) if goals else None
        beside = Goal("value", most=MOST_WAITING_KB) if goals else None
        yield Row(
            f"memory.daemon.{count}", title + "RSS added to the daemon, each", "kB", grown, goal=in_daemon
        )
        yield Row(
            f"memory.waits.{count}",
            title + "PSS of what waits, each",
            "kB",
            waiting,
            theirs[count],
            goal=beside,
        )
    yield Row(
        "memory.processes", "  processes of the daemon", "", [len(tree(pid))], goal=Goal("value", most=1)
    )
    yield Row("memory.base", "RSS of the daemon without sessions", "kB", [before])
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
