"""A TCP connection's way to a port of this machine, that can be cut and mended."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress

from tests.support.ports import free_port


class Cable:
    """
    What connects to ``port`` gets to the port ``to``.  After `cut` nothing gets through
    any more, and nobody is told; after `refuse` everybody is.
    """

    def __init__(self, to: int) -> None:
        self._to = to
        self.connections = 0
        """How many there were so far."""

        self.port = free_port()
        self._listener = _listening(self.port)
        self._whole = threading.Event()
        self._whole.set()
        self._ends: set[socket.socket] = set()
        self._over = False
        self._lock = threading.Lock()
        self._accept(self._listener)

    def cut(self) -> None:
        """From now on nothing moves, and nothing is lost either."""
        self._whole.clear()

    def refuse(self) -> None:
        """All connections end, and no more are taken."""
        self._close_listener()
        self._hang_up()

    def mend(self) -> None:
        """What was begun before a cut is over, as it would be after a while."""
        self._hang_up()
        if self._listener.fileno() < 0:
            self._listener = _listening(self.port)
            self._accept(self._listener)
        self._whole.set()

    def stop(self) -> None:
        self._over = True
        self._close_listener()
        self._hang_up()
        self._whole.set()

    def _close_listener(self) -> None:
        with suppress(OSError):  # it is closed
            self._listener.shutdown(socket.SHUT_RDWR)  # it would listen while a thread waits for it
        self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        threading.Thread(target=self._take_in, args=(listener,), daemon=True).start()

    def _take_in(self, listener: socket.socket) -> None:
        while not self._over:
            try:
                if not select.select([listener], [], [], 0.2)[0]:
                    continue
                near, _ = listener.accept()
            except (OSError, ValueError):  # it is closed
                return
            self.connections += 1
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with near:
            self._whole.wait()
            try:
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                return
            with far:
                with self._lock:
                    self._ends |= {near, far}
                back = threading.Thread(target=self._copy, args=(far, near), daemon=True)
                back.start()
                self._copy(near, far)
                back.join()
                with self._lock:
                    self._ends -= {near, far}

    def _copy(self, source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                self._whole.wait()
                to.sendall(data)
        with suppress(OSError):
            to.shutdown(socket.SHUT_WR)

    def _hang_up(self) -> None:
        with self._lock:
            for end in self._ends:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


def _listening(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(50)
    return listener
