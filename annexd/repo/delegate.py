"""
What only git-annex itself can do right, done by an installed git-annex.

It costs the start of a few processes each time, so it is the last resort: for
hashes that no library has, external backends, unlocked files, and commands
that the repository's config asks for.  `setkey` and `dropkey` check content
locks, run those commands, keep unlocked files and the location log up to date
and commit the journal, all as git-annex does it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from typing import BinaryIO, Mapping

from annexd.errors import Refused
from annexd.protocol.keys import Key

_GRACE_S = 5.0
_LONGEST_OUTPUT = 4096
_LONGEST_REASON = 300

# Lines that only say that something failed, after the one that says what.
_NOISE = re.compile(r"\w+: \d+ failed|git-annex: move failed!|HasCallStack backtrace:| +\w+, called at .*")


class GitAnnex:
    """
    An installed git-annex at work on one repository; every method blocks, for
    ``seconds`` at most, and raises `Refused` when it could not be done.

    ``program`` is the path of git-annex; without one it is looked for in PATH
    each time, so that it may be installed any day.  ``work_tree`` is `None`
    for a bare repository.
    """

    def __init__(
        self,
        git_dir: bytes,
        work_tree: bytes | None,
        program: bytes | None = None,
        environ: Mapping[bytes, bytes] = os.environb,
    ) -> None:
        self._git_dir = git_dir
        self._work_tree = work_tree
        self._program = program
        self._environ = environ

    def check(self, purpose: str) -> None:
        """Raise `Refused` when there is no git-annex to do it."""
        self._find(purpose)

    def setkey(self, key: Key, file: bytes, *, verify: bool, seconds: float) -> None:
        """
        Make ``file`` the content of ``key``.  It is moved, and when it turns
        out not to be the content it is deleted, too.  ``verify=False`` is for
        content that has been verified already.  Nothing is synced to disk.
        """
        config = b"annex.verify=true" if verify else b"annex.verify=false"
        self._run(f"store {key}", (b"setkey", b"-c", config, key.raw, os.path.abspath(file)), seconds)

    def dropkey(self, key: Key, *, seconds: float) -> None:
        """
        Remove the content of ``key``, unless it is locked.  Whoever calls it
        must not hold a lock on the content.
        """
        self._run(f"remove {key}", (b"dropkey", b"--force", key.raw), seconds)

    def init(self, *, seconds: float) -> None:
        """Make the repository a git-annex repository."""
        self._run("initialise the repository", (b"init",), seconds)

    def commit(self, *, seconds: float) -> None:
        """Commit what is in the journal."""
        # Any command does that when it ends, and this one does nothing else: it asks for a setting.
        question = (b"config", b"--get", b"annex.securehashesonly")
        self._run("commit to the git-annex branch", question, seconds)

    def _run(self, purpose: str, arguments: tuple[bytes, ...], seconds: float) -> None:
        program = self._find(purpose)
        with tempfile.TemporaryFile() as errors:
            # A file, not a pipe: what git-annex leaves running, such as a
            # shared ssh connection, would keep a pipe open.
            code = self._call((program, arguments[0], b"--quiet", *arguments[1:]), errors, purpose, seconds)
            if code != 0:
                raise Refused(f"git-annex could not {purpose}: {_reason(errors) or f'exit code {code}'}")

    def _find(self, purpose: str) -> bytes:
        places = os.fsdecode(self._environ.get(b"PATH", os.fsencode(os.defpath)))
        program = shutil.which(self._program or b"git-annex", path=places)
        if program is None:
            raise Refused(f"git-annex is not installed on this host; it is needed to {purpose}")
        return program

    def _call(self, command: tuple[bytes, ...], errors: BinaryIO, purpose: str, seconds: float) -> int:
        try:
            process = subprocess.Popen(
                command,
                cwd=self._work_tree or self._git_dir,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,  # no terminal to ask questions on, and one group to kill
            )
        except (OSError, ValueError) as error:
            raise Refused(f"git-annex could not {purpose}: {error}") from error
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Refused(f"git-annex took more than {seconds:g} seconds to {purpose}") from None
        finally:
            if process.returncode is None:
                _end(process)

    def _environment(self) -> dict[bytes, bytes]:
        """
        Ours without what may have leaked from another git.  The repository is
        named: git-annex would otherwise look for one in the directories above
        when this one has vanished, and work on that.
        """
        environment = {name: value for name, value in self._environ.items() if not name.startswith(b"GIT_")}
        environment.update({b"GIT_DIR": self._git_dir, b"GIT_TERMINAL_PROMPT": b"0", b"LC_ALL": b"C.UTF-8"})
        if self._work_tree is not None:
            environment[b"GIT_WORK_TREE"] = self._work_tree
        return environment


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started: first with a word, then without."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
            return


def _reason(errors: BinaryIO) -> str:
    """What a program said, as part of one sentence."""
    errors.seek(0)
    text = errors.read(_LONGEST_OUTPUT).decode("utf-8", "backslashreplace")
    lines = (line for line in text.splitlines() if line.strip() and not _NOISE.fullmatch(line))
    said = "; ".join(line.strip().removeprefix("git-annex: ") for line in lines)
    return "".join(letter if letter.isprintable() else " " for letter in said)[:_LONGEST_REASON]
