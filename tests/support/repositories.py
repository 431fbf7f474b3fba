"""Repositories as ``git init`` and ``git annex init`` leave them, made in no time."""

from __future__ import annotations

import os
from collections.abc import Mapping

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock

from annexd.flow.workers import InlineWorkers, Workers
from annexd.repo.local import Repository
from annexd.repo.parts import Clocks

UUID = b"5c3fd9ca-3f1f-4d1c-8c0e-6a9f2b1f0001"

NOW_NS = 1_795_360_000_123_456_789
BOOT_S = 5000.7


class TestClocks:
    """Clocks that a test moves."""

    __test__ = False

    def __init__(self) -> None:
        self.ns = NOW_NS
        self.boot = BOOT_S
        self.clocks = Clocks(lambda: self.ns, lambda: self.boot)

    def advance(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)
        self.boot += seconds


def make_repository(
    path: str, *, bare: bool = True, version: int = 10, config: Mapping[str, str] | None = None
) -> bytes:
    """
    Returns the git directory.  ``config`` maps names with one dot to values;
    no space is kept free unless it says so.
    """
    git_dir = path if bare else os.path.join(path, ".git")
    for directory in ("objects/info", "refs/heads", "annex"):
        os.makedirs(os.path.join(git_dir, directory))
    with open(os.path.join(git_dir, "HEAD"), "w") as head:
        head.write("ref: refs/heads/master\n")
    settings = {
        "core.repositoryformatversion": "0",
        "core.bare": str(bare).lower(),
        "user.name": "Test",
        "user.email": "test@example.com",
        "annex.uuid": UUID.decode(),
        "annex.version": str(version),
        "annex.diskreserve": "0",
        **(config or {}),
    }
    write_config(git_dir, settings)
    return os.fsencode(git_dir)


def write_config(git_dir: str | bytes, settings: Mapping[str, str]) -> None:
    with open(os.path.join(os.fsdecode(git_dir), "config"), "w") as file:
        for name, value in settings.items():
            section, _, variable = name.partition(".")
            file.write(f"[{section}]\n\t{variable} = {value}\n")


async def open_repository(
    git_dir: bytes,
    workers: Workers | None = None,
    clock: IReactorTime | None = None,
    clocks: Clocks | None = None,
    fsync: bool = False,
    program: bytes | None = None,
) -> Repository:
    return await Repository.open(
        git_dir,
        workers=workers or InlineWorkers(),
        clock=clock or Clock(),
        clocks=clocks or Clocks(),
        fsync=fsync,
        program=program,
    )


def files_below(path: bytes) -> set[bytes]:
    """All files, relative to ``path``."""
    return {
        os.path.relpath(os.path.join(directory, name), path)
        for directory, _, names in os.walk(path)
        for name in names
    }
