"""Let several writers work on one git-annex branch, and see what becomes of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from annexd.protocol.keys import Key
from annexd.repo import presence
from annexd.repo.git import Git
from tests.support.branch_hammer import git_dir, run

_UUID = "{0:08d}-1111-4111-8111-111111111111"
_CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def hammer(repository: str, roles: list[str], seconds: float, seed: str, env: dict[str, str]) -> list[str]:
    """One process per role, for so long; then, what the branch has lost, a sentence each."""
    writers = []
    for number, role in enumerate(roles):
        uuid = _UUID.format(number)
        command = [
            sys.executable,
            "-m",
            "tests.support.branch_hammer",
            role,
            repository,
            uuid,
            str(seconds),
            seed,
        ]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=_CHECKOUT,
            env=env,
        )
        writers.append((role, uuid, process))
    problems, expected = [], {}
    for role, uuid, process in writers:
        output, errors = process.communicate()
        if process.returncode:
            problems.append(f"{role} failed: {errors.decode(errors='replace')}")
        else:
            expected[uuid] = json.loads(output)
    merged = run(repository, "git", "annex", "merge", env=env)
    if merged.returncode:
        problems.append(f"git annex merge: {merged.stderr!r}")
    for uuid, done in expected.items():
        problems += _lost(repository, uuid, done)
    fsck = run(repository, "git", "fsck", "--strict", env=env)
    if fsck.returncode:
        problems.append(f"git fsck: {fsck.stderr!r}")
    return problems


def _lost(repository: str, uuid: str, done: dict[str, int]) -> list[str]:
    git = Git(git_dir(repository))
    problems = []
    for name, status in done.items():
        text = git.branch_file(_log_name(name)) or b""
        line = presence.newest(text).get(uuid.encode())
        if line is None or line.status != b"%d" % status:
            problems.append(f"{name}: {uuid} made it {status}, but the branch says {line}")
    return problems


def _log_name(name: str) -> bytes:
    key = Key.parse(os.fsencode(name))
    return key.hash_lower + b"/" + key.file_name + b".log"
