"""What the programs here have in common: they say one sentence when they cannot go on."""

from __future__ import annotations

import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Problem(Exception):
    """Said on stderr as one sentence; the exit code is 1."""


def say(program: str, sentence: str) -> None:
    try:
        posix.write(2, f"{program}: {sentence}\n".encode("utf-8", "surrogateescape"))
    except OSError:
        pass  # nobody listens


def start(program: str, act: Callable[[list[str]], int]) -> None:
    """Run ``act`` with the arguments of this process, and end the process with what it returns."""
    from _signal import SIG_DFL, SIGINT, signal  # type: ignore[import-not-found]  # signal imports much

    signal(SIGINT, SIG_DFL)
    _open_standard()
    try:
        code = act(sys.argv[1:])
    except Problem as problem:
        say(program, str(problem))
        code = 1
    except OSError as error:  # none is expected: what can be told better is told where it happens
        say(program, f"{error}")
        code = 1
    posix._exit(code)


def _open_standard() -> None:
    """Whoever called may have closed some; nothing else must come to have these numbers."""
    for fd in (0, 1, 2):
        try:
            posix.fstat(fd)
        except OSError:
            posix.open("/dev/null", posix.O_RDWR)
            posix.set_inheritable(fd, True)
