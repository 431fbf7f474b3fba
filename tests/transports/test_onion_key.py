"""Keys of onion services: what tor's own files look like."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import ConfigError
from annexd.transports.onion_key import OnionKey, hostname_of, is_onion, read_hostname, read_or_make


class Keys(SynchronousTestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.top = Path(scratch.name)
        self.directory = self.top / "onion"

    def make(self) -> OnionKey:
        return read_or_make(str(self.directory))

    def assert_wrong(self, *words: str) -> None:
        error = self.assertRaises(ConfigError, self.make)
        for word in words:
            self.assertIn(word, str(error))

    def test_address(self) -> None:
        """The one that the project Tor has for its own site."""
        hostname = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion"
        public = base64.b32decode(hostname.removesuffix(".onion").upper())[:32]
        self.assertEqual(hostname, hostname_of(public))
        self.assertTrue(is_onion(hostname))
        for bad in (
            "",
            "x.onion",
            hostname.upper(),
            f"a.{hostname}",
            f"{hostname}.",
            "abcdefghijklmnop.onion",
        ):
            self.assertFalse(is_onion(bad), bad)

    def test_made(self) -> None:
        key = self.make()
        self.assertEqual(0o700, self.directory.stat().st_mode & 0o777)
        self.assertEqual({0o600}, {path.stat().st_mode & 0o777 for path in self.directory.iterdir()})
        secret = (self.directory / "hs_ed25519_secret_key").read_bytes()
        public = (self.directory / "hs_ed25519_public_key").read_bytes()
        self.assertEqual((secret[:32], secret[32:]), (b"== ed25519v1-secret: type0 ==\0\0\0", key.secret))
        self.assertEqual((public[:32], len(public)), (b"== ed25519v1-public: type0 ==\0\0\0", 64))
        self.assertEqual(key.hostname, hostname_of(public[32:]))
        self.assertEqual((self.directory / "hostname").read_text(), f"{key.hostname}\n")
        self.assertEqual((key.secret[0] & 7, key.secret[31] & 0xC0), (0, 0x40))
        self.assertEqual(["onion"], os.listdir(self.top))

    def test_the_same_again(self) -> None:
        self.assertEqual(self.make(), self.make())
        elsewhere = self.top / "elsewhere"
        self.assertNotEqual(self.make(), read_or_make(str(elsewhere)))

    def test_for_the_control_port(self) -> None:
        key = OnionKey("x.onion", b"\xff" * 64)
        self.assertEqual(key.for_control, "ED25519-V3:" + base64.b64encode(key.secret).decode())
        self.assertNotIn("255", repr(key))
        self.assertNotIn("secret", repr(key))

    def test_secret_fits_public(self) -> None:
        """Sign with what tor gets as the secret (RFC 8032), and verify with what the address is made of."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        key = self.make()
        public = (self.directory / "hs_ed25519_public_key").read_bytes()[32:]
        signature = sign(key.secret, public, b"message")
        Ed25519PublicKey.from_public_bytes(public).verify(signature, b"message")

    def test_open_to_others(self) -> None:
        self.make()
        (self.directory / "hs_ed25519_secret_key").chmod(0o640)
        self.assert_wrong("open to others", "hs_ed25519_secret_key")

    def test_no_key(self) -> None:
        self.make()
        path = self.directory / "hs_ed25519_secret_key"
        for content in (b"", b"x" * 96, path.read_bytes() + b"x", path.read_bytes()[:-1]):
            path.write_bytes(content)
            self.assert_wrong("no key of an onion service")

    def test_no_hostname(self) -> None:
        self.make()
        (self.directory / "hostname").write_text("example.org\n")
        self.assert_wrong("no onion address")
        (self.directory / "hostname").unlink()
        self.assert_wrong("hostname: No such file")
        self.assertRaises(ConfigError, read_hostname, str(self.directory))

    def test_no_place(self) -> None:
        self.directory = self.top / "missing" / "onion"
        self.assert_wrong("No such file or directory")

    def test_something_is_there(self) -> None:
        """Nothing of it is lost."""
        self.directory.mkdir()
        (self.directory / "file").write_text("")
        self.assert_wrong("onion")
        self.assertEqual(["file"], os.listdir(self.directory))
        self.assertEqual(["onion"], os.listdir(self.top))


# --- Ed25519, slowly (RFC 8032, 6) -------------------------------------------------

_P = 2**255 - 19
_Q = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_BASE_Y = 4 * pow(5, _P - 2, _P) % _P

Point = tuple[int, int, int, int]


def _add(p: Point, q: Point) -> Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % _P, (p[1] + p[0]) * (q[1] + q[0]) % _P
    c, d = 2 * p[3] * q[3] * _D % _P, 2 * p[2] * q[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(scalar: int, point: Point) -> Point:
    found: Point = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            found = _add(found, point)
        point = _add(point, point)
        scalar >>= 1
    return found


def _base() -> Point:
    square = (_BASE_Y * _BASE_Y - 1) * pow(_D * _BASE_Y * _BASE_Y + 1, _P - 2, _P)
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * pow(2, (_P - 1) // 4, _P) % _P
    if x & 1:
        x = _P - x
    return x, _BASE_Y, 1, x * _BASE_Y % _P


def _packed(point: Point) -> bytes:
    inverse = pow(point[2], _P - 2, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def sign(expanded: bytes, public: bytes, message: bytes) -> bytes:
    scalar = int.from_bytes(expanded[:32], "little")
    r = int.from_bytes(hashlib.sha512(expanded[32:] + message).digest(), "little") % _Q
    point = _packed(_times(r, _base()))
    h = int.from_bytes(hashlib.sha512(point + public + message).digest(), "little") % _Q
    return point + ((r + h * scalar) % _Q).to_bytes(32, "little")
