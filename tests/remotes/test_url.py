"""What the urls of git remotes name."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from annexd.remotes.url import Http, Local, P2PAnnex, Place, Ssh, TorAnnex, Unsupported, place_of


def place(url: bytes) -> Place:
    return place_of(url, b"/srv/annex/x", b"/home/me")


class Urls(SynchronousTestCase):
    def test_ssh(self) -> None:
        for url, expected in (
            (b"ssh://host/srv/a", Ssh("host", None, "", b"/srv/a")),
            (b"ssh://me@host:2222/srv/a%20b", Ssh("host", 2222, "me", b"/srv/a b")),
            (b"ssh://host/~/a", Ssh("host", None, "", b"/~/a")),
            (b"ssh://host/~you/a", Ssh("host", None, "", b"/~you/a")),
            (b"ssh://[::1]:22/a", Ssh("::1", 22, "", b"/a")),
            (b"SSH://host/a", Ssh("host", None, "", b"/a")),
            (b"git+ssh://host/a", Ssh("host", None, "", b"/a")),
            (b"ssh://host:/a", Ssh("host", None, "", b"/a")),
            (b"host:/srv/a", Ssh("host", None, "", b"/srv/a")),
            (b"me@host:a/b", Ssh("host", None, "me", b"/~/a/b")),
            (b"host:~/a", Ssh("host", None, "", b"/~/a")),
            (b"host:~you/a", Ssh("host", None, "", b"/~you/a")),
            (b"me@[::1]:a b%20", Ssh("::1", None, "me", b"/~/a b%20")),
            (b"host:\xff", Ssh("host", None, "", b"/~/\xff")),
        ):
            self.assertEqual(place(url), expected, url)

    def test_local(self) -> None:
        for url, path in (
            (b"/srv/b", b"/srv/b"),
            (b"../b", b"/srv/annex/b"),
            (b"./b:c", b"/srv/annex/x/b:c"),
            (b"b/c:d", b"/srv/annex/x/b/c:d"),
            (b"~/b", b"/home/me/b"),
            (b"file:///srv/b%20c/", b"/srv/b c"),
            (b"file://localhost/srv/b", b"/srv/b"),
            (b"/srv/\xff", b"/srv/\xff"),
        ):
            self.assertEqual(place(url), Local(path), url)

    def test_networks_of_peers(self) -> None:
        address = "host:4711,sha256=00,label=x"
        self.assertEqual(place(b"p2p-annex::annexd:" + address.encode()), P2PAnnex("annexd", address))
        self.assertEqual(str(P2PAnnex("annexd", address)), f"annexd:{address}")

    def test_web(self) -> None:
        for url in "https://host/a", "annex+http://host:9417/git-annex/u":
            self.assertEqual(place(url.encode()), Http(url))

    def test_onions(self) -> None:
        for url, host in (
            (b"tor-annex::x.onion:7001", "x.onion"),
            (b"tor-annex::My-n_1.x.onion:7001/path", "My-n_1.x.onion"),
        ):
            found = place(url)
            self.assertEqual(found, TorAnnex(host, 7001))
            assert isinstance(found, TorAnnex)
            self.assertEqual(found.onion, "x.onion")

    def test_what_cannot_be_used_says_why(self) -> None:
        for url in (
            b"",
            b"ssh://host",
            b"ssh://-oProxyCommand=x/a",
            b"ssh://-x@host/a",
            b"-x:a",
            b"ssh://host:99999/a",
            b"host:a\nb",
            b"file://elsewhere/a",
            b"~you/a",
            b"p2p-annex::annexd",
            b"p2p-annex::../x:y",
            b"p2p-annex::annexd:--help",
            b"tor-annex::x.onion",
            b"tor-annex::x.onion:0",
            b"tor-annex::x.onion:70000",
            b"tor-annex::x.example:1",
            b"tor-annex:://x.onion:1",
            b"tor-annex::" + b"x." * 130 + b"onion:1",
            b"gcrypt::host:a",
            b"ext::sh -c x",
            b"rsync://host/a",
        ):
            found = place(url)
            self.assertIsInstance(found, Unsupported, url)
            assert isinstance(found, Unsupported)
            self.assertTrue(found.reason)

    @given(st.binary(max_size=40) | st.text(":/@[]~.-a%0", max_size=20).map(str.encode))
    def test_anything_is_something(self, url: bytes) -> None:
        match place(url):
            case Ssh(host, port, user, path):
                self.assertFalse(host.startswith("-") or user.startswith("-"))
                self.assertTrue(path.startswith(b"/"))
                self.assertTrue(port is None or 0 < port < 65536)
            case Local(path):
                self.assertTrue(path.startswith(b"/"))
