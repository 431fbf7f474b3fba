"""CHECKPRESENT: one connection, ten connections; the small question that clients ask most."""

from __future__ import annotations

from collections import defaultdict
from typing import Iterator

from bench.load import one_after_the_other, side_by_side
from bench.report import Goal, Row
from bench.scene import Scene
from bench.servers import opened

CONNECTIONS = 10


def rows(scene: Scene) -> Iterator[Row]:
    plan = scene.plan
    keys = [content.key for content in scene.seeds]
    missing = [b"SHA256E-s%d--%064d.bin" % (number, number) for number in range(1, 501)]
    sessions = {side.name: [opened(scene.place, side) for _ in range(CONNECTIONS)] for side in scene.sides}
    one: dict[str, list[float]] = defaultdict(list)
    absent: dict[str, list[float]] = defaultdict(list)
    ten: dict[str, list[float]] = defaultdict(list)
    per_cpu: dict[str, list[float]] = defaultdict(list)
    for side in scene.sides:
        one_after_the_other(sessions[side.name][0], keys, plan.check_seconds)
    for _ in range(plan.check_rounds):
        for side in scene.sides:
            many = sessions[side.name]
            one[side.name].append(one_after_the_other(many[0], keys, plan.check_seconds))
        for side in scene.sides:
            many = sessions[side.name]
            absent[side.name].append(one_after_the_other(many[0], missing, plan.check_seconds, b"FAILURE\n"))
        for side in scene.sides:
            many = sessions[side.name]
            before = side.cpu_of(many)
            loop = side_by_side(many, keys, 2 * plan.check_seconds)
            per_cpu[side.name].append(loop.requests / (side.cpu_of(many) - before))
            ten[side.name].append(loop.per_second)
    for many in sessions.values():
        for session in many:
            session.end()
    theirs, ours = scene.theirs.name, scene.ours.name
    yield Row(
        "check", "CHECKPRESENT, one connection", "1/s", one[ours], one[theirs], goal=Goal("ratio", least=2)
    )
    yield Row(
        "check.absent", "CHECKPRESENT of absent keys, one connection", "1/s", absent[ours], absent[theirs]
    )
    yield Row("check.ten", "CHECKPRESENT, 10 connections", "1/s", ten[ours], ten[theirs])
    yield Row(
        "check.ten.cpu",
        "CHECKPRESENT, 10 connections, per server CPU second",
        "1/cpu s",
        per_cpu[ours],
        per_cpu[theirs],
        goal=Goal("ratio", least=3),
    )
