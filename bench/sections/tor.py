"""
Behind tor, beside git-annex's remotedaemon.  One circuit may be several times
as fast as another, so each round has one of its own, which both sides share.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import defaultdict
from typing import Callable, Iterator, Sequence, TypeVar

from bench.client import Content
from bench.place import Repository
from bench.report import Goal, Row
from bench.scene import Scene
from bench.tor import Service, TorSession, services

Result = dict[tuple[str, str], list[float]]

Thing = TypeVar("Thing")

_FILES, _FILE_BYTES = 100, 1000
_AGAINST = "remotedaemon"
# "Not slower": a run against itself differs by more than this.
_FAST, _SHORT = Goal("ratio", least=0.95), Goal("ratio", most=1.05)


def rows(scene: Scene) -> Iterator[Row]:
    results: Result = defaultdict(list)
    theirs, ours = (Repository(scene.place, name) for name in ("tor-a", "tor-b"))
    with services(scene.place, theirs, ours) as both:
        named = dict(zip((_AGAINST, scene.ours.name), both, strict=True))
        for number in range(scene.plan.tor_rounds):
            sides = list(named.items())
            user = f"{number}-{os.urandom(4).hex()}"
            for _, service in sides:
                service.opened(user).end()
            for name, service in sides if number % 2 else reversed(sides):
                _round(scene, number, name, service, user, results)
    mib = scene.plan.tor_bytes / 1e6
    for what, title, unit, goal in (
        ("connect", "tor: connection and greeting, on a circuit", "ms", None),
        ("check", f"tor: {_FILES} CHECKPRESENT, warm", "ms", _SHORT),
        ("put", f"tor: PUT {mib:g} MB", "MB/s", _FAST),
        ("get", f"tor: GET {mib:g} MB", "MB/s", _FAST),
        ("files.put", f"tor: PUT of {_FILES} files of 1 kB", "ms", _SHORT),
        ("files.get", f"tor: GET of {_FILES} files of 1 kB", "ms", _SHORT),
    ):
        mine, other = results[scene.ours.name, what], results[_AGAINST, what]
        yield Row(f"tor.{what}", title, unit, mine, other, _AGAINST, goal)


def _round(scene: Scene, number: int, name: str, service: Service, user: str, results: Result) -> None:
    large = _contents(scene, f"large-{name}-{number}", 1, scene.plan.tor_bytes)
    files = _contents(scene, f"files-{name}-{number}", _FILES, _FILE_BYTES)
    megabytes = scene.plan.tor_bytes / 1e6

    def measured(what: str, act: Callable[[], None]) -> float:
        before = time.perf_counter()
        act()
        taken = time.perf_counter() - before
        results[name, what].append(taken * 1e3 if what not in ("put", "get") else megabytes / taken)
        return taken

    sessions: list[TorSession] = []
    measured("connect", lambda: sessions.append(service.opened(user)))
    [session] = sessions
    session.present(files[0].key)
    measured("check", lambda: _each([content.key for content in files], session.present))
    measured("files.put", lambda: _each(files, session.put))
    measured("files.get", lambda: _each(files, session.get))
    measured("put", lambda: _each(large, session.put))
    measured("get", lambda: _each(large, session.get))
    session.end()


def _each(things: Sequence[Thing], act: Callable[[Thing], object]) -> None:
    for thing in things:
        act(thing)


def _contents(scene: Scene, name: str, count: int, size: int) -> Sequence[Content]:
    data = os.urandom(count * size)
    path = scene.place.directory / f"tor-{name}"
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    return [
        Content(
            b"SHA256E-s%d--%s.bin" % (size, hashlib.sha256(data[at : at + size]).hexdigest().encode()),
            fd,
            at,
            size,
        )
        for at in range(0, len(data), size)
    ]
