"""How the git-annex branch gets from one commit to the next."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from typing import Callable

from annexd.errors import Refused
from annexd.repo.claim import Claim
from annexd.repo.git import BRANCH, BranchLocked, Commit, Git
from annexd.repo.layout import Layout
from annexd.repo.modes import Modes, change_mode

_PUSH_SECONDS = 5.0  # git holds a reference for milliseconds
_PUSHES_SECONDS = 60.0  # after each push a large commit, which takes its time, is made anew
_PAUSE_S = 0.02


class Tip:
    """
    The commit that the branch is at.  With ``durable``, a move survives a
    power failure once it has been made; ``clock`` and ``sleep`` are for those
    who have to wait for others.
    """

    def __init__(
        self,
        git: Git,
        layout: Layout,
        modes: Modes,
        durable: bool,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._git = git
        self._layout = layout
        self._modes = modes
        self._durable = durable
        self._clock = clock
        self._sleep = sleep

    def move(self, make: Callable[[bytes | None], Commit | None]) -> bool:
        """
        Move the branch to the commit that ``make`` makes on the one where it
        is, with the journal locked.  A push may move it at any moment, and then all is done again.
        Returns `False` when ``make`` finds that there is nothing to do.
        """
        begin = self._clock()
        while True:
            head = self._git.branch_head()
            commit = make(head)
            if commit is None:
                return False
            try:
                self.settle_objects(commit.object_files)
                self._disown_index()
                if self._moved(commit.name, head):
                    self._settle_branch()
                    return True
                if self._clock() >= begin + _PUSHES_SECONDS:
                    raise Refused("others move the git-annex branch all the time")
            except BranchLocked:
                if self._clock() >= begin + _PUSH_SECONDS:
                    raise
            finally:
                commit.let_go()
            self._sleep(_PAUSE_S)

    def _moved(self, commit: bytes, head: bytes | None) -> bool:
        note, lock = self._layout.branch_claim, os.path.join(self._git.common_dir, BRANCH + b".lock")
        try:
            with Claim(note, lock, self._modes.created_file, self._sleep).on(commit):
                return self._git.move_branch(commit, head)
        except OSError as error:
            raise self._refused(error.filename or note, error) from error

    def _disown_index(self) -> None:
        """
        Tell git-annex that its index no longer is what the branch is.

        It would find out by itself, but a process that has looked at the
        branch already and now waits for the journal would commit its index
        as it is, and repair that with a second commit: what the branch says
        now would be missing in between, and for good if it were killed there.
        """
        try:
            os.unlink(self._layout.index_state)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self._refused(self._layout.index_state, error) from error

    @staticmethod
    def _refused(path: bytes, error: OSError) -> Refused:
        return Refused(f"the location log cannot be kept: {os.fsdecode(path)}: {error.strerror}")

    def settle_objects(self, files: tuple[bytes, ...]) -> None:
        """libgit2 knows neither core.sharedRepository nor one repository's wish for fsync."""
        directories = dict.fromkeys(map(os.path.dirname, files))
        if self._modes.shared is not None:
            for path in files:
                with contextlib.suppress(FileNotFoundError):  # it is in a pack
                    change_mode(path, self._modes.frozen_object)
            for path in directories:
                with contextlib.suppress(FileNotFoundError):
                    change_mode(path, lambda mode: self._modes.directory(mode) | stat.S_ISGID)  # as git does
        if self._durable and files:
            sync(files)
            sync([*directories, os.path.dirname(os.path.dirname(files[0]))])

    def _settle_branch(self) -> None:
        for path in self._git.branch_files():
            self._modes.created_file(path)
            if self._durable:
                sync([path, os.path.dirname(path)])


def sync(paths: Iterable[bytes]) -> None:
    """Onto the disk, whatever of these files and directories is still there."""
    for path in paths:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # git packs objects, and removes the loose ones, when it likes
            continue
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
