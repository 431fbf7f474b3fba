"""
What git-annex's remotedaemon does for a network of peers, as it was seen to do it.

    python pretend_git_annex.py HELPER ADDRESS SOCKET

It listens at SOCKET, with a queue of two, starts the helper once (with
descriptors of its own open in it), says its process id, sends back to every
connection what comes from there, and ends, without a word to the helper, when
its standard input does.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading


def echo(connection: socket.socket) -> None:
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)


def main(helper: str, address: str, path: str) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(2)
    os.set_inheritable(listener.fileno(), True)
    started = subprocess.Popen([helper, address, path], stdin=subprocess.DEVNULL, close_fds=False)
    print(started.pid, flush=True)

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            print("a session", flush=True)
            threading.Thread(target=echo, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
