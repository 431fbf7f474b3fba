"""A machine of its own, as far as git-annex can tell: home directory, ssh, git-annex of one version."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.support.processes import run, run_code
from tests.support.programs import NEWEST, git_annex_bin, path_with, program

_GIT_SETTINGS = """\
[user]
  name = Somebody
  email = somebody@example.org
[init]
  defaultBranch = main
[gc]
  auto = 0
[safe]
  directory = *
[protocol "file"]
  allow = always
"""


class Machine:
    """
    Where git and git-annex commands run; ``directory`` holds all that they write.

    ``ssh_config`` is the one that its ssh uses (ssh finds its own by the
    password file, not by $HOME).
    """

    def __init__(self, directory: Path, version: str = NEWEST, ssh_config: Path | None = None) -> None:
        self.directory = directory
        self.version = version
        self.prefix: tuple[str, ...] = ()
        """What git and git-annex are run by, from now on."""

        home = directory / "home"
        tools = directory / "tools"
        home.mkdir(parents=True)
        tools.mkdir()
        (home / ".gitconfig").write_text(_GIT_SETTINGS)
        if ssh_config is not None:
            ssh = tools / "ssh"
            ssh.write_text(f'#!/bin/sh\nexec {program("ssh", "openssh-client")} -F "{ssh_config}" "$@"\n')
            ssh.chmod(0o755)
        self.env = {
            "HOME": str(home),
            "PATH": path_with(tools, git_annex_bin(version)),
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "TMPDIR": str(home),
        }

    def git(self, cwd: Path, *argv: str | bytes | Path, seconds: float = 60.0, ok: bool = True) -> bytes:
        return run(*self.prefix, "git", *argv, cwd=cwd, env=self.env, seconds=seconds, ok=ok)

    def annex(self, cwd: Path, *argv: str | bytes | Path, seconds: float = 60.0, ok: bool = True) -> bytes:
        return run(*self.prefix, "git-annex", *argv, cwd=cwd, env=self.env, seconds=seconds, ok=ok)

    def tries(self, cwd: Path, *argv: str | bytes | Path, seconds: float = 60.0) -> tuple[int, bytes]:
        """Run git-annex where either end is right; exit code and output."""
        return run_code(*self.prefix, "git-annex", *argv, cwd=cwd, env=self.env, seconds=seconds)

    def new(self, name: str, *, bare: bool = False, settings: tuple[str, ...] = ()) -> Path:
        """
        A new repository with git-annex in it.

        ``settings`` are ``name=value`` of git config, set before git-annex
        begins, so that what matters at the beginning (tuning) does.
        """
        repo = self.directory / name
        repo.mkdir(parents=True)
        self.git(repo, "init", "-q", *(["--bare"] if bare else []))
        for setting in settings:
            self.git(repo, "config", *setting.split("=", 1))
        self.annex(repo, "init", "-q", repo.name)
        if not bare:
            self.git(repo, "commit", "-q", "--allow-empty", "-m", "begin")
        return repo

    def clone(self, url: str, name: str) -> Path:
        """A clone with git-annex in it; the remote is ``origin``."""
        repo = self.directory / name
        self.git(self.directory, "clone", "-q", url, str(repo))
        self.annex(repo, "init", "-q", name)
        return repo

    def uuid(self, repo: Path) -> bytes:
        return self.git(repo, "config", "annex.uuid").strip()

    def key(self, repo: Path, file: str | bytes) -> bytes:
        return self.annex(repo, "lookupkey", file).strip()

    def set_key(self, repo: Path, key: bytes, content: bytes) -> None:
        """Put content into a repository's object tree, location log and all."""
        source = self.directory / "content"
        source.write_bytes(content)
        self.annex(repo, "setkey", key, source)

    def calc_key(self, repo: Path, content: bytes, backend: str = "SHA256E", suffix: str = "") -> bytes:
        source = self.directory / f"content{suffix}"
        source.write_bytes(content)
        try:
            return self.annex(repo, "calckey", "--backend", backend, source).strip()
        finally:
            source.unlink()

    def holders(self, repo: Path, key: bytes) -> set[bytes]:
        """The UUIDs that the location log (journal included) has for a key."""
        _, said = self.tries(repo, "whereis", "--json", b"--key=" + key)
        documents = [json.loads(line) for line in said.splitlines() if line.startswith(b"{")]
        return {place["uuid"].encode() for document in documents for place in document["whereis"]}

    def files(self, repo: Path, name: str, count: int, content: bytes = b"") -> list[bytes]:
        """Add ``count`` small files in a directory ``name`` and commit them; their keys, in order."""
        directory = repo / name
        directory.mkdir(exist_ok=True)
        for number in range(count):
            (directory / f"{number:06}").write_bytes(b"%s %s %d\n" % (content, name.encode(), number))
        self.annex(repo, "add", "-q", name, seconds=600)
        self.git(repo, "commit", "-q", "-m", f"add {name}")
        said = self.annex(repo, "find", "--anything", "--format=${key}\\n", name)
        return said.split()


def objects(git_dir: Path) -> set[bytes]:
    """The object files (names of key files) of a repository, whatever the layout."""
    found = set()
    for directory, _, names in os.walk(os.fsencode(git_dir) + b"/annex/objects"):
        found |= {name for name in names if name == os.path.basename(directory)}
    return found


def litter(git_dir: Path) -> dict[str, list[str]]:
    """What unfinished or badly finished work leaves in a repository, by kind (only kinds that there are)."""
    annex = git_dir / "annex"
    kinds = {
        "partial": _files(annex / "tmp"),
        "temporary": _files(annex / "othertmp"),
        "transfer": _files(annex / "transfer", without="failed"),
        "journal": _files(annex / "journal"),
        "bad": _files(annex / "bad"),
        "content lock": [f for f in _files(annex / "objects") if f.endswith((".lck", ".rtm", ".rtl"))],
        "git lock": [f for f in _files(git_dir) if f.endswith(".lock")],
    }
    return {kind: files for kind, files in kinds.items() if files}


def _files(directory: Path, without: str = "") -> list[str]:
    found = []
    for where, inside, names in os.walk(directory):
        inside[:] = [name for name in inside if name != without]
        found += [os.path.relpath(os.path.join(where, name), directory) for name in names]
    return sorted(found)
