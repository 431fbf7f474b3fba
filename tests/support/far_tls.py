"""A repository that an annexd serves over TLS, as a node of a gateway."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from annexd.app.certificates import own_fingerprint
from annexd.client.p2p_address import Address
from annexd.errors import Unavailable
from annexd.protocol.messages import Auth
from annexd.remotes.dialing import Dialer, GetAuth
from annexd.remotes.link import Link
from annexd.remotes.peer import PeerNode
from annexd.remotes.tls import TlsDialer, trust
from annexd.repo.parts import boot_seconds
from annexd.sessions.deadlines import Patience
from annexd.store import Caller
from tests.support.processes import descendants, running
from tests.support.store_contract import CONTENT, key_of
from tests.support.tls_scenes import TlsScene

CALLER = Caller(b"client", "alice")
PATIENCE = Patience(connect=20, answer=20, stall=20, idle=30)
DEADLINE_S = 4.0
"""Where it is waited for."""

AT_ONCE_S = 3.0
"""Without waiting for a deadline, on a busy machine."""


class OverTls(TlsScene, TestCase):
    """``node`` is the served repository."""

    patience = PATIENCE
    timeout = 300

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        super().setUp()
        self.nodes: list[PeerNode] = []
        self.node = self.new_node(self.dialer())

    def dialer(self) -> Dialer:
        return self.tls(self.far_address(), self.secret)

    def far_address(self, **changes: Any) -> Address:
        words = {"host": "127.0.0.1", "port": self.port, "sha256": own_fingerprint(str(self.state))}
        return Address(**{**words, "label": "served", **changes})

    def tls(self, address: Address, secret: str) -> Dialer:

        async def context() -> ssl.SSLContext:
            return trust(address)

        return TlsDialer(self.reactor, address, context, given(Auth(b"gateway", secret.encode())))

    def new_node(self, dialer: Dialer, uuid: bytes | None = None) -> PeerNode:
        link = Link("far", uuid or self.uuid, dialer, self.reactor, patience=self.patience)
        self.nodes.append(PeerNode(link, 200.0, boot_seconds))
        return self.nodes[-1]

    async def tearDown(self) -> None:
        for node in self.nodes:
            node.close()
        while any(map(_is_helper, descendants(os.getpid()))):
            await self.pause()
        await self.pause()

    async def pause(self) -> None:
        await deferLater(self.reactor, 0.02)

    async def ask(self, node: PeerNode | None = None) -> bool:
        return await (node or self.node).store(CALLER).present(key_of(CONTENT))

    async def assert_unavailable(self, node: PeerNode | None = None, *words: str) -> float:
        """Asking fails; the seconds that took."""
        began = self.reactor.seconds()
        try:
            await self.ask(node)
        except Unavailable as error:
            for word in words:
                self.assertIn(word, str(error))
            return float(self.reactor.seconds() - began)
        self.fail("Unavailable expected")

    async def comes_back(self) -> None:
        for _ in range(1500):
            try:
                await self.ask()
                return
            except Unavailable:
                await self.pause()
        self.fail("the node stays away")


def _is_helper(pid: int) -> bool:
    try:
        return running(pid) and b"git-annex-p2p-" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def given(auth: Auth) -> GetAuth:
    """A token that is always the same."""

    async def get() -> Auth:
        return auth

    return get
