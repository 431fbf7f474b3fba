"""
What git runs for ``ext::`` remotes: its own protocol inside CONNECT of the P2P
protocol, over whatever command starts a session.

    python git_over_connect.py SERVICE COMMAND [ARGUMENT...]
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import IO


def relay_input(to: IO[bytes]) -> None:
    while data := os.read(0, 1 << 16):
        to.write(b"DATA %d\n" % len(data) + data)


def relay_output(source: IO[bytes]) -> int:
    """git's exit code, as the server gives it."""
    while line := source.readline():
        word, _, number = line.partition(b" ")
        if word == b"CONNECTDONE":
            return int(number)
        assert word == b"DATA", line
        os.write(1, source.read(int(number)))
    return 1


def main(service: str, *argv: str) -> int:
    session = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert session.stdin is not None and session.stdout is not None
    session.stdin.write(b"VERSION 4\nCONNECT %s\n" % service.encode())
    session.stdin.flush()
    for expected in (b"AUTH-SUCCESS ", b"VERSION 4\n"):
        assert session.stdout.readline().startswith(expected)
    unbuffered = os.fdopen(os.dup(session.stdin.fileno()), "wb", buffering=0)
    threading.Thread(target=relay_input, args=(unbuffered,), daemon=True).start()
    return relay_output(session.stdout)


if __name__ == "__main__":
    os._exit(main(*sys.argv[1:]))
