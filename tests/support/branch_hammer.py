"""
Several writers of one location log, each for a UUID of its own, at the same
time; run as ``python -m tests.support.branch_hammer ROLE REPO UUID SECONDS SEED``.

A writer prints what it made of each key, as JSON, when its time is over: key
name -> status.  Whatever the others do, the log must say the same at the end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from typing import Callable

from annexd.protocol.keys import Key
from annexd.repo.branch import Branch
from annexd.repo.git import Git
from annexd.repo.layout import Layout
from annexd.repo.modes import Modes
from annexd.repo.settings import Settings

KEYS = 200

_STALE_S = 2.0

Done = dict[str, int]


def key(number: int) -> str:
    return f"WORM-s{number}--hammered {number}"


def git_dir(repository: str) -> bytes:
    inner = os.path.join(repository, ".git")
    return os.fsencode(inner if os.path.isdir(inner) else repository)


def open_branch(repository: str, uuid: str | None = None, *, durable: bool = False) -> Branch:
    where = git_dir(repository)
    git = Git(where)
    settings = Settings.from_git_config(git.config())
    if uuid is not None:
        settings = dataclasses.replace(settings, uuid=os.fsencode(uuid))
    modes = Modes(settings.shared, settings.version)
    return Branch(git, Layout(where, settings), settings, modes, durable=durable)


def run(
    repository: str, *command: str, check: bool = False, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(command, cwd=repository, env=env, capture_output=True, stdin=subprocess.DEVNULL)
    if check and done.returncode:
        raise RuntimeError(f"{command} in {repository}: {done.stderr.decode(errors='replace')}")
    return done


def write_by_annexd(repository: str, uuid: str, more: Callable[[], bool], random_: random.Random) -> Done:
    branch, done = open_branch(repository, uuid), Done()
    while more():
        for _ in range(random_.randrange(1, 20)):
            number = random_.randrange(KEYS)
            present = random_.random() < 0.7
            branch.record(Key.parse(os.fsencode(key(number))), present)
            done[key(number)] = int(present)
        branch.commit()
        time.sleep(random_.random() * 0.05)
    return done


def write_by_git_annex(repository: str, uuid: str, more: Callable[[], bool], random_: random.Random) -> Done:
    done = Done()
    while more():
        for _ in range(random_.randrange(1, 10)):
            name, status = key(random_.randrange(KEYS)), random_.randrange(2)
            run(repository, "git", "annex", "setpresentkey", name, uuid, str(status), check=True)
            done[name] = status
        merge(repository)
    return done


def merge(repository: str) -> None:
    """It fails where git has to wait for more than 100 ms for a reference that others are moving."""
    for _ in range(5):
        if run(repository, "git", "annex", "merge").returncode == 0:
            return
    run(repository, "git", "annex", "merge", check=True)


def push_from_clone(repository: str, uuid: str, more: Callable[[], bool], random_: random.Random) -> Done:
    """In a clone: make changes, merge what the repository has, and push the git-annex branch to it."""
    clone = f"{repository}.clone-{uuid}"
    run(".", "git", "clone", "-q", repository, clone, check=True)
    for name, value in (("user.name", "C"), ("user.email", "c@example.com"), ("annex.synccontent", "false")):
        run(clone, "git", "config", name, value, check=True)
    run(clone, "git", "annex", "init", "clone", check=True)
    done = Done()
    while more():
        for _ in range(random_.randrange(1, 4)):
            number, status = random_.randrange(KEYS), random_.randrange(2)
            run(clone, "git", "annex", "setpresentkey", key(number), uuid, str(status), check=True)
            done[key(number)] = status
        push(clone)
    for _ in range(20):
        if push(clone):
            break
    else:
        raise RuntimeError("the last push was refused 20 times")
    return done


def push(clone: str) -> bool:
    run(clone, "git", "fetch", "-q", "origin")
    merge(clone)
    return run(clone, "git", "push", "-q", "origin", "git-annex").returncode == 0


def disturb(repository: str, uuid: str, more: Callable[[], bool], random_: random.Random) -> Done:
    """What else goes on in a repository."""
    chores: list[tuple[str, ...]] = [
        ("git", "gc", "-q"),
        ("git", "repack", "-a", "-d", "-q"),
        ("git", "pack-refs", "--all"),
        ("git", "annex", "merge"),
        ("git", "annex", "fsck", "--fast", "--quiet"),
        ("git", "annex", "sync", "--no-push", "--no-pull"),
        ("git", "annex", "info", "--fast"),
    ]
    count = 0
    while more():
        run(repository, *random_.choice(chores))
        count += 1
        if os.path.isdir(os.path.join(repository, ".git")):
            name = f"file {count}"
            with open(os.path.join(repository, name), "w") as file:
                file.write(name)
            run(repository, "git", "annex", "add", "-q", name)
            if count % 2:
                run(repository, "git", "annex", "drop", "--force", "-q", name)
    return {}


def die(repository: str, uuid: str, more: Callable[[], bool], random_: random.Random) -> Done:
    """
    A git-annex that is killed in the middle of whatever it does, and its git children with it.

    A ``git update-index`` that outlives it has annex/index.lock while the next git-annex writes its own
    index; that one does not look at how its ``git update-index`` ended, and deletes from the journal what
    never got into a commit: git-annex alone loses entries so.
    """
    while more():
        name = key(random_.randrange(KEYS))
        run(repository, "git", "annex", "setpresentkey", name, uuid, str(random_.randrange(2)))
        process = subprocess.Popen(
            ["git-annex", "merge"],
            cwd=repository,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(random_.random() * 0.3)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        clear(os.path.join(git_dir(repository), b"refs/heads/git-annex.lock"))
    return {}


def clear(lock: bytes) -> None:
    """
    What a git that was killed has left, and git asks its user to remove: nobody
    moves a reference for so long.
    """
    with contextlib.suppress(FileNotFoundError):
        before = os.stat(lock)
        time.sleep(_STALE_S)
        after = os.stat(lock)
        if (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns):
            os.unlink(lock)


ROLES = {
    "dying": die,
    "annexd": write_by_annexd,
    "git-annex": write_by_git_annex,
    "clone": push_from_clone,
    "chores": disturb,
}


def main(role: str, repository: str, uuid: str, seconds: str, seed: str) -> None:
    end = time.monotonic() + float(seconds)
    done = ROLES[role](repository, uuid, lambda: time.monotonic() < end, random.Random(f"{seed} {uuid}"))
    json.dump(done, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
