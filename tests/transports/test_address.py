"""Addresses to listen on, and those of peers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from annexd.transports.address import Address, parse, plain_host


class Addresses(SynchronousTestCase):
    def test_good(self) -> None:
        for text, host, port in (
            ("[::]:2222", "::", 2222),
            ("[::1]:0", "::1", 0),
            ("[fe80::1%eth0]:22", "fe80::1%eth0", 22),
            ("0.0.0.0:65535", "0.0.0.0", 65535),
        ):
            self.assertEqual(Address(host, port), parse(text))
            self.assertEqual(text, str(parse(text)))

    def test_bad(self) -> None:
        for text in (
            "",
            "2222",
            ":2222",
            "::1:22",
            "[::1]",
            "[::1]:",
            "127.0.0.1",
            "127.0.0.1:65536",
            "127.0.0.1:-1",
            "[127.0.0.1]:22",
            "localhost:22",
            "127.0.0.256:22",
            "127.0.0.1:22 ",
        ):
            self.assertRaises(ValueError, parse, text)

    @given(st.ip_addresses(), st.integers(0, 65535))
    def test_any(self, ip: object, port: int) -> None:
        address = Address(str(ip), port)
        self.assertEqual(address, parse(str(address)))

    def test_peers(self) -> None:
        for host, plain in (
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::FFFF:192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:1", "::ffff:1"),
        ):
            self.assertEqual(plain, plain_host(host))
