"""
A peer at the other end of a network's helper, as far as git is concerned.

    python git_peer.py ADDRESS

The address says how it behaves: ``serves/PATH`` has the repository at PATH, and
stops at once on CONNECTDONE, as git-annex does; the others are in `ANSWERS`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading

TOKEN = b"t0ken"

ANSWERS = {
    "refuses": b"ERROR read-only; write access denied\n",
    "ends": b"CONNECTDONE 1\n",
    "strange": b"SUCCESS\n",
    "vanishes": b"",
}


def main(address: str) -> int:
    uuid = let_in()
    if not uuid:
        return 0
    word, _, service = sys.stdin.buffer.readline().strip().partition(b" ")
    assert word == b"CONNECT", word
    how, _, path = address.partition("/")
    if how in ANSWERS:
        say(ANSWERS[how])
        return 1
    process = subprocess.Popen(
        [b"git", service.removeprefix(b"git-"), b"/" + path.encode()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    threading.Thread(target=feed, args=(process,), daemon=True).start()
    assert process.stdout is not None
    while data := process.stdout.read1(65536):
        say(b"DATA %d\n" % len(data) + data)
    say(b"CONNECTDONE %d\n" % process.wait())
    return 0


def let_in() -> bytes:
    while line := sys.stdin.buffer.readline():
        word, uuid, token = line.removesuffix(b"\n").split(b" ")
        assert word == b"AUTH", word
        if token == TOKEN:
            say(b"AUTH-SUCCESS 11111111-2222-3333-4444-555555555555\n")
            return uuid
        say(b"AUTH-FAILURE\n")
    return b""


def feed(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    while (line := sys.stdin.buffer.readline()).startswith(b"DATA "):
        try:
            process.stdin.write(sys.stdin.buffer.read(int(line[5:])))
            process.stdin.flush()
        except BrokenPipeError:
            pass
    process.kill()


def say(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    os._exit(main(sys.argv[1]))  # a thread may be reading still
