"""Two unix sockets with a connection between them that can be cut."""

from __future__ import annotations

import contextlib
import os
import socket
import threading

_PIECE = 64 * 1024


class Cut:
    """
    Who connects to ``path`` gets to ``there``, until `cut`; from then on to
    nobody, until `mend`.
    """

    def __init__(self, path: str, there: str) -> None:
        self._there = there
        self._path = path
        self._open: list[socket.socket] = []
        self._listener = self._listen()

    def cut(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        os.unlink(self._path)
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self._open.clear()

    def mend(self) -> None:
        self._listener = self._listen()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.cut()

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self._path)
        listener.listen()
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._there)
            self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_PIECE):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
