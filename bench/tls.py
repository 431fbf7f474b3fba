"""annexd over TLS as a client sees it, and what OpenSSL alone does over the same loopback."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import time
from pathlib import Path
from typing import Callable

from bench.client import Content, Unexpected
from bench.place import Place, Repository
from bench.servers import Daemon, program
from tests.support.ports import free_port

_CHUNK = 256 * 1024


class TlsDaemon:
    """A daemon that listens, and the token for its repository."""

    def __init__(self, place: Place, repository: Repository, name: str) -> None:
        self.port = free_port()
        settings = (
            f'[daemon]\nstate-directory = "{place.directory / name}-state"\n'
            f'[listen.tls]\naddress = "127.0.0.1:{self.port}"\n'
        )
        self.daemon = Daemon(place, [], [repository], name, settings)
        invite = ("invite", "bench", "--repo", str(repository.path), "--mode", "read-write")
        where = ("--config", str(place.directory / f"{name}.toml"), "--socket", self.daemon.socket)
        line = place.run(*program("annexd"), *invite, *where)
        self.secret = line.rpartition(":")[2]

    @property
    def pid(self) -> int:
        return self.daemon.process.pid

    def opened(self) -> TlsSession:
        """A session that has been greeted and has answered once."""
        session = TlsSession(self.port)
        session.say(f"AUTH bench {self.secret}\n".encode())
        if not session.line().startswith(b"AUTH-SUCCESS "):
            raise Unexpected("the token is not accepted")
        session.say(b"VERSION 4\n")
        session.expect(b"VERSION 4")
        session.present(b"SHA256E-s1--" + b"0" * 64)
        return session

    def stop(self) -> None:
        self.daemon.stop()


def _client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class TlsSession:
    """As `bench.client.Session`; bodies come out of a file and go nowhere."""

    def __init__(self, port: int) -> None:
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tls = _client_context().wrap_socket(sock)
        self._buffer = b""

    def present(self, key: bytes) -> bool:
        self.say(b"CHECKPRESENT " + key + b"\n")
        return self.line() == b"SUCCESS"

    def remove(self, key: bytes) -> None:
        self.say(b"REMOVE " + key + b"\n")
        self.expect(b"SUCCESS")

    def put(self, content: Content) -> None:
        self.say(b"PUT bench/file " + content.key + b"\n")
        self.expect(b"PUT-FROM 0")
        if content.size <= 32768:
            body = os.pread(content.fd, content.size, content.offset)
            self.say(b"DATA %d\n" % content.size + body + b"VALID\n")
        else:
            self.say(b"DATA %d\n" % content.size)
            _send(self._tls, content)
            self.say(b"VALID\n")
        self.expect(b"SUCCESS")

    def get(self, content: Content) -> None:
        self.say(b"GET 0 bench/file " + content.key + b"\n")
        self.expect(b"DATA %d" % content.size)
        taken = min(len(self._buffer), content.size)
        self._buffer = self._buffer[taken:]
        _receive(self._tls, content.size - taken, lambda piece: None)
        self.expect(b"VALID")
        self.say(b"SUCCESS\n")

    def end(self) -> None:
        self._tls.close()

    def say(self, data: bytes) -> None:
        self._tls.sendall(data)

    def line(self) -> bytes:
        while b"\n" not in self._buffer:
            data = self._tls.recv(65536)
            if not data:
                raise Unexpected(f"the server ended; it said {self._buffer!r}")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line

    def expect(self, wanted: bytes) -> None:
        line = self.line()
        if line != wanted:
            raise Unexpected(f"{line!r} instead of {wanted!r}")


def _send(tls: ssl.SSLSocket, content: Content) -> None:
    # One buffer for all: a new one for each piece may cost as much as encrypting what is in it.
    buffer = memoryview(bytearray(_CHUNK))
    offset, end = content.offset, content.offset + content.size
    while offset < end:
        count = os.preadv(content.fd, [buffer[: end - offset]], offset)
        tls.sendall(buffer[:count])
        offset += count


def _receive(tls: ssl.SSLSocket, count: int, use: Callable[[memoryview], object]) -> None:
    buffer = memoryview(bytearray(_CHUNK))
    while count:
        filled = 0
        while filled < min(_CHUNK, count):
            taken = tls.recv_into(buffer[filled : min(_CHUNK, count)])
            if not taken:
                raise Unexpected("the body ends early")
            filled += taken
        use(buffer[:filled])
        count -= filled


# --- OpenSSL alone -----------------------------------------------------------------


def openssl_get(certificate: Path, content: Content) -> float:
    """MB/s of a process that sends a file to this one."""
    return _alone(certificate, content, lambda tls: _send(tls, content), _take(content))


def openssl_put(certificate: Path, content: Content) -> float:
    """MB/s of a process that takes what this one sends."""
    return _alone(certificate, content, _take(content), lambda tls: _send(tls, content))


def openssl_put_written(certificate: Path, content: Content, directory: Path) -> float:
    """The same, which also hashes and writes it, in one thread and without fsync."""

    def keep(tls: ssl.SSLSocket) -> None:
        digest, path = hashlib.sha256(), directory / "alone"
        with open(path, "wb", buffering=0) as file:
            path.unlink()
            _receive(tls, content.size, lambda piece: (digest.update(piece), file.write(piece)))
        assert digest.hexdigest().encode() in content.key

    return _alone(certificate, content, keep, lambda tls: _send(tls, content))


def _take(content: Content) -> Callable[[ssl.SSLSocket], None]:
    return lambda tls: _receive(tls, content.size, lambda piece: None)


def _alone(
    certificate: Path,
    content: Content,
    serve: Callable[[ssl.SSLSocket], None],
    act: Callable[[ssl.SSLSocket], None],
) -> float:
    """``serve`` in a process of its own, ``act`` here; each says a byte when it is ready, and when done."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        child = os.fork()
        if not child:
            try:
                _serve(listener, certificate, serve)
            finally:
                os._exit(0)
    try:
        with _client_context().wrap_socket(socket.create_connection(("127.0.0.1", port))) as tls:
            tls.recv(1)
            before = time.perf_counter()
            tls.sendall(b"!")
            act(tls)
            if tls.recv(1) != b"!":
                raise Unexpected("the other process has ended")
            return content.size / 1e6 / (time.perf_counter() - before)
    finally:
        os.waitpid(child, 0)


def _serve(listener: socket.socket, certificate: Path, serve: Callable[[ssl.SSLSocket], None]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with context.wrap_socket(listener.accept()[0], server_side=True) as tls:
        tls.sendall(b"!")
        tls.recv(1)
        serve(tls)
        tls.sendall(b"!")
