"""A repository with a git-annex branch, made without any program."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

import pygit2

from annexd.repo.branch import Branch
from annexd.repo.git import Git
from annexd.repo.layout import Layout
from annexd.repo.modes import Modes
from annexd.repo.settings import Settings

UUID = b"06d53aef-c0de-4aa6-a707-2070d3f1400b"
OTHER = b"11111111-1111-4111-8111-111111111111"


class Scene:
    """``path`` is where the (bare) repository is made."""

    def __init__(self, path: str, config: Mapping[str, str] | None = None) -> None:
        self.path = os.path.abspath(path)
        self.repository = pygit2.init_repository(self.path, bare=True)
        settings = {"user.name": "T", "user.email": "t@example.com", "annex.uuid": UUID.decode()}
        for name, value in {**settings, "annex.version": "10", **(config or {})}.items():
            self.repository.config[name] = value
        os.mkdir(os.path.join(self.path, "annex"))
        self.git_dir = os.fsencode(self.path)
        self.git = Git(self.git_dir)
        self.settings = Settings.from_git_config(self.git.config())
        self.layout = Layout(self.git_dir, self.settings)
        self.now = 1000.5
        self.ticks = 0.0

    def branch(self, *, durable: bool = False, **changes: object) -> Branch:
        settings = dataclasses.replace(self.settings, **changes)  # type: ignore[arg-type]
        return Branch(
            self.git,
            Layout(self.git_dir, settings),
            settings,
            Modes(settings.shared, settings.version),
            lambda: self.now,
            durable=durable,
            clock=lambda: self.ticks,
            sleep=self._sleep,
        )

    def _sleep(self, seconds: float) -> None:
        self.ticks += seconds

    def put(self, files: Mapping[bytes, bytes]) -> bytes:
        """Commit these files to the branch, as somebody else would."""
        git = Git(self.git_dir)
        head = git.branch_head()
        commit = git.write_commit(files, b"elsewhere", head)
        assert git.move_branch(commit.name, head)
        return commit.name

    def journal(self, private: bool = False) -> dict[bytes, bytes]:
        directory = self.layout.journal_private if private else self.layout.journal
        found = {}
        for name in os.listdir(directory) if os.path.isdir(directory) else []:
            with open(os.path.join(directory, name), "rb") as file:
                found[name] = file.read()
        return found

    def put_in_journal(self, name: bytes, content: bytes, private: bool = False) -> None:
        directory = self.layout.journal_private if private else self.layout.journal
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, name), "wb") as file:
            file.write(content)

    def history(self) -> list[str]:
        head = self.git.branch_head()
        if head is None:
            return []
        return [commit.message for commit in self.repository.walk(head.decode("ascii"))]
