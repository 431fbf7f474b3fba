"""An SSH client of Conch's and the server, joined in memory."""

from __future__ import annotations

import struct
from typing import Any

from twisted.conch.ssh.channel import SSHChannel
from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.connection import SSHConnection
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.transport import SSHClientTransport
from twisted.conch.ssh.userauth import SSHUserAuthClient
from twisted.internet import error
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from annexd.app.anteroom import Anteroom
from annexd.app.ssh_listener import Lobby
from annexd.transports.ssh.channel import Channel
from annexd.transports.ssh.peer import Limits
from annexd.transports.ssh.server import Server
from tests.support.ssh_keys import ADDRESS, Doorman, Place, ed25519_key


class Tcp:
    """What `annexd.transports.ssh.peer.Peer` asks of a TCP connection, as `tests` sees it."""

    def __init__(self, host: str = ADDRESS) -> None:
        self.host = host
        self.written = bytearray()
        self.producer: Any = None
        self.closing = False
        self.aborted = False
        self.bufferSize = 0
        self.no_delay = False
        self.reading_paused = False

    def pauseProducing(self) -> None:
        self.reading_paused = True

    def resumeProducing(self) -> None:
        self.reading_paused = False

    def write(self, data: bytes) -> None:
        self.written += data

    def take(self) -> bytes:
        data = bytes(self.written)
        self.written.clear()
        return data

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseConnection(self) -> None:
        assert self.producer is None, "Twisted would not close while there is a producer that is paused"
        self.closing = True

    def abortConnection(self) -> None:
        self.aborted = True

    def setTcpNoDelay(self, on: bool) -> None:
        self.no_delay = on

    def getPeer(self) -> Place:
        return Place(host=self.host, port=4711)

    getHost = getPeer


class ClientAuth(SSHUserAuthClient):
    def __init__(self, user: bytes, connection: SSHConnection, keys: list[Key]) -> None:
        super().__init__(user, connection)
        self.offered = list(keys)

    def getPublicKey(self) -> Key | None:
        if not self.offered:
            return None
        self.private = self.offered.pop(0)
        return self.private.public()

    def getPrivateKey(self) -> Deferred[Key]:
        return succeed(self.private)


class ClientConnection(SSHConnection):
    started = False

    def serviceStarted(self) -> None:
        self.started = True


class Client(SSHClientTransport):
    """``keys`` are offered one after the other."""

    def __init__(self, keys: list[Key], user: bytes = b"git") -> None:
        self.keys, self.user = keys, user
        self.connection = ClientConnection()
        self.errors: list[bytes] = []

    def verifyHostKey(self, hostKey: bytes, fingerprint: bytes) -> Deferred[int]:
        return succeed(1)

    def connectionSecure(self) -> None:
        """Conch says so for later keys, too."""
        if hasattr(self, "auth"):
            return
        self.auth = ClientAuth(self.user, self.connection, self.keys)
        self.requestService(self.auth)

    def receiveError(self, reasonCode: int, description: bytes) -> None:
        self.errors.append(description)


class ClientChannel(SSHChannel):
    """Asks for a command as soon as it is open."""

    name = b"session"

    def __init__(self, line: bytes, **sizes: int) -> None:
        super().__init__(**sizes)
        self.line = line
        self.out, self.err = bytearray(), bytearray()
        self.code: int | None = None
        self.ended = False
        self.refused = False

    def channelOpen(self, specificData: bytes) -> None:
        self.conn.sendRequest(self, b"exec", NS(self.line), wantReply=1).addErrback(lambda _: None)

    def openFailed(self, reason: Any) -> None:
        self.refused = True

    def dataReceived(self, data: bytes) -> None:
        self.out += data

    def extReceived(self, dataType: int, data: bytes) -> None:
        self.err += data

    def request_exit_status(self, data: bytes) -> bool:
        (self.code,) = struct.unpack(">L", data)
        return True

    def closed(self) -> None:
        self.ended = True


class Pair:
    """``client`` may be replaced by anything that has ``dataReceived``."""

    def __init__(self, limits: Limits | None = None, strangers: int = 20) -> None:
        self.clock = Clock()
        self.anteroom = Anteroom(lambda: strangers)
        self.doorman = Doorman()
        self.performed: list[tuple[Channel, str, bytes]] = []
        self.server = Server(
            self.clock,
            [ed25519_key()],
            limits or Limits(),
            Lobby(self.anteroom),
            self.doorman,
            lambda channel, user, address, line: self.performed.append((channel, user.principal, line)),
        )
        self.client: Any = None

    def accept(self, host: str = ADDRESS) -> Any:
        """A `Peer`, connected; its ``tcp`` is what it writes to."""
        peer = self.server.buildProtocol(None)
        peer.tcp = Tcp(host)
        peer.makeConnection(peer.tcp)
        return peer

    def join(self, *keys: Key, user: bytes = b"git") -> Any:
        """A client that offers these keys; the peer that it has at the server's side."""
        self.client = Client(list(keys), user)
        self.client.tcp = Tcp()
        self.peer = self.accept()
        self.client.makeConnection(self.client.tcp)
        self.turn()
        return self.peer

    def join_as(self, user: str) -> Any:
        """The same with a key that is known."""
        key = ed25519_key()
        self.doorman.know(key, user)
        return self.join(key)

    def turn(self, turns: int = 20) -> None:
        """What each has to say reaches the other."""
        for _ in range(turns):
            self.clock.advance(0)
            self.carry(self.client, self.peer)
            self.carry(self.peer, self.client)

    def carry(self, sender: Any, receiver: Any) -> None:
        data = sender.tcp.take()
        if data and not receiver.tcp.aborted:
            receiver.dataReceived(data)
        if sender.tcp.aborted and not receiver.tcp.aborted:
            receiver.tcp.aborted = True
            receiver.connectionLost(Failure(error.ConnectionLost()))

    def run(self, line: bytes, **sizes: int) -> ClientChannel:
        channel = ClientChannel(line, **sizes)
        self.client.connection.openChannel(channel)
        self.turn()
        return channel


def lose(peer: Any) -> None:
    """As the reactor does when a connection has ended."""
    peer.connectionLost(Failure(error.ConnectionDone()))


def field(packet: bytes) -> bytes:
    """The first string of a packet."""
    return bytes(getNS(packet)[0])
