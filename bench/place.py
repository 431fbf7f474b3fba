"""Where a run takes place: a directory, its repositories, the content, and what is cleaned up after it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Mapping

from bench.processes import Processes


class Missing(Exception):
    """A program, or space, without which there is nothing to measure."""


class Place:
    """A temporary directory on the disk that is measured; a context manager that removes it."""

    def __init__(self, above: str | None, needs_bytes: int) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="annexd-bench-", dir=above))
        self.processes = Processes()
        self._ready = 0
        self.null = os.open(os.devnull, os.O_WRONLY)
        self.errors = os.open(self.directory / "stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        free = shutil.disk_usage(self.directory).free
        if free < needs_bytes:
            self.close()
            raise Missing(
                f"{self.directory.parent} has {free >> 20} MiB free; this run needs {needs_bytes >> 20}"
            )
        self.programs = self.directory / "bin"
        self.programs.mkdir()
        self.elf = _git_annex()
        for name in ("git-annex", "git-annex-shell"):
            (self.programs / name).symlink_to(self.elf)
        self.environment = self._environment()

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.processes.stop_all()
        os.close(self.null)
        os.close(self.errors)
        subprocess.run(["chmod", "-R", "u+w", str(self.directory)], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def shell(self) -> str:
        """git-annex-shell itself, without the start-up of a wrapper."""
        return str(self.programs / "git-annex-shell")

    def run(self, *argv: str, cwd: Path | None = None) -> str:
        """A short command of the set-up; its output."""
        done = subprocess.run(
            argv,
            cwd=cwd,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            timeout=60,
            check=True,
        )
        return done.stdout.decode().strip()

    def settle(self, size: int) -> None:
        """
        Before something is measured that writes ``size`` bytes, whoever it is
        that does: the disk has all that was left to it, and there is memory
        for as much.
        """
        if size > self._ready:
            self._ready = size
            self._have_memory_ready(size)
        os.sync()

    def _have_memory_ready(self, size: int) -> None:
        """
        A virtual machine gives large blocks of free memory back to its host,
        and gets them again only slowly, page by page.  What is free between
        things that are used is too small for that: so two files are written
        by turns, and one of them stays.
        """
        block = bytes(1 << 20)
        stays, goes = self.directory / "stays", self.directory / "goes"
        with open(stays, "wb", buffering=0) as one, open(goes, "wb", buffering=0) as other:
            for _ in range(size >> 20):
                one.write(block)
                other.write(block)
        os.sync()
        goes.unlink()

    def said(self) -> str:
        """The last that any server said on stderr."""
        return "\n".join((self.directory / "stderr").read_text(errors="replace").splitlines()[-15:])

    def _environment(self) -> Mapping[str, str]:
        home = self.directory / "home"
        home.mkdir()
        (home / ".gitconfig").write_text("[user]\n\tname = bench\n\temail = bench@localhost\n")
        return {
            "PATH": f"{self.programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "HOME": str(home),
            "LANG": "C.UTF-8",
        }


class Repository:
    """A bare repository, as servers have it."""

    def __init__(self, place: Place, name: str) -> None:
        self.path = place.directory / f"{name}.git"
        place.run("git", "init", "--quiet", "--bare", str(self.path))
        place.run("git", "config", "user.name", "bench", cwd=self.path)
        place.run("git", "config", "user.email", "bench@localhost", cwd=self.path)
        place.run("git-annex", "init", "--quiet", name, cwd=self.path)
        self.uuid = place.run("git", "config", "annex.uuid", cwd=self.path)

    @property
    def command(self) -> str:
        """What a stock client asks its ssh to run."""
        return f"git-annex-shell 'p2pstdio' '{self.path}' '{CLIENT_UUID}' --uuid {self.uuid}"


CLIENT_UUID = "5f1c7e2a-0000-4000-8000-000000000001"


def _git_annex() -> Path:
    """The program itself: what PyPI installs in PATH is a wrapper in Python that costs 20 ms."""
    try:
        import git_annex  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        found = shutil.which("git-annex")
    else:
        found = str(Path(git_annex.__file__).with_name("git-annex"))
    if found is None:
        raise Missing("git-annex is not installed: there is nothing to compare with")
    program = Path(found).resolve()
    with open(program, "rb") as start:
        if start.read(4) != b"\x7fELF":
            raise Missing(f"{program} is not git-annex itself but a wrapper; install git-annex from PyPI")
    return program


def fill(path: Path, size: int) -> bytes:
    """A file of incompressible bytes, in the page cache; its SHA256."""
    block = os.urandom(1 << 20)
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for number in range(0, size, len(block)):
            part = (b"%020d" % number + block[20:])[: size - number]
            digest.update(part)
            file.write(part)
    return digest.hexdigest().encode()
