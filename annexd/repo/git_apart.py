"""
The git side of a repository on a disk that may hang, read by a process apart.

libgit2 reads files while it keeps all other threads of Python from running:
in the daemon, one read that is not answered would stop everything.  Here it
stops one thread, that waits for the process.  Values go through its standard
input and output, pickled: it is our own, and nobody else's.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO, Callable, Concatenate, ParamSpec, TypeVar, cast

from annexd.errors import AnnexdError, Refused
from annexd.repo.git import Commit, Git
from annexd.repo.uniting import Unite, United

P = ParamSpec("P")
T = TypeVar("T")

_GRACE_S = 2.0
"""For the process to end by itself."""

_PR_SET_PDEATHSIG = 1


class GitApart(Git):
    """The process is started when it is used first, and again after `close`."""

    def __init__(self, git_dir: bytes) -> None:
        super().__init__(git_dir)
        self._process: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            _end(process)

    @property
    def bare(self) -> bool:
        return cast(bool, self._get("bare"))

    @property
    def work_tree(self) -> bytes | None:
        return cast("bytes | None", self._get("work_tree"))

    def config(self) -> dict[bytes, bytes]:
        return self._ask(Git.config)

    def refs(self) -> dict[bytes, bytes]:
        return self._ask(Git.refs)

    def branch_head(self) -> bytes | None:
        return self._ask(Git.branch_head)

    def branch_file(self, path: bytes, commit: bytes | None = None) -> bytes | None:
        return self._ask(Git.branch_file, path, commit)

    def tree_of(self, commit: bytes) -> bytes:
        return self._ask(Git.tree_of, commit)

    def content(self, name: bytes) -> bytes:
        return self._ask(Git.content, name)

    def checked_in(self, path: bytes) -> bytes | None:
        return self._ask(Git.checked_in, path)

    def write_commit(self, files: Mapping[bytes, bytes], message: bytes, parent: bytes | None) -> Commit:
        return self._ask(Git.write_commit, files, message, parent)

    def write_merge(
        self, ours: bytes, theirs: bytes, message: bytes, unite: Unite, known: United | None = None
    ) -> Commit:
        return self._ask(Git.write_merge, ours, theirs, message, unite, known)

    def unite_some(
        self, ours: bytes, theirs: bytes, unite: Unite, known: United, enough: Callable[[], bool]
    ) -> tuple[bool, tuple[bytes, ...]]:
        """``enough`` is asked here, and ``known`` grows here, too."""
        send = ("unite_some", (ours, theirs, unite, known))
        result, now_known = self._exchange(send, enough)
        known.update(now_known)
        return cast("tuple[bool, tuple[bytes, ...]]", result)

    def contains(self, commit: bytes, other: bytes) -> bool:
        return self._ask(Git.contains, commit, other)

    def same_tree(self, commit: bytes, other: bytes) -> bool:
        return self._ask(Git.same_tree, commit, other)

    def move_branch(self, commit: bytes, parent: bytes | None) -> bool:
        return self._ask(Git.move_branch, commit, parent)

    # --- there and back --------------------------------------------------------

    def _get(self, name: str) -> object:
        return self._exchange((name, None))

    def _ask(self, method: Callable[Concatenate[Git, P], T], *args: P.args, **_: P.kwargs) -> T:
        return cast(T, self._exchange((method.__name__, args)))

    def _exchange(self, question: tuple[str, object], enough: Callable[[], bool] = lambda: False) -> Any:
        try:
            process = self._process = self._process or _start(self.git_dir)
            assert process.stdin is not None and process.stdout is not None
            _tell(cast(BinaryIO, process.stdin), question)
            while True:
                kind, value = pickle.load(process.stdout)
                if kind != "enough":
                    break
                _tell(cast(BinaryIO, process.stdin), enough())
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            self.close()
            raise Refused(
                f"the git repository {os.fsdecode(self.git_dir)} cannot be used: {error}"
            ) from error
        if kind == "raised":
            raise value
        return value


def _start(git_dir: bytes) -> subprocess.Popen[bytes]:
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    paths = os.pathsep.join([package, *filter(None, sys.path)])
    return subprocess.Popen(
        [os.fsencode(sys.executable), b"-m", b"annexd.repo.git_apart", git_dir],
        cwd="/",
        env={**os.environ, "PYTHONPATH": paths},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # what ends the daemon from a terminal is for the daemon to pass on
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        try:
            if pipe is not None:
                pipe.close()
        except OSError:
            pass
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _tell(stream: BinaryIO, value: object) -> None:
    pickle.dump(value, stream)
    stream.flush()


# --- the process apart ---------------------------------------------------------


def serve(git: Git, questions: BinaryIO, answers: BinaryIO) -> None:
    """Until there are no more ``questions``."""

    def enough() -> bool:
        _tell(answers, ("enough", None))
        return cast(bool, pickle.load(questions))

    while True:
        try:
            name, arguments = pickle.load(questions)
        except EOFError:
            return
        try:
            answer = ("done", _answer(git, name, arguments, enough))
        except AnnexdError as error:
            answer = ("raised", error)
        _tell(answers, answer)


def _answer(git: Git, name: str, arguments: tuple[Any, ...] | None, enough: Callable[[], bool]) -> object:
    if arguments is None:
        return getattr(git, name)
    if name == "unite_some":
        ours, theirs, unite, known = arguments
        return git.unite_some(ours, theirs, unite, known, enough), known
    return getattr(git, name)(*arguments)


def main() -> None:
    """It does not outlive the daemon, whatever it hangs on."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    serve(Git(os.fsencode(sys.argv[1])), sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
