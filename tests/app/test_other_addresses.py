"""By which address a gateway asks another one for what is behind that."""

from __future__ import annotations

import unittest

from annexd.app.other_addresses import as_asked
from annexd.router.configured import Remote

G2, G3, CLUSTER = b"gateway-2", b"gateway-3", b"cluster"


def remote(name: str, uuid: bytes, url: str) -> Remote:
    return Remote(name, uuid, url.encode(), 200.0)


class OtherAddresses(unittest.TestCase):
    def assert_url(self, url: str, at: Remote, *others: Remote) -> None:
        found = as_asked(at, CLUSTER, [at, *others])
        self.assertEqual((found.name, found.url.decode(), found.uuid), (at.name, url, CLUSTER))

    def test_at_the_same_onion(self) -> None:
        at = remote("G2", G2, "tor-annex::gw.two.onion:7001")
        elsewhere = remote("c3", CLUSTER, "tor-annex::cl.three.onion:7001")
        another_port = remote("c4", CLUSTER, "tor-annex::cl.two.onion:7002")
        wanted = remote("c2", CLUSTER, "tor-annex::CL.two.onion:7001")
        self.assert_url("tor-annex::CL.two.onion:7001", at, elsewhere, another_port, wanted)
        self.assertIs(as_asked(at, CLUSTER, [at, elsewhere, another_port]), at)

    def test_at_the_same_listener(self) -> None:
        at = remote("G2", G2, "p2p-annex::annexd:h:1,label=gw")
        wanted = remote("c2", CLUSTER, "p2p-annex::annexd:h:1,label=cl")
        self.assert_url(
            "p2p-annex::annexd:h:1,label=cl", at, remote("c", CLUSTER, "p2p-annex::annexd:i:1"), wanted
        )

    def test_where_tokens_are_of_no_use(self) -> None:
        others = [remote("c2", CLUSTER, "tor-annex::cl.two.onion:7001"), remote("c", CLUSTER, "ssh://h/x")]
        for url in ("ssh://h/x", "/srv/x", "p2p-annex::annexd:nonsense", "p2p-annex::x:y"):
            at = remote("G2", G2, url)
            self.assertIs(as_asked(at, CLUSTER, [at, *others]), at)

    def test_itself(self) -> None:
        at = remote("G2", G2, "tor-annex::gw.two.onion:7001")
        self.assertIs(as_asked(at, G2, [remote("G2b", G2, "tor-annex::x.two.onion:7001"), at]), at)
