"""Four gateways, each of which has a node on its own disk, and each other one as a neighbour over ssh."""

from __future__ import annotations

import hashlib
import os
import time
from collections import defaultdict
from typing import Iterator, Sequence

from bench.client import Content, Session
from bench.mesh import Mesh, linked
from bench.report import Goal, Row
from bench.scene import Scene

Result = dict[tuple[str, str], list[float]]

_BYTES = 50_000
_WARM_PUTS = 5
_GOALS = {"setup": None, "start": None, "first": Goal("ratio", most=0.1), "warm": Goal("ratio", most=0.1)}
_TITLES = {
    "setup": "a session with the cluster",
    "start": "the first 50 kB PUT since the start",
    "first": "the first 50 kB PUT of a session",
    "warm": "50 kB PUT",
}


def rows(scene: Scene) -> Iterator[Row]:
    count = scene.plan.mesh_gateways
    theirs = Mesh(scene.place, "mesh-a", count)
    ours = Mesh(scene.place, "mesh-b", count, annexd=True)
    results: Result = defaultdict(list)
    with linked(scene.place, scene.cipher, theirs, ours):
        for number in _rounds(scene):
            contents = _contents(scene, number)
            for name, mesh in ((scene.theirs.name, theirs), (scene.ours.name, ours)):
                mesh.restart()
                _cycle(scene, name, mesh, contents, results)
    for name, title in _TITLES.items():
        mine, other = results[scene.ours.name, name], results[scene.theirs.name, name]
        title = f"mesh of {count} gateways: {title}"
        yield Row(f"mesh.{name}", title, "ms", mine, other, goal=_GOALS[name])


def _rounds(scene: Scene) -> Iterator[int]:
    for number, _ in enumerate(scene.rounds(scene.plan.mesh_rounds)):
        yield number


def _cycle(scene: Scene, name: str, mesh: Mesh, contents: Sequence[Content], results: Result) -> None:
    """To git-annex-shell every session is the first one since the start."""
    first, *others = contents
    if mesh.has_daemons:
        session = _opened(scene, mesh, [])
        results[name, "start"].append(_put(session, mesh, first))
        session.remove(first.key)
        session.end()
    session = _opened(scene, mesh, results[name, "setup"])
    results[name, "first"].append(_put(session, mesh, first))
    if not mesh.has_daemons:
        results[name, "start"].append(results[name, "first"][-1])
    for content in others:
        results[name, "warm"].append(_put(session, mesh, content))
    for content in contents:
        session.remove(content.key)
    session.end()


def _opened(scene: Scene, mesh: Mesh, taken: list[float]) -> Session:
    before = time.perf_counter()
    session = Session(scene.place, mesh.argv())
    session.greet()
    taken.append((time.perf_counter() - before) * 1e3)
    return session


def _put(session: Session, mesh: Mesh, content: Content) -> float:
    before = time.perf_counter()
    session.put(content)
    taken = (time.perf_counter() - before) * 1e3
    if not mesh.nodes <= set(session.answer.split()):
        raise AssertionError(f"not all nodes were reached: {session.answer!r}")
    return taken


def _contents(scene: Scene, number: int) -> Sequence[Content]:
    data = os.urandom(_BYTES * (1 + _WARM_PUTS))
    path = scene.place.directory / f"mesh-{number}"
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    contents = []
    for offset in range(0, len(data), _BYTES):
        digest = hashlib.sha256(data[offset : offset + _BYTES]).hexdigest().encode()
        contents.append(Content(b"SHA256E-s%d--%s.bin" % (_BYTES, digest), fd, offset, _BYTES))
    return contents
