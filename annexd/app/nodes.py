"""From a gateway's git remotes to nodes: which of the ways to get there is the one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from annexd.app.local_node import LocalNode
from annexd.app.node_settings import NodeSettings
from annexd.app.read_only import ReadOnlyNode
from annexd.client.p2p_address import AddressError, parse
from annexd.errors import ConfigError, Unavailable
from annexd.node import Condition, Health, Node
from annexd.protocol.messages import Auth
from annexd.remotes.dialing import Dialer
from annexd.remotes.helper import HelperDialer
from annexd.remotes.link import Link
from annexd.remotes.peer import PeerNode
from annexd.remotes.ssh import SshDialer, SshHosts
from annexd.remotes.tls import TlsDialer, trust
from annexd.remotes.tokens import stored_token
from annexd.remotes.url import Http, Local, P2PAnnex, Ssh, Unsupported, place_of
from annexd.repo.local import Repository
from annexd.router.configured import Remote
from annexd.router.directory import Directory
from annexd.store import Caller, Store


class Unusable:
    """
    A remote that annexd cannot use: it takes part in clusters as a node that
    is never reached, and says why.
    """

    is_local = False

    def __init__(self, remote: Remote, uuid: bytes, reason: str) -> None:
        self.uuid = uuid
        self.name = remote.name
        self.cost = remote.cost
        self.reason = reason
        self.condition = Condition(Health.DOWN, time.time(), reason)

    def store(self, caller: Caller) -> Store:
        return _Nothing(self)


class _Nothing:
    """Every method raises `Unavailable`."""

    def __init__(self, node: Unusable) -> None:
        self._node = node

    @property
    def uuid(self) -> bytes:
        return self._node.uuid

    def present_now(self, key: object) -> None:
        return None

    async def _refuse(self, *_: Any) -> Any:
        raise Unavailable(f"{self._node.name}: {self._node.reason}")

    present = lock = remove = timestamp = read = write = changes = _refuse

    async def close(self) -> None:
        pass


class Nodes:
    """
    Makes the nodes of all gateways.  ``environ`` is that of the programs that
    are run for them; ``settings`` are asked for each node that is made.
    """

    def __init__(
        self,
        reactor: Any,
        directory: Directory[Repository],
        settings: Callable[[], NodeSettings],
        environ: Mapping[str, str],
    ) -> None:
        self._reactor = reactor
        self._directory = directory
        self._settings = settings
        self._environ = environ
        self._hosts: SshHosts | None = None
        self._peers: list[PeerNode] = []

    def of(self, repository: Repository) -> Callable[[Remote, bytes], Node]:
        """The maker for one gateway."""

        def make(remote: Remote, uuid: bytes) -> Node:
            node = self._make(repository, remote, uuid)
            return ReadOnlyNode(node) if remote.read_only else node

        return make

    async def close(self) -> None:
        """End all connections."""
        for peer in self._peers:
            peer.close()
        self._peers.clear()
        if self._hosts is not None:
            await self._hosts.close()

    def _make(self, repository: Repository, remote: Remote, uuid: bytes) -> Node:
        directory = repository.git.work_tree or repository.git_dir
        home = os.fsencode(self._environ.get("HOME", "/"))
        place = place_of(remote.url, directory, home)
        try:
            if isinstance(place, Local):
                return self._local(remote, uuid, place)
            return self._peer(repository, remote, uuid, self._dialer(repository, remote, uuid, place))
        except (ConfigError, Unavailable) as error:
            return Unusable(remote, uuid, str(error))

    def _local(self, remote: Remote, uuid: bytes, place: Local) -> Node:
        if uuid != remote.uuid:
            raise Unavailable("what is behind a gateway on this machine's disk cannot be asked for by a path")
        return LocalNode(uuid, remote.name, remote.cost, place.path, self._directory, time.time)

    def _peer(self, repository: Repository, remote: Remote, uuid: bytes, dialer: Dialer) -> Node:
        settings = self._settings()
        link = Link(
            remote.name, uuid, dialer, self._reactor, patience=settings.patience, most=settings.connections
        )
        node = PeerNode(link, remote.cost, repository.clocks.boot)
        self._peers.append(node)
        return node

    def _dialer(self, repository: Repository, remote: Remote, uuid: bytes, place: object) -> Dialer:
        match place:
            case Ssh():
                options = tuple(map(os.fsdecode, remote.ssh_options))
                shell = remote.shell or b"git-annex-shell"
                return SshDialer(self._ssh(), place, uuid, repository.uuid, options=options, shell=shell)
            case P2PAnnex():
                return self._p2p(repository, uuid, remote, place)
            case Http():
                raise Unavailable("remotes over HTTP cannot be used as nodes yet")
            case Unsupported(reason):
                raise Unavailable("special remotes cannot be used as nodes yet" if not remote.url else reason)
        raise AssertionError(place)

    def _p2p(self, repository: Repository, uuid: bytes, remote: Remote, place: P2PAnnex) -> Dialer:
        if uuid != remote.uuid:
            raise Unavailable("over p2p-annex a gateway serves the repository of the token, and no other")
        token = stored_token(repository.git_dir, place)
        if token is None:
            raise Unavailable(f"there is no token for {place}; see `git annex p2p --link`")
        auth = Auth(repository.uuid, token)
        if place.network != "annexd":
            return HelperDialer(self._reactor, place, auth, self._environ)
        try:
            address = parse(place.address)
        except AddressError as error:
            raise Unavailable(str(error)) from None
        return TlsDialer(self._reactor, address, trust(address), auth)

    def _ssh(self) -> SshHosts:
        if self._hosts is None:
            self._hosts = SshHosts(self._reactor, self._environ, connect_s=self._settings().connect)
        return self._hosts
