"""A network of its own for a program, with one link to it that can be cut; for root."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from tests.support.processes import run, run_code
from tests.support.programs import SYSTEM_PATH, program

_ENV = {"PATH": SYSTEM_PATH}


class Namespace:
    """
    ``address`` is that of the inside, ``prefix`` what to put before a command
    to run it there.  `close` removes it all.
    """

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise AssertionError("this test makes a network namespace: run it as root")
        # Nobody else's: 198.18.0.0/15 is for measurements, and four addresses of it are enough.
        token = secrets.randbelow(1 << 15)
        base = (198 << 24 | 18 << 16) + 4 * token
        outside, self.address = (_dotted(base + last) for last in (1, 2))
        self.name = f"annexd{token}"
        self._outer, self._inner = f"ann{token}o", f"ann{token}i"
        ip = program("ip", "iproute2")
        self.prefix = (ip, "netns", "exec", self.name)
        self._ip("netns", "add", self.name)
        self._ip("link", "add", self._outer, "type", "veth", "peer", self._inner, "netns", self.name)
        self._ip("address", "add", f"{outside}/30", "dev", self._outer)
        self._ip("link", "set", self._outer, "up")
        self._inside("address", "add", f"{self.address}/30", "dev", self._inner)
        self.restore()

    def cut(self) -> None:
        """Nothing arrives any more, and nobody is told."""
        self._inside("link", "set", self._inner, "down")

    def restore(self) -> None:
        self._inside("link", "set", self._inner, "up")

    def close(self) -> None:
        for words in (("link", "delete", self._outer), ("netns", "delete", self.name)):
            run_code(self.prefix[0], *words, cwd=Path("/"), env=_ENV)

    def _ip(self, *words: str) -> None:
        run(self.prefix[0], *words, cwd=Path("/"), env=_ENV)

    def _inside(self, *words: str) -> None:
        run(*self.prefix, self.prefix[0], *words, cwd=Path("/"), env=_ENV)


def _dotted(address: int) -> str:
    return ".".join(str(address >> shift & 255) for shift in (24, 16, 8, 0))
