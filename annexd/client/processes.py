"""Other programs, without the cost of the module subprocess."""

from __future__ import annotations

import posix

from annexd.client.program import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_READ_BYTES = 65536
_SIGPIPE = 13  # Python does without it, others end by it
_STANDARD_PATH = b"/usr/local/bin:/usr/bin:/bin"


def spawn(argv: Sequence[str], standard: Mapping[int, int | None], also: Sequence[bytes] = ()) -> int:
    """
    The process id of a program from PATH, or from the directories ``also``.

    ``standard`` says which descriptors are its 0, 1 and 2; None is /dev/null,
    and what is not named is as it is here.  Raises :class:`Problem`.
    """
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = []
    for number, fd in standard.items():
        if fd is None:
            actions.append((posix.POSIX_SPAWN_OPEN, number, "/dev/null", posix.O_RDWR, 0))
        else:
            actions.append((posix.POSIX_SPAWN_DUP2, fd, number))
    reason = "it is not installed (not to be found in PATH)"
    for place in (*posix.environ.get(b"PATH", _STANDARD_PATH).split(b":"), *also):
        path = place + b"/" + argv[0].encode()
        try:
            return posix.posix_spawn(
                path, list(argv), posix.environ, file_actions=actions, setsigdef=[_SIGPIPE]
            )
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            reason = f"{error.strerror}"
    raise Problem(f"{argv[0]} cannot be run: {reason}")


class Output:
    """A program that was started, and what it prints; ``said`` is whether what it says on stderr is heard."""

    def __init__(self, *argv: str, said: bool = True) -> None:
        self._reading, writing = posix.pipe()
        try:
            self._process = spawn(argv, {0: None, 1: writing} if said else {0: None, 1: writing, 2: None})
        except Problem:
            posix.close(self._reading)
            raise
        finally:
            posix.close(writing)

    def read(self) -> tuple[int, bytes]:
        """Its exit code, and all that it printed; waits for its end."""
        text = b""
        while data := posix.read(self._reading, _READ_BYTES):
            text += data
        posix.close(self._reading)
        return posix.waitstatus_to_exitcode(posix.waitpid(self._process, 0)[1]), text
