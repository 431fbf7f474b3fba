"""A peer in memory that can be dialled, refuse, freeze, go away and come back."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from annexd.errors import PeerLost, Unavailable
from annexd.protocol.messages import Auth, Version
from annexd.remotes.dialing import Explain
from annexd.sessions.activity import Activity
from annexd.sessions.deadlines import Deadlines
from annexd.sessions.handshake import greet
from annexd.sessions.serve import Server
from annexd.sessions.wire import Wire
from tests.support.duplex import End, Script, duplex
from tests.support.memory_store import MemoryStore, Shelf


class FarPeer:
    """A dialer; each connection has a `Server` over ``shelf`` at its end."""

    auth: Auth | None = None

    def __init__(self, clock: Clock, shelf: Shelf, newest: int = 4) -> None:
        self.clock = clock
        self.shelf = shelf
        self.newest = newest
        self.dials = 0
        self.ends: list[End] = []

    async def connect(self, wire: Wire) -> Explain:
        self.dials += 1
        far = _Limited(self.clock, Deadlines(), self.newest)
        self.ends.append(duplex(wire, far, window=1000)[1])
        greet(far, self.shelf.uuid)
        server = Server(far, MemoryStore(self.shelf), Activity(self.clock, 1, "", b""))
        Deferred.fromCoroutine(server.run()).addErrback(lambda failure: failure.trap(PeerLost))
        return self.explain

    async def explain(self) -> str:
        return ""


class _Limited(Wire):
    """Of a server that knows no version beyond ``newest``."""

    def __init__(self, clock: Clock, deadlines: Deadlines, newest: int) -> None:
        super().__init__(clock, deadlines)
        self.newest = newest

    async def receive(self, seconds: float | None = None, *, while_full: bool = False):  # type: ignore[no-untyped-def]
        message = await super().receive(seconds, while_full=while_full)
        if isinstance(message, Version):
            return Version(min(message.number, self.newest))
        return message


class Scripted:
    """
    A dialer; at the other end of each connection is a `Script`, which has been
    through the introduction unless ``silent``.
    """

    auth: Auth | None = None

    def __init__(self, version: int = 4) -> None:
        self.version = version
        self.silent = False
        self.refusal = ""
        self.said = ""
        self.scripts: list[Script] = []

    async def connect(self, wire: Wire) -> Explain:
        if self.refusal:
            raise Unavailable(self.refusal)
        script = Script() if self.silent else _Greeter(self.version)
        self.scripts.append(script)
        duplex(wire, script)
        if isinstance(script, _Greeter):
            script.say(b"AUTH-SUCCESS u\n")
        return self.explain

    async def explain(self) -> str:
        return self.said

    @property
    def script(self) -> Script:
        """Of the newest connection."""
        return self.scripts[-1]

    @property
    def living(self) -> list[Script]:
        return [script for script in self.scripts if not script.lost]


class _Greeter(Script):
    def __init__(self, version: int) -> None:
        super().__init__()
        self.version = version

    def dataReceived(self, data: bytes) -> None:
        if data.startswith(b"VERSION "):
            self.transport.write(
                b"VERSION %d\n" % self.version if self.version else b"ERROR unknown command\n"
            )
            data = data.partition(b"\n")[2]
        super().dataReceived(data)
