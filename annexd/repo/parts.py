"""Everything that one reading of a repository's configuration leads to."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Callable

from annexd.repo.branch import Branch
from annexd.repo.content import ContentLocks
from annexd.repo.disks import Space, is_local
from annexd.repo.git import Git
from annexd.repo.layout import Layout, journal_name
from annexd.repo.modes import Modes
from annexd.repo.objects import Objects
from annexd.repo.pointers import Pointers
from annexd.repo.settings import Settings, find_hooks
from annexd.repo.transfer import Transfers


def boot_seconds() -> float:
    """git-annex's clock for REMOVE-BEFORE on Linux: it goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Clocks:
    """What time it is: of day in nanoseconds, and in seconds since the machine was started."""

    time_ns: Callable[[], int] = time.time_ns
    boot: Callable[[], float] = boot_seconds


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a repository; made anew when its configuration changes."""

    stamp: tuple[object, ...]
    """Of the configuration that was read, see `config_stamp`."""

    settings: Settings
    unserved: str | None
    """Why the repository cannot be served, if that is so."""

    unchangeable: str | None
    """Why it can only be read, if that is so."""

    layout: Layout
    modes: Modes
    objects: Objects
    locks: ContentLocks
    transfers: Transfers
    space: Space
    branch: Branch
    pointers: Pointers | None
    """Without a work tree there are no unlocked files."""

    is_local: bool
    """Is a `stat` as quick as a function call?  See `annexd.repo.disks.is_local`."""


def assemble(git: Git, pointers: Pointers | None, *, fsync: bool, clocks: Clocks) -> Parts:
    """Read the configuration and make of it what it leads to; for a thread."""
    stamp = config_stamp(git)
    settings = Settings.from_git_config(git.config()).with_hooks(find_hooks(git.git_dir))
    layout = Layout(git.git_dir, settings)
    modes = Modes(settings.shared, settings.version)
    annex = layout.annex if os.path.isdir(layout.annex) else layout.git_dir
    return Parts(
        stamp=stamp,
        settings=settings,
        unserved=settings.service_obstacle(),
        unchangeable=settings.write_obstacle(),
        layout=layout,
        modes=modes,
        objects=Objects(layout, modes, fsync),
        locks=ContentLocks(
            layout,
            modes,
            settings.version,
            now=clocks.time_ns,
            unchanged=lambda: config_stamp(git) == stamp,
        ),
        transfers=Transfers(layout, modes, clocks.time_ns),
        space=Space(annex, settings.disk_reserve),
        branch=Branch(git, layout, settings, modes, lambda: clocks.time_ns() / 1e9, durable=fsync),
        pointers=pointers,
        is_local=is_local(annex) and (not os.path.isdir(layout.objects) or is_local(layout.objects)),
    )


def config_stamp(git: Git) -> tuple[object, ...]:
    """
    Changes when the repository's configuration does, or when a hook is put
    into it.  The user's and the machine's own configuration are looked at
    only when the repository is opened.
    """
    names = (b"config", b"config.worktree", b"hooks")
    directories = dict.fromkeys((git.common_dir, git.git_dir))
    return tuple(_stamp(os.path.join(directory, name)) for directory in directories for name in names)


def _stamp(path: bytes) -> object:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def branch_text(git: Git, layout: Layout, name: bytes) -> bytes:
    """A file of the git-annex branch as it is, or will be when the journal has been committed."""
    try:
        with open(os.path.join(layout.journal, journal_name(name)), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return git.branch_file(name) or b""
