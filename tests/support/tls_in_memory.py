"""A small TLS server of the standard library, for what runs on the other side of a connection."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

Session = Callable[[ssl.SSLSocket], None]

_SECONDS = 60.0


class TlsPeer:
    """
    Each connection is served in a thread by ``serve``, and closed after it.

    What went wrong with connections is in ``failures``, in the order of their ends.
    """

    def __init__(self, certificate: Path, serve: Session, host: str = "127.0.0.1") -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)
        self.context.sni_callback = self._note_name
        self.names: list[str | None] = []
        self.failures: list[OSError] = []
        self._serve = serve
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def stop(self) -> None:
        """No more connections; waits for the sessions."""
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it was stopped already
        self._listener.close()
        for thread in self._threads:
            thread.join(_SECONDS)
            if thread.is_alive():
                raise AssertionError("a session of the test's server does not end")

    def _note_name(self, _: object, name: str | None, __: object) -> None:
        self.names.append(name)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            session = threading.Thread(target=self._session, args=(connection,), daemon=True)
            self._threads.append(session)
            session.start()

    def _session(self, connection: socket.socket) -> None:
        connection.settimeout(_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with connection, self.context.wrap_socket(connection, server_side=True) as stream:
                self._serve(stream)
        except OSError as error:
            self.failures.append(error)


def receive(stream: ssl.SSLSocket, count: int) -> bytes:
    """Exactly so many bytes, or fewer at the end."""
    data = b""
    while len(data) < count and (more := stream.recv(count - len(data))):
        data += more
    return data


def receive_all(stream: ssl.SSLSocket) -> bytes:
    data = b""
    while more := stream.recv(65536):
        data += more
    return data


def say_goodbye(stream: ssl.SSLSocket) -> None:
    """An end that is meant: close_notify."""
    try:
        stream.unwrap()
    except OSError:
        pass  # the other side went first
