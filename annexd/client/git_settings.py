"""What git config says for annexd."""

from __future__ import annotations

from annexd.client.processes import Output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Settings:
    """
    ``annexd.*`` of git config: the repository's in the current directory, and the user's.

    It is read in the background until the first value is asked for.
    """

    def __init__(self) -> None:
        self._output: Output | None = Output(
            "git", "config", "--null", "--get-regexp", r"^annexd\.", said=False
        )
        self._values: Mapping[str, str] = {}

    def get(self, name: str) -> str:
        """The value of ``annexd.NAME``, the last one where there are several; empty where there is none."""
        if self._output is not None:
            _, text = self._output.read()  # the exit code is 1 where there is nothing
            self._output = None
            self._values = values(text)
        return self._values.get(name.lower(), "")


def values(text: bytes) -> dict[str, str]:
    """What ``git config --null`` prints, by the part of the name after the first dot."""
    found = {}
    for item in text.decode("utf-8", "surrogateescape").split("\0"):
        key, _, value = item.partition("\n")
        found[key.partition(".")[2].lower()] = value
    return found


def git_directory() -> str:
    """The directory that all work trees of the repository here share; empty where there is none."""
    code, said = Output("git", "rev-parse", "--git-common-dir", said=False).read()
    return "" if code else said.decode("utf-8", "surrogateescape").removesuffix("\n")
