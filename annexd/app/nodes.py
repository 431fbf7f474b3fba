"""From a gateway's git remotes to nodes: which of the ways to get there is the one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Union
from weakref import WeakKeyDictionary

from annexd.app.exchange_links import Linked
from annexd.app.local_node import LocalNode
from annexd.app.node_settings import NodeSettings
from annexd.app.read_only import ReadOnlyNode
from annexd.app.unusable import Unusable
from annexd.client.p2p_address import AddressError, parse
from annexd.errors import ConfigError, Unavailable
from annexd.node import Node
from annexd.protocol.messages import Auth
from annexd.remotes.dialing import Dialer, GetAuth
from annexd.remotes.helper import HelperDialer, Helpers
from annexd.remotes.link import Link
from annexd.remotes.peer import PeerNode
from annexd.remotes.ssh import SshAccount, SshDialer, SshHosts
from annexd.remotes.tls import TlsDialer, trust
from annexd.remotes.tokens import stored_token
from annexd.remotes.tor import TorDialer
from annexd.remotes.url import Http, Local, P2PAnnex, Ssh, TorAnnex, Unsupported, place_of
from annexd.repo.local import Repository
from annexd.router.configured import Remote
from annexd.router.directory import Directory

TOR_SOCKS = "127.0.0.1:9050"
"""Where git-annex itself looks for tor."""

_OWN = "annexd"
"""The network of p2p-annex remotes that needs no helper."""


@dataclass(frozen=True, slots=True)
class _Gateway:
    """What nodes need to know of it; they outlive the repository, which is closed when nobody uses it."""

    uuid: bytes
    git_dir: bytes
    work_tree: bytes | None
    boot: Callable[[], float]


class Nodes:
    """
    Makes the nodes of all gateways.  ``environ`` is that of the programs that
    are run for them; ``settings`` are asked for each node that is made, and
    when they may have changed (`reload`); ``tor_socks`` for each connection.
    """

    def __init__(
        self,
        reactor: Any,
        directory: Directory[Repository],
        settings: Callable[[], NodeSettings],
        environ: Mapping[str, str],
        tor_socks: Callable[[], str] = lambda: TOR_SOCKS,
    ) -> None:
        self._tor_socks = tor_socks
        self._reactor = reactor
        self._directory = directory
        self._settings = settings
        self._environ = environ
        self._hosts: SshHosts | None = None
        self._peers: WeakKeyDictionary[PeerNode, bool] = WeakKeyDictionary()  # whether it is behind tor
        self._helpers = Helpers()

    def of(self, repository: Repository) -> Callable[[Remote, bytes], Node]:
        """The maker for one gateway."""
        gateway = _gateway(repository)

        def make(remote: Remote, uuid: bytes) -> Node:
            node = self._make(gateway, remote, uuid)
            return ReadOnlyNode(node) if remote.read_only else node

        return make

    def reload(self) -> None:
        """The settings may be others now: for all nodes, whoever uses them."""
        settings = self._settings()
        for node, behind_tor in list(self._peers.items()):
            if behind_tor:
                node.use(settings.tor_patience, settings.connections, settings.tor_allowance)
            else:
                node.use(settings.patience, settings.connections, None)
        if self._hosts is not None:
            self._hosts.connect_s = settings.connect

    def links(self, repository: Repository) -> Callable[[Remote, bytes], Linked | None]:
        """See `annexd.app.neighbour_ways.Link`, for one gateway."""
        gateway = _gateway(repository)

        def link(remote: Remote, url: bytes) -> Linked | None:
            settings, uuid = self._settings(), remote.uuid
            place = place_of(url, gateway.work_tree or gateway.git_dir, self._home)
            if isinstance(place, TorAnnex):
                return Linked(uuid, self._tor(gateway, remote, uuid, place), settings.tor_patience)
            if isinstance(place, P2PAnnex) and place.network == _OWN:
                return Linked(uuid, self._p2p(gateway, uuid, remote, place), settings.patience)
            return None

        return link

    @property
    def _home(self) -> bytes:
        return os.fsencode(self._environ.get("HOME", "/"))

    def account(self, remote: Remote, url: bytes) -> tuple[SshAccount, bytes] | None:
        """See `annexd.app.neighbour_ways.Account`: what else goes there shares the nodes' connections."""
        place = place_of(url, b"/", b"/")
        if not isinstance(place, Ssh):
            return None
        return SshAccount(self._ssh(), place, _options(remote)), place.path

    async def close(self) -> None:
        """End what connections have in common, and all programs; the nodes themselves are closed."""
        await self._helpers.close()
        if self._hosts is not None:
            await self._hosts.close()

    def _make(self, gateway: _Gateway, remote: Remote, uuid: bytes) -> Node:
        directory = gateway.work_tree or gateway.git_dir
        place = place_of(remote.url, directory, self._home)
        try:
            if isinstance(place, Local):
                node = self._local(remote, uuid, place)
            elif isinstance(place, TorAnnex):
                node = self._behind_tor(gateway, remote, uuid, place)
            else:
                node = self._peer(gateway, remote, uuid, self._dialer(gateway, remote, uuid, place))
        except (ConfigError, Unavailable) as error:
            return Unusable(uuid, remote.name, str(error))
        return node

    def _local(self, remote: Remote, uuid: bytes, place: Local) -> Node:
        if uuid != remote.uuid:
            raise Unavailable("what is behind a gateway on this machine's disk cannot be asked for by a path")
        return LocalNode(uuid, remote.name, remote.cost, place.path, self._directory, time.time)

    def _peer(self, gateway: _Gateway, remote: Remote, uuid: bytes, dialer: Dialer) -> Node:
        settings = self._settings()
        link = Link(
            remote.name,
            uuid,
            dialer,
            self._reactor,
            patience=settings.patience,
            most=settings.connections,
            settles=isinstance(dialer, SshDialer),
        )
        return self._kept(PeerNode(link, remote.cost, gateway.boot), behind_tor=False)

    def _behind_tor(self, gateway: _Gateway, remote: Remote, uuid: bytes, place: TorAnnex) -> Node:
        settings = self._settings()
        link = Link(
            remote.name,
            uuid,
            self._tor(gateway, remote, uuid, place),
            self._reactor,
            patience=settings.tor_patience,
            most=settings.connections,
        )
        node = PeerNode(link, remote.cost, gateway.boot, settings.tor_allowance)
        return self._kept(node, behind_tor=True)

    def _kept(self, node: PeerNode, behind_tor: bool) -> PeerNode:
        self._peers[node] = behind_tor
        return node

    def _tor(self, gateway: _Gateway, remote: Remote, uuid: bytes, place: TorAnnex) -> TorDialer:
        auth = self._auth(gateway, remote, uuid, place)
        isolation = os.fsdecode(gateway.uuid + b" " + uuid)
        return TorDialer(self._reactor, place, self._tor_socks, auth, isolation)

    def _dialer(self, gateway: _Gateway, remote: Remote, uuid: bytes, place: object) -> Dialer:
        match place:
            case Ssh():
                shell = remote.shell or b"git-annex-shell"
                options = _options(remote)
                return SshDialer(self._ssh(), place, uuid, gateway.uuid, options=options, shell=shell)
            case P2PAnnex():
                return self._p2p(gateway, uuid, remote, place)
            case Http():
                raise Unavailable("remotes over HTTP cannot be used as nodes yet")
            case Unsupported(reason):
                raise Unavailable("special remotes cannot be used as nodes yet" if not remote.url else reason)
        raise AssertionError(place)

    def _p2p(self, gateway: _Gateway, uuid: bytes, remote: Remote, place: P2PAnnex) -> Dialer:
        auth = self._auth(gateway, remote, uuid, place)
        if place.network != _OWN:
            return HelperDialer(self._reactor, place, auth, self._environ, self._helpers)
        try:
            address = parse(place.address)
        except AddressError as error:
            raise Unavailable(str(error)) from None
        return TlsDialer(self._reactor, address, lambda: self._directory.run(trust, address), auth)

    def _auth(
        self, gateway: _Gateway, remote: Remote, uuid: bytes, place: Union[P2PAnnex, TorAnnex]
    ) -> GetAuth:
        """Its token, as it is when a connection is made.  Raises `Unavailable`, and so does the result."""
        if uuid != remote.uuid:
            raise Unavailable(
                f"its token is for itself only: {os.fsdecode(uuid)} needs an address and a token of its own, "
                "see `annexd invite --all-nodes`"
            )

        async def auth() -> Auth:
            disk = self._directory.disk_at(gateway.git_dir)
            token = await disk.patiently(disk.disk.run(stored_token, gateway.git_dir, place))
            if token is None:
                raise Unavailable(f"there is no token for {place}; see `git annex p2p --link`")
            return Auth(gateway.uuid, token)

        return auth

    def _ssh(self) -> SshHosts:
        if self._hosts is None:
            self._hosts = SshHosts(self._reactor, self._environ, connect_s=self._settings().connect)
        return self._hosts


def _gateway(repository: Repository) -> _Gateway:
    return _Gateway(repository.uuid, repository.git_dir, repository.work_tree, repository.clocks.boot)


def _options(remote: Remote) -> tuple[str, ...]:
    return tuple(map(os.fsdecode, remote.ssh_options))
