"""[listen.tls], [listen.plain] and [listen.ssh]: what they may say."""

from __future__ import annotations

import ipaddress
import re
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from annexd.app.config import parse
from annexd.app.listen import Address, FrontEnds, Listen, Plain, Ssh, Tls, public_address
from annexd.app.listen_tor import Tor
from annexd.errors import ConfigError

FULL = """\
[listen.tls]
address = ["[::]:7001", "192.0.2.7:7002", "*:7003"]
public = "annex.example.org:443"
certificate = "/etc/tls/chain.pem"
key = "/etc/tls/key.pem"
client-ca = "/etc/tls/ca.pem"
client-certificates = "required"
minimum-version = "1.2"
kernel-tls = true
proxy-from = ["127.0.0.1", "2001:db8::/32"]

[listen.plain]
address = ["127.0.0.1:7004", "[::1]:7005", "/run/annexd/p2p.sock"]
proxy-from = ["unix"]
"""


class Good(SynchronousTestCase):
    def test_everything(self) -> None:
        listen = parse(FULL, "f").listen
        networks = (ipaddress.ip_network("127.0.0.1"), ipaddress.ip_network("2001:db8::/32"))
        self.assertEqual(
            listen.tls,
            Tls(
                (Address("::", 7001), Address("192.0.2.7", 7002), Address("::", 7003)),
                Address("annex.example.org", 443),
                "/etc/tls/chain.pem",
                "/etc/tls/key.pem",
                "/etc/tls/ca.pem",
                "required",
                "1.2",
                True,
                FrontEnds(networks),
            ),
        )
        places = (Address("127.0.0.1", 7004), Address("::1", 7005), "/run/annexd/p2p.sock")
        self.assertEqual(listen.plain, Plain(places, FrontEnds((), True)))

    def test_nothing(self) -> None:
        self.assertEqual(parse("", "f").listen, Listen())

    def test_little(self) -> None:
        tls = tls_of('address = "127.0.0.1:0"')
        self.assertEqual(tls, Tls((Address("127.0.0.1", 0),)))
        self.assertEqual((tls.minimum_version, tls.client_certificates), ("1.3", "optional"))

    def test_public(self) -> None:
        for text, address in (
            ('public = "annex:1"', Address("annex", 1)),
            ('public = "[2001:db8::7]:443"', Address("2001:db8::7", 443)),
            ('public = "2001:db8::7:443"', Address("2001:db8::7", 443)),
            ("", Address("192.0.2.7", 7001)),
        ):
            self.assertEqual(public_address(tls_of(f'address = "192.0.2.7:7001"\n{text}')), address)
        everywhere = public_address(tls_of('address = "[::]:7001"'))
        self.assertEqual(everywhere, Address(socket.getfqdn(), 7001))


class Sample(SynchronousTestCase):
    def test_what_it_suggests(self) -> None:
        """etc/annexd.toml, with all that stands behind one # alone."""
        sample = Path(__file__).parents[2] / "etc" / "annexd.toml"
        text = re.sub(r"(?m)^#(?=\S)", "", sample.read_text())
        listen = parse(text, "f").listen
        assert listen.tls is not None and listen.plain is not None and listen.ssh is not None
        self.assertEqual(listen.ssh.address, (Address("::", 2222),))
        self.assertEqual(listen.tls.address, (Address("::", 7001),))
        self.assertEqual(len(listen.plain.address), 2)
        self.assertEqual(listen.tor, Tor(launch="tor"))


class FrontEndsTests(SynchronousTestCase):
    def test_include(self) -> None:
        front_ends = FrontEnds((ipaddress.ip_network("10.0.0.0/8"),))
        found = [front_ends.include(address) for address in ("10.1.2.3", "11.1.2.3", "::1", "")]
        self.assertEqual(found, [True, False, False, False])
        self.assertTrue(FrontEnds((), True).include(""))


class Wrong(SynchronousTestCase):
    def errors(self, text: str) -> str:
        return str(self.assertRaises(ConfigError, parse, text, "f"))

    def test_sentences(self) -> None:
        for text, sentence in (
            ("listen = 1", "f:1: listen must be a table"),
            ("[listen.tsl]", "f:1: unknown key 'tsl'; listen has tls, plain"),
            ("[listen]\ntls = 1", "f:2: listen.tls must be a table"),
            ("[listen.tls]", "f:1: listen.tls.address is missing"),
            (
                "[listen.tls]\nadress = 1",
                "f:2: listen.tls.adress: unknown key; listen.tls has address, public,",
            ),
            ("[listen.tls]\naddress = 7001", "listen.tls.address: must be a text in quotes, not 7001"),
            ("[listen.tls]\naddress = []", "listen.tls.address: must not be empty"),
            ('[listen.tls]\naddress = ["a:1"]', "address: must be an address and a port, as in"),
            ('[listen.tls]\naddress = "[::]"', "address: must be an address and a port, as in"),
            ('[listen.tls]\naddress = "::1:7001"', "address: must be an address and a port, as in"),
            ('[listen.tls]\naddress = "1.2.3:7001"', "address: must be an address and a port, as in"),
            ('[listen.tls]\naddress = "1.2.3.4:70000"', "address: must be an address and a port, as in"),
            (
                '[listen.tls]\naddress = "*:1"\npublic = "annex"',
                "f:3: listen.tls.public: must be a name or an address, and a port, as in",
            ),
            (
                '[listen.tls]\naddress = "*:1"\npublic = "an nex:1"',
                "f:3: listen.tls.public: must be a name or an address, and a port, as in",
            ),
            (
                '[listen.tls]\naddress = "*:1"\ncertificate = "/x"',
                "f:1: listen.tls: certificate and key are set together, or neither is",
            ),
            (
                '[listen.tls]\naddress = "*:1"\nclient-certificates = "required"',
                "f:1: listen.tls: client-certificates needs client-ca",
            ),
            (
                '[listen.tls]\naddress = "*:1"\nminimum-version = "1.1"',
                "f:3: listen.tls.minimum-version: must be one of 1.2, 1.3, not '1.1'",
            ),
            (
                '[listen.tls]\naddress = "*:1"\nproxy-from = ["lb"]',
                'f:3: listen.tls.proxy-from: must be addresses, networks or "unix"',
            ),
            (
                '[listen.plain]\naddress = "0.0.0.0:7001"',
                "f:2: listen.plain.address: '0.0.0.0:7001' is no loopback address: without TLS",
            ),
            ('[listen.plain]\naddress = "[::]:7001"', "'[::]:7001' is no loopback address"),
            ('[listen.plain]\naddress = "/' + "x" * 107 + '"', "the path of a socket may have 107 bytes"),
            ('[listen.plain]\naddress = "p2p.sock"', "address: must be an address and a port, as in"),
        ):
            with self.subTest(text):
                self.assertIn(sentence, self.errors(text))


def tls_of(text: str) -> Tls:
    tls = parse(f"[listen.tls]\n{text}\n", "f").listen.tls
    assert tls is not None
    return tls


class SshTests(SynchronousTestCase):
    def read(self, text: str) -> Ssh | None:
        return parse("[listen.ssh]\n" + text, "annexd.toml").listen.ssh

    def assert_says(self, text: str, *sentences: str) -> None:
        error = self.assertRaises(ConfigError, self.read, text)
        self.assertEqual(list(sentences), str(error).split("\n"))

    def test_least(self) -> None:
        self.assertEqual(
            Ssh((Address("::", 2222),), authorized_keys="/k"),
            self.read('address = "[::]:2222"\nauthorized-keys = "/k"\n'),
        )

    def test_most(self) -> None:
        text = 'address = ["0.0.0.0:22", "[::1]:23"]\nhost-key = ["/a", "/b"]\nusers = "/etc/annexd/users/"\n'
        self.assertEqual(
            Ssh((Address("0.0.0.0", 22), Address("::1", 23)), ("/a", "/b"), users="/etc/annexd/users"),
            self.read(text),
        )

    def test_neither_or_both(self) -> None:
        for more in ("", 'authorized-keys = "/k"\nusers = "/u"\n'):
            self.assert_says(
                'address = "[::]:22"\n' + more,
                "annexd.toml:1: listen.ssh: one of authorized-keys and users is needed, and not both",
            )

    def test_wrong(self) -> None:
        self.assert_says(
            'address = "2222"\nusers = "u"\nhost-key = "k"\nport = 22\n',
            "annexd.toml:2: listen.ssh.address: must be an address and a port, "
            'as in "[::]:7001" or "192.0.2.7:7001", not \'2222\'',
            "annexd.toml:3: listen.ssh.users: must be an absolute path, not 'u'",
            "annexd.toml:4: listen.ssh.host-key: must be an absolute path, not 'k'",
            "annexd.toml:5: listen.ssh.port: unknown key; "
            "listen.ssh has address, host-key, authorized-keys, users",
        )

    def test_it_needs_an_address(self) -> None:
        self.assert_says(
            'users = "/u"\n', "annexd.toml:1: listen.ssh needs address, or listen.tor with ssh = true"
        )
