"""The only way to the network for a tor with `HTTPSProxy`: it can be cut, and mended."""

from __future__ import annotations

import socket
import threading

_PIECE = 64 * 1024


class WayOut:
    """Takes CONNECT; ``torrc`` is what leads a tor here."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._is_cut = False
        self._lock = threading.Lock()
        self.torrc = f"HTTPSProxy 127.0.0.1:{self._listener.getsockname()[1]}\n"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """All connections end, and no others can be had."""
        with self._lock:
            self._is_cut = True
            for sock in self._open:
                _shut(sock)

    def mend(self) -> None:
        self._is_cut = False

    def close(self) -> None:
        self.cut()
        _shut(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near:
            head = b""
            while b"\r\n\r\n" not in head:
                data = near.recv(_PIECE)
                if not data:
                    return
                head += data
            host, _, port = head.split()[1].decode().rpartition(":")
            if self._is_cut:
                return
            try:
                far = socket.create_connection((host, int(port)))
            except OSError:
                return
            with far:
                with self._lock:
                    if self._is_cut:
                        return
                    self._open |= {near, far}
                near.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
                back = threading.Thread(target=_pass_on, args=(far, near), daemon=True)
                back.start()
                _pass_on(near, far)
                back.join()
                with self._lock:
                    self._open -= {near, far}


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(_PIECE):
            sink.sendall(data)
    except OSError:
        pass
    _shut(source)
    _shut(sink)


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # the other end was faster
