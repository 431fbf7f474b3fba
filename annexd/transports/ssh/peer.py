"""A connection to the SSH server, from the first byte to the last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Callable, Protocol

from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.transport import (
    DISCONNECT_BY_APPLICATION,
    DISCONNECT_SERVICE_NOT_AVAILABLE,
    MSG_SERVICE_ACCEPT,
    SSHServerTransport,
)
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from annexd.transports.ssh.algorithms import COMPRESSIONS, KEY_FORMATS, ciphers, key_exchanges, macs
from annexd.transports.ssh.channel import Channel
from annexd.transports.ssh.conch import said_by_conch
from annexd.transports.ssh.connection import Connection
from annexd.transports.ssh.login import Doorman, Login, Visitor

_log = Logger()

Perform = Callable[[Channel, Any, str, bytes], None]
"""
Runs a command of a visitor from an address, and calls the channel's `finish`
when it is over.  An empty command is a wish for a shell.
"""

_BANNER_MOST = 255
# RFC 4253, with CR and LF.

_BUFFER = 256 * 1024
_BITE = 64 * 1024
# Bytes that are read at once, and those that Conch is given at once.

_ASK_S = 5.0
"""
The silence after which a peer is asked whether it is there: once after it has
said something, and again and again while it takes no more of what there is for
it.  When a process that shares a connection of OpenSSH's client has ended, and
a window was used up, the client may send the last of its data and then sleep
until something comes, before it tells of the end.
"""

_FIRST_OF_SERVICES = 50
_LATE_MOST = 100
# Messages of a peer's while new keys are agreed on, when there should be none: answers to them wait.

_OVERDUE_MOST = 1024 * 1024
# Bytes of answers that wait for a peer that does not read; no more is read of what it asks, then.

_FAREWELL_S = 10.0
# For a peer that is sent away to take the last packets.


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, numbers and bytes."""

    handshake: float = 30.0
    """Until the keys of the connection are agreed on."""

    login: float = 120.0
    """From then on until a user has proved who it is; somebody may have to type a passphrase."""

    idle: float = 12 * 3600.0
    """Without a command."""

    stall: float = 300.0
    """Without a byte: the peer is asked whether it is there, and left after as long again."""

    stranger_bytes: int = 128 * 1024
    """What somebody may send who has not logged in."""

    peers: int = 1000
    """Connections that have logged in."""

    channels: int = 100
    """Commands that one connection may run at a time."""


class Lobby(Protocol):
    """Where those wait who have not logged in, and how many may; see `annexd.app.anteroom`."""

    def whereabouts(self, host: str) -> tuple[str, str]:
        """Of a peer: its address as people write it, and what counts as one place with it."""

    def shown(self, address: str) -> str:
        """For people: who has no address has something instead of it."""

    def enter(self, stranger: Peer) -> None:
        """Others may have to go."""

    def leave(self, stranger: Peer) -> None:
        """Calling it again does nothing."""

    def __iter__(self) -> Iterator[Any]: ...


class House(Protocol):
    """What a connection asks of its server, see `annexd.transports.ssh.server.Server`."""

    clock: IReactorTime
    limits: Limits
    lobby: Lobby
    doorman: Doorman
    perform: Perform

    @property
    def privateKeys(self) -> Mapping[bytes, Key]:
        """By their types."""

    def known(self, peer: Peer, visitor: Visitor) -> None:
        """It has logged in."""

    def left(self, peer: Peer) -> None:
        """Its connection has ended."""


@implementer(IPushProducer)
class Peer(SSHServerTransport):
    """
    One connection.  As the producer of its TCP connection it learns when that
    is full, and has the channels wait.  See `annexd.transports.ssh.server.Server.peer`.
    """

    ourVersionString = b"SSH-2.0-annexd"
    supportedKeyExchanges = key_exchanges()
    supportedCiphers = ciphers()
    supportedMACs = macs()
    supportedCompressions = list(COMPRESSIONS)
    factory: Any

    def __init__(self, server: House, host: str | None) -> None:
        self._log = said_by_conch
        self._server = server
        self._host = host
        self._clock = server.clock
        self._limits = server.limits
        self.supportedPublicKeys = list(server.privateKeys)
        self.address = self.shown = ""
        self.place: str | None = None
        self.visitor: Visitor | None = None
        self._bytes = 0
        self._full = False
        self._overdue = 0
        self._rekeying = False
        self._late = 0
        self._going = False
        self._heard_s = 0.0
        self._spoke = False
        self._empty_since_s = 0.0
        self._timer: IDelayedCall | None = None
        self._asking: IDelayedCall | None = None
        self._agreeing: IDelayedCall | None = None

    # --- its life ------------------------------------------------------

    def connectionMade(self) -> None:
        if self._host is None:
            self._host = self._tcp.getPeer().host
            self._tcp.setTcpNoDelay(True)
        self.address, self.place = self._server.lobby.whereabouts(self._host)
        self.shown = self._server.lobby.shown(self.address)
        self._tcp.bufferSize = _BUFFER
        self._tcp.registerProducer(self, True)
        self._server.lobby.enter(self)
        super().connectionMade()  # type: ignore[no-untyped-call]

    def logged_in(self, visitor: Visitor) -> None:
        """The peer has proved to be ``visitor``."""
        self.visitor = visitor
        made = Connection(self._clock, self._perform, self._limits.channels, self._limits.stall)
        made.held = self._full or self._rekeying
        made.when_empty = self._emptied
        made.when_waiting = self._ask_later
        self._emptied()
        self._call_later(self._limits.stall, self._look)
        self.setService(made)  # type: ignore[no-untyped-call]
        self._server.known(self, visitor)

    def _perform(self, channel: Channel, line: bytes) -> None:
        self._server.perform(channel, self.visitor, self.shown, line)

    def leave(self) -> None:
        """Go as soon as no command is running."""
        if isinstance(self.service, Connection):
            self.service.most = 0
            if self.service.channels:
                self.service.when_empty = self.leave
                return
        self.say_goodbye("annexd stops")

    def say_goodbye(self, sentence: str, code: int = DISCONNECT_BY_APPLICATION) -> None:
        self.sendDisconnect(code, sentence.encode())

    def send_away(self, reason: str) -> None:
        """At once, and without a word."""
        _log.info("sent {address} away: {reason}", address=self.shown, reason=reason)
        self._going = True
        self._server.lobby.leave(self)
        self._tcp.abortConnection()

    def connectionLost(self, reason: Failure | None = connectionDone) -> None:
        self._going = True
        for timer in (self._timer, self._asking, self._agreeing):
            _cancel(timer)
        self._server.left(self)
        super().connectionLost(reason)

    # --- deadlines -----------------------------------------------------

    def _expect(self, seconds: float, lacking: str) -> IDelayedCall:
        return self._clock.callLater(seconds, self.send_away, f"it {lacking} within {seconds:g} seconds")

    def _emptied(self) -> None:
        self._empty_since_s = self._clock.seconds()

    def _look(self) -> None:
        """Is the peer still there, and does it still want anything?"""
        limits, now = self._limits, self._clock.seconds()
        assert isinstance(self.service, Connection)
        if now - self._heard_s >= 2 * limits.stall:
            self.send_away(f"it has said nothing for {2 * limits.stall:g} seconds")
            return
        if not self.service.channels and now - self._empty_since_s >= limits.idle:
            self.say_goodbye("the connection has not been used for too long")
            return
        if now - self._heard_s >= limits.stall:
            self.service.ping()
        self._call_later(limits.stall, self._look)

    def _ask_later(self, seconds: float = _ASK_S) -> None:
        if self._asking is None and not self._going:
            self._asking = self._clock.callLater(seconds, self._ask)

    def _ask(self) -> None:
        self._asking = None
        if not isinstance(self.service, Connection) or not self.service.channels:
            return
        silent = self._clock.seconds() - self._heard_s
        if silent >= _ASK_S:
            self._spoke = False
            self.service.ping()
            silent = 0.0
        if self._spoke or self.service.waiting:
            self._ask_later(_ASK_S - silent)

    def _call_later(self, seconds: float, function: Any, *arguments: Any) -> None:
        _cancel(self._timer)
        self._timer = self._clock.callLater(seconds, function, *arguments)

    # --- what comes ----------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        self._heard_s = self._clock.seconds()
        if self.visitor is None and not self._may_say(data):
            return
        try:
            for start in range(0, len(data), _BITE):
                # Conch copies all that it has for each packet that it cuts off.
                super().dataReceived(data[start : start + _BITE])  # type: ignore[no-untyped-call]
            if isinstance(self.service, Connection) and self.service.deliver():
                self._spoke = True
                self._ask_later()
        except Exception as error:
            self._unreadable(error)

    def _may_say(self, data: bytes) -> bool:
        """Strangers may say little, and first of all that they speak SSH."""
        self._bytes += len(data)
        problem = ""
        if self._bytes > self._limits.stranger_bytes:
            problem = f"it has sent {self._limits.stranger_bytes} bytes without a login"
        elif not self.gotVersion:
            said = (self.buf + data)[:_BANNER_MOST]
            if not said.startswith(b"SSH-"[: len(said)]) or (len(said) == _BANNER_MOST and b"\n" not in said):
                problem = "it does not speak SSH"
        if problem:
            self.send_away(problem)
        return not problem

    def dispatchMessage(self, messageNum: int, payload: bytes) -> None:
        """Conch goes on to read what came before it hung up."""
        if self._rekeying and messageNum >= _FIRST_OF_SERVICES:
            self._late += 1
            if self._late > _LATE_MOST:
                self.send_away("it goes on while new keys are agreed on")
        if not self._going:
            super().dispatchMessage(messageNum, payload)  # type: ignore[no-untyped-call]

    def _unreadable(self, error: Exception) -> None:
        """Conch raises whatever comes of a packet that is not what it should be."""
        if self.visitor is not None:
            _log.failure("reading a packet of {user}", user=self.visitor.principal)
        self.send_away(f"it has sent what cannot be read ({type(error).__name__})")

    def ssh_SERVICE_REQUEST(self, packet: bytes) -> None:
        """There is one service to ask for, once, and behind a cipher."""
        name, _ = getNS(packet)
        if name != Login.name or self.service is not None or not self.isEncrypted("both"):  # type: ignore[no-untyped-call]
            self.say_goodbye("there is no such service", DISCONNECT_SERVICE_NOT_AVAILABLE)
            return
        self.sendPacket(MSG_SERVICE_ACCEPT, NS(name))
        self.setService(Login(self._clock, self._server.doorman, self.address))  # type: ignore[no-untyped-call]

    def ssh_DISCONNECT(self, packet: bytes) -> None:
        """Goodbye to you, too: for Conch it is an error to be logged."""
        self._hang_up()

    def receiveUnimplemented(self, seqnum: int) -> None:
        """A client of another kind, as may be."""

    # --- keys ----------------------------------------------------------

    def sendKexInit(self) -> None:
        """Nothing else goes out meanwhile, so the channels keep what they have."""
        super().sendKexInit()  # type: ignore[no-untyped-call]
        self._rekeying = True
        self._agreeing = self._expect(self._limits.handshake, "has not agreed on keys")
        self._hold_or_release()

    def ssh_NEWKEYS(self, packet: bytes) -> None:
        super().ssh_NEWKEYS(packet)
        _cancel(self._agreeing)
        if self._timer is None:
            self._timer = self._expect(self._limits.login, "has not logged in")
        self._rekeying = False
        self._late = 0
        self._hold_or_release()

    def sendExtInfo(self, extensions: object) -> None:
        """For Conch users may have the same kinds of keys as the host."""
        super().sendExtInfo([(b"server-sig-algs", b",".join(KEY_FORMATS))])  # type: ignore[no-untyped-call]

    # --- what goes -----------------------------------------------------

    def sendPacket(self, messageType: int, payload: bytes) -> None:
        super().sendPacket(messageType, payload)  # type: ignore[no-untyped-call]
        if self._full:
            self._overdue += len(payload)
            if self._overdue > _OVERDUE_MOST:
                self._tcp.pauseProducing()

    def pauseProducing(self) -> None:
        self._full = True
        self._hold_or_release()

    def resumeProducing(self) -> None:
        self._full = False
        if self._overdue > _OVERDUE_MOST:
            self._tcp.resumeProducing()
        self._overdue = 0
        self._hold_or_release()

    def stopProducing(self) -> None:
        self._full = True

    def _hold_or_release(self) -> None:
        if isinstance(self.service, Connection):
            if self._full or self._rekeying:
                self.service.hold()
            else:
                self.service.release()

    def sendDisconnect(self, reason: int, desc: bytes | str) -> None:
        """Conch's sentences may have in them what the peer said."""
        if not self._going:
            said = desc if isinstance(desc, str) else desc[:_BANNER_MOST].decode("utf-8", "replace")
            _log.info("sent {address} away: {reason}", address=self.shown, reason=said)
            self._tcp.unregisterProducer()
            super().sendDisconnect(reason, desc)  # type: ignore[no-untyped-call]
            self._hang_up()

    def _hang_up(self) -> None:
        self._going = True
        self._tcp.unregisterProducer()  # a paused one would keep the connection open
        self._tcp.loseConnection()
        self._call_later(_FAREWELL_S, self._tcp.abortConnection)

    @property
    def _tcp(self) -> Any:
        return self.transport


def _cancel(timer: IDelayedCall | None) -> None:
    if timer is not None and timer.active():
        timer.cancel()
