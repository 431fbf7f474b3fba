"""What a git-annex-shell is told: all that comes in on its stdin is kept, a file for each session."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = """\
#!/bin/sh
pipe=$(mktemp -u "{directory}/pipe.XXXXXX")
mkfifo "$pipe"
exec 3<&0
tee "$pipe" <&3 >"{directory}/session.$$" 2>/dev/null &
exec 3<&- <"$pipe"
rm "$pipe"
{environment} exec {shell} -c "$SSH_ORIGINAL_COMMAND"
"""


@dataclass(frozen=True)
class Upload:
    """How often a key was offered by PUT, and how much came with that."""

    offers: int = 0
    bytes: int = 0


class Tap:
    """``command`` is the forced command that leads through it to ``shell``."""

    def __init__(self, directory: Path, shell: Path, environment: Mapping[str, str]) -> None:
        directory.mkdir()
        self._directory = directory
        words = " ".join(f"{name}={value}" for name, value in environment.items())
        script = directory / "script"
        script.write_text(
            _SCRIPT.format(directory=directory, environment=f"export {words};" if words else "", shell=shell)
        )
        self.command = f"sh {script}"

    def upload(self, key: bytes) -> Upload:
        offers, taken, of_it = 0, 0, False
        for line, size in self._said():
            if line.startswith(b"PUT ") and line.endswith(b" " + key):
                offers, of_it = offers + 1, True
            elif line.startswith(b"DATA ") and of_it:
                taken, of_it = taken + size, False
            else:
                of_it = False
        return Upload(offers, taken)

    def asked(self, verb: bytes, key: bytes) -> int:
        """How often it was asked something about a key."""
        return sum(line.startswith(verb + b" ") and line.endswith(b" " + key) for line, _ in self._said())

    def _said(self) -> Iterator[tuple[bytes, int]]:
        """Each line, and how many bytes of content came after it."""
        for file in sorted(self._directory.glob("session.*")):
            data = file.read_bytes()
            while data:
                line, _, data = data.partition(b"\n")
                announced = re.fullmatch(rb"DATA (\d+)", line)
                size = min(int(announced[1]), len(data)) if announced else 0
                data = data[size:]
                yield line, size
