"""The address of a repository that is reached over TLS."""

from __future__ import annotations

import hashlib
import shlex

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from annexd.client import p2p_address
from annexd.client.p2p_address import Address, AddressError, parse

PIN = "0123456789abcdef" * 4

_WORDS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFG0123456789._-", min_size=1, max_size=12)
_NAMES = st.from_regex(r"\A[a-z][a-z0-9-]{0,20}(\.[a-z][a-z0-9]{0,10}){0,2}\.?\Z")
_HOSTS = st.one_of(
    _NAMES,
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.ip_addresses(v=6).map(lambda ip: f"{ip}%eth0.1"),
)
_ADDRESSES = st.builds(
    Address,
    _HOSTS,
    st.integers(1, 65535),
    st.one_of(st.just(""), st.text("0123456789abcdef", min_size=64, max_size=64)),
    st.one_of(st.just(""), _NAMES),
    st.one_of(st.just(""), _WORDS),
)

# What was seen to come through git, git-annex (`p2p --link`, `git ls-remote`, `checkpresentkey`) unchanged.
_SURVIVE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:,=.-_%")


class PropertyTest(SynchronousTestCase):
    @given(_ADDRESSES)
    def test_what_is_written_is_read(self, address: Address) -> None:
        self.assertEqual(parse(str(address)), address)
        self.assertEqual(str(parse(str(address))), str(address))

    @given(_ADDRESSES)
    def test_nothing_is_quoted_on_the_way(self, address: Address) -> None:
        text = str(address)
        self.assertLessEqual(set(text), _SURVIVE)
        self.assertEqual(shlex.quote(address.url), address.url)
        self.assertFalse(text.startswith("-"))

    @given(st.text(max_size=40) | st.text(":,=.[]%0123456789abcdefhmnos", max_size=40))
    def test_any_text_is_read_or_refused_with_a_sentence(self, text: str) -> None:
        try:
            self.assertEqual(parse(str(parse(text))), parse(text))
        except AddressError as error:
            self.assertNotIn("\n", str(error))


class ReadingTest(SynchronousTestCase):
    def read(self, text: str) -> tuple[str, int, str, str, str]:
        address = parse(text)
        return (address.host, address.port, address.sha256, address.name, address.label)

    def test_forms(self) -> None:
        for text, values in {
            "annex.example.org:7001": ("annex.example.org", 7001, "", "", ""),
            f"192.0.2.7:7001,sha256={PIN}": ("192.0.2.7", 7001, PIN, "", ""),
            f"2001:db8::7:7001,sha256={PIN}": ("2001:db8::7", 7001, PIN, "", ""),
            "10.0.0.5:443,name=annex.example.org": ("10.0.0.5", 443, "", "annex.example.org", ""),
            f"h:1,sha256={PIN},name=n,label=Photos.2": ("h", 1, PIN, "n", "Photos.2"),
            f"h:1,label=x,sha256={PIN}": ("h", 1, PIN, "", "x"),
            "fe80::1%25eth0:7001": ("fe80::1%eth0", 7001, "", "", ""),
            "HOST.Example.:1": ("host.example.", 1, "", "", ""),
        }.items():
            self.assertEqual(self.read(text), values)

    def test_a_fingerprint_as_openssl_prints_it(self) -> None:
        printed = ":".join(PIN[i : i + 2] for i in range(0, 64, 2)).upper()
        self.assertEqual(parse(f"h:1,sha256={printed}"), Address("h", 1, sha256=PIN))

    def test_what_the_server_is_called(self) -> None:
        for text, name in {
            "Annex.example.org.:1": "annex.example.org",
            "10.0.0.5:1,name=n": "n",
            "::1:1": "::1",
            "fe80::1%25eth0:1": "fe80::1",
        }.items():
            self.assertEqual(parse(text).server_name, name)

    def test_refusals(self) -> None:
        for text, part in {
            "": "needs a port",
            "host": "needs a port",
            "host:": "needs a port",
            "host:ssh": "needs a port",
            "host:\u0661": "needs a port",
            "host:0": "ports are 1 to 65535",
            "host:65536": "ports are 1 to 65535",
            ":1": "no name of a host",
            "-h:1": "no name of a host",
            "a..b:1": "no name of a host",
            "h h:1": "no name of a host",
            "b\u00fccher.example:1": "xn--",
            "300.1.1.1:1": "no IPv4 address",
            "1.2.3:1": "no IPv4 address",
            "::1": "no IPv6 address",
            "::g:1": "no IPv6 address",
            "fe80::1%25:1": "no IPv6 address",
            "[::1]:7001": "write ::1:PORT instead",
            "h:1,": "not known",
            "h:1,sha256": "not known",
            "h:1,sha256=": "not known",
            "h:1,sha1=00": "not known",
            "h:1,sha256=00": "64 hexadecimal digits",
            "h:1,label=a/b": "no label",
            "h:1,label=" + "a" * 65: "no label",
            "h:1,name=-": "no name of a host",
            "h:1,label=a,label=b": "twice",
            "h" * 63 + ".b" * 64 + ":1": "too long",
        }.items():
            with self.assertRaises(AddressError, msg=text) as caught:
                parse(text)
            self.assertIn(part, str(caught.exception))


class FileNameTest(SynchronousTestCase):
    def test_as_git_annex_escapes(self) -> None:
        self.assertEqual(
            p2p_address.token_file_name("annexd:h_A-1.b:7,sha256=0f"),
            "annexd%3Ah%5FA%2D1%2Eb%3A7%2Csha256%3D0f",
        )


class FingerprintTest(SynchronousTestCase):
    def test_it_is_the_sha256(self) -> None:
        self.assertEqual(p2p_address.fingerprint(b"DER"), hashlib.sha256(b"DER").hexdigest())

    def test_literals(self) -> None:
        literal = ["127.0.0.1", "::1", "fe80::1%eth0"]
        self.assertEqual([h for h in [*literal, "localhost", "a.b"] if p2p_address.is_literal(h)], literal)
