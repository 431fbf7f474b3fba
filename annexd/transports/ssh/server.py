"""Who is connected to the SSH server, and what they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.conch.ssh.keys import Key
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from annexd.transports.ssh.login import Doorman, Login, Visitor
from annexd.transports.ssh.peer import Limits, Lobby, Peer, Perform

_log = Logger()


class Server(Factory):
    """
    ``host_keys`` are the private ones.  Newcomers wait in ``lobby``,
    ``doorman`` knows who may come in, ``perform`` runs their commands.
    """

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        host_keys: Sequence[Key],
        limits: Limits,
        lobby: Lobby,
        doorman: Doorman,
        perform: Perform,
    ) -> None:
        self.clock = clock
        self.limits = limits
        self.lobby = lobby
        self.doorman = doorman
        self.perform = perform
        self.peers: dict[Peer, None] = {}
        """Those who have logged in."""
        self.use_keys(host_keys)

    def use_keys(self, host_keys: Sequence[Key]) -> None:
        """For peers that come from now on."""
        self.privateKeys = {key.sshType(): key for key in host_keys}  # type: ignore[no-untyped-call]
        self.publicKeys = {kind: key.public() for kind, key in self.privateKeys.items()}  # type: ignore[no-untyped-call]

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return self.peer()

    def peer(self, host: str | None = None) -> Peer:
        """``host`` is the address where that is not what the transport says; empty, where there is none."""
        peer = Peer(self, host)
        peer.factory = self
        return peer

    def leave(self) -> None:
        """Let everybody go, those with running commands when these are done."""
        for stranger in self.lobby:
            if isinstance(stranger, Peer):
                stranger.send_away("annexd stops")
        for peer in list(self.peers):
            peer.leave()

    def close(self) -> None:
        """Let everybody go now."""
        self.leave()
        for peer in list(self.peers):
            peer.say_goodbye("annexd stops")

    # --- what peers say ------------------------------------------------

    def known(self, peer: Peer, visitor: Visitor) -> None:
        self.lobby.leave(peer)
        self.doorman.entered(visitor, peer.address)
        if len(self.peers) >= self.limits.peers:
            _log.warn("{count} connections are open, no more are taken", count=self.limits.peers)
            peer.say_goodbye("there are too many connections, try again later")
        else:
            self.peers[peer] = None

    def left(self, peer: Peer) -> None:
        self.lobby.leave(peer)
        self.peers.pop(peer, None)
        login = peer.service
        if isinstance(login, Login) and login.attempts:
            self.doorman.turned_away(login.login, peer.address, login.reason)
