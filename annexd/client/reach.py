"""
Lets peers come over TLS to git-annex, which serves them at a unix socket.

git-annex's remotedaemon starts this once, never again, and does not end it.
So it does not give up where something may change, and ends when git-annex has
gone.  Where a running annexd serves the address there is nothing to do.  Each
session is a process of its own.
"""

from __future__ import annotations

import os
import signal
import socket
from select import POLLIN, poll
from time import monotonic, sleep

from annexd.client import tls
from annexd.client.dial import settle
from annexd.client.git_settings import Settings
from annexd.client.own_address import listening, own_certificate, own_directory, own_fingerprint
from annexd.client.p2p_address import AddressError, parse
from annexd.client.program import Problem, say
from annexd.client.relay import Cut, Relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _ssl

_PROGRAM = "git-annex-p2p-annexd"

_TICK_MILLISECONDS = 1000
_WAITING_PEERS = 128
_SESSIONS = 200
_HANDSHAKE_SECONDS = 20.0
_FIRST_WORD_SECONDS = 30.0
_GIT_ANNEX_SECONDS = 20.0
_RETRY_SECONDS = 0.02
_MOST_DESCRIPTORS = 65536
_LOG_BYTES = 64 * 1024


def reach(text: str, path: str) -> int:
    """Listen at the port of the address, or where annexd.listen says, until git-annex ends."""
    _leave_to_git_annex()
    git_annex = _GitAnnex()
    log = _Log()
    settings = Settings()
    try:
        directory = own_directory()
        log.keep_in(directory)
        if settings.get("servedAt") == text:
            log.write(f"{text}: annexd serves it, when it runs")
            return 0
        context, host, port = _prepare(text, directory, settings)
    except (AddressError, Problem) as problem:
        log.write(f"{text}: {problem}")
        return 1
    listeners = _listen_at_last(host, port, git_annex, log)
    if listeners:
        log.write(f"{text}: listening")
        _Sessions(listeners, context, path, git_annex).serve()
    return 0


def _prepare(text: str, directory: str, settings: Settings) -> tuple[_ssl._SSLContext, str, int]:
    address = parse(text)
    certificate = own_certificate(directory)
    if address.sha256 and address.sha256 != own_fingerprint(certificate):
        raise Problem(
            f"the certificate in {certificate} is another one now;"
            " this address can be removed from annex/creds/p2paddrs of the git directory"
        )
    return (
        tls.server_context(certificate),
        *listening(settings.get("listen") or str(address.port)),
    )


class _GitAnnex:
    """The process that started this one."""

    def __init__(self) -> None:
        self._id = os.getppid()
        self.fd = -1
        try:
            self.fd = os.pidfd_open(self._id)
        except (AttributeError, OSError):
            pass  # no Linux, or an old one: looked for at every tick

    def is_gone(self) -> bool:
        if self.fd < 0:
            return os.getppid() != self._id
        return _is_ready(self.fd, 0)


class _Log:
    """To stderr, and to a file, as git-annex gives its helpers no stderr when it is a daemon."""

    def __init__(self) -> None:
        self._file = -1

    def keep_in(self, directory: str) -> None:
        try:
            self._file = os.open(
                f"{directory}/p2p.log",
                os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC,
                0o600,
            )
            if os.fstat(self._file).st_size > _LOG_BYTES:
                os.ftruncate(self._file, 0)
        except OSError as error:
            say(_PROGRAM, f"no log can be written: {error.strerror}")

    def write(self, sentence: str) -> None:
        from time import strftime

        say(_PROGRAM, sentence)
        if self._file >= 0:
            line = f"{strftime('%Y-%m-%d %H:%M:%S')} {sentence}\n"
            os.write(self._file, line.encode("utf-8", "surrogateescape"))


def _leave_to_git_annex() -> None:
    """What came from it is not ours: its own connections, and the socket that it listens on."""
    os.closerange(3, _MOST_DESCRIPTORS)
    os.dup2(2, 1)  # it speaks a protocol there


def _listen_at_last(host: str, port: int, git_annex: _GitAnnex, log: _Log) -> list[socket.socket]:
    """Another may listen there as yet, or the address be one that this host is still to get."""
    said = ""
    while not git_annex.is_gone():
        try:
            return _listen(host, port)
        except OSError as error:
            reason = f"cannot listen at {host or 'any address'} port {port} yet: {error.strerror}"
        if reason != said:
            log.write(reason)
            said = reason
        sleep(_TICK_MILLISECONDS / 1000)
    return []


def _listen(host: str, port: int) -> list[socket.socket]:
    """At all addresses of a host; empty is any, by one socket for both families where that can be."""
    if not host:
        try:
            return [_bound(socket.AF_INET6, ("::", port))]
        except OSError:
            if not _is_without_ipv6():
                raise
            return [_bound(socket.AF_INET, ("", port))]
    found = socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM)
    listeners, failure = [], OSError()
    for family, _, _, _, place in found:
        try:
            listeners.append(_bound(family, place))
        except OSError as error:
            failure = error
    if not listeners:
        raise failure
    return listeners


def _bound(family: int, place: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, place[0] != "::")
        listener.bind(place)
        listener.listen(_WAITING_PEERS)
        listener.settimeout(0)
        return listener
    except OSError:
        listener.close()
        raise


def _is_without_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as tried:
            tried.bind(("::", 0))
        return False
    except OSError:
        return True


class _Ended(BaseException):
    """A signal said so."""


def _end(*_: object) -> None:
    raise _Ended


class _Sessions:
    def __init__(
        self, listeners: list[socket.socket], context: _ssl._SSLContext, path: str, git_annex: _GitAnnex
    ) -> None:
        self._listeners = {listener.fileno(): listener for listener in listeners}
        self._context = context
        self._path = path
        self._git_annex = git_annex
        self._running: set[int] = set()

    def serve(self) -> None:
        """Until git-annex is gone (its sessions end with it) or a signal comes (they are ended)."""
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, _end)
        try:
            while not self._git_annex.is_gone():
                self._reap()
                self._accept()
        except _Ended:
            for session in self._running:
                os.kill(session, signal.SIGTERM)

    def _accept(self) -> None:
        """Where there are as many as may be, the others wait."""
        asked = poll()
        if self._git_annex.fd >= 0:
            asked.register(self._git_annex.fd, POLLIN)
        if len(self._running) < _SESSIONS:
            for fd in self._listeners:
                asked.register(fd, POLLIN)
        idle = self._git_annex.fd >= 0 and not self._running
        for fd, _ in asked.poll(None if idle else _TICK_MILLISECONDS):
            if fd in self._listeners:
                self._begin(self._listeners[fd])

    def _begin(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return sleep(_RETRY_SECONDS)  # it went away again, or there are no more descriptors
        try:
            session = os.fork()
        except OSError:
            session = -1  # no more processes: the peer may come again
        if session == 0:
            self._be_session(connection)
        if session > 0:
            self._running.add(session)
        connection.close()

    def _be_session(self, connection: socket.socket) -> None:
        """In the new process, which ends here."""
        code = 1
        try:
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            for listener in self._listeners.values():
                listener.close()
            _serve(connection, self._context, self._path)
            code = 0
        except (OSError, Cut, Problem) as error:
            say(_PROGRAM, f"a session ended: {error}")
        finally:
            os._exit(code)

    def _reap(self) -> None:
        while self._running:
            session, _ = os.waitpid(-1, os.WNOHANG)
            if session == 0:
                return
            self._running.discard(session)


def _serve(connection: socket.socket, context: _ssl._SSLContext, path: str) -> None:
    """git-annex hears of a peer that has shown that it speaks TLS and has something to say."""
    settle(connection)
    stream = tls.shake_hands(connection, context, None, _HANDSHAKE_SECONDS, server_side=True)
    if not _is_ready(connection.fileno(), _FIRST_WORD_SECONDS):
        raise Problem(f"the peer said nothing within {_FIRST_WORD_SECONDS:g} seconds")
    server = _reach_git_annex(path)
    Relay(stream, connection, server.fileno(), server.fileno(), server).run()


def _reach_git_annex(path: str) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.settimeout(0)
    end = monotonic() + _GIT_ANNEX_SECONDS
    while True:
        try:
            server.connect(path)
            return server
        except BlockingIOError:  # git-annex lets only two wait
            if monotonic() > end:
                raise Problem(f"git-annex takes no more connections at {path}") from None
            sleep(_RETRY_SECONDS)


def _is_ready(fd: int, seconds: float) -> bool:
    asked = poll()
    asked.register(fd, POLLIN)
    return bool(asked.poll(seconds * 1000))
