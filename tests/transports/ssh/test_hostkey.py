"""The host's key: made once, read by nobody else."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat
from twisted.trial.unittest import SynchronousTestCase

from annexd.errors import ConfigError
from annexd.transports.ssh.hostkey import fingerprint, read, read_or_make
from tests.support.ssh_keys import ecdsa_key, ed25519_key, rsa_key


class HostKey(SynchronousTestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.path = Path(scratch.name) / "key"

    def write(self, text: bytes, mode: int = 0o600) -> None:
        self.path.write_bytes(text)
        self.path.chmod(mode)

    def assert_problem(self, *words: str) -> None:
        said = str(self.assertRaises(ConfigError, read, str(self.path)))
        for word in (str(self.path), *words):
            self.assertIn(word, said)

    def test_made_once(self) -> None:
        key, is_new = read_or_make(str(self.path))
        self.assertEqual((True, b"ssh-ed25519"), (is_new, key.sshType()))
        self.assertEqual(0o600, self.path.stat().st_mode & 0o777)
        self.assertEqual((key, False), read_or_make(str(self.path)))
        self.assertEqual([self.path.name], os.listdir(self.path.parent))

    def test_others_may_read_it(self) -> None:
        read_or_make(str(self.path))
        for mode in (0o640, 0o604, 0o660):
            self.path.chmod(mode)
            self.assert_problem("others may read")

    def test_kinds(self) -> None:
        for key in (ed25519_key(), ecdsa_key()):
            self.write(key.toString("openssh"))
            self.assertEqual(key, read(str(self.path)))
        self.write(rsa_key().toString("openssh"))
        self.assert_problem("ed25519 or ecdsa")

    def test_what_is_no_key(self) -> None:
        for text in (b"", b"nonsense", b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", bytes(100)):
            self.write(text)
            self.assert_problem("not a private key")
        self.write(ed25519_key().public().toString("openssh"))
        self.assert_problem("must be private")
        once = PrivateFormat.OpenSSH.encryption_builder().kdf_rounds(1).build(b"secret")
        key = Ed25519PrivateKey.generate()  # Twisted would work a second for the passphrase
        self.write(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, once))
        self.assert_problem("no passphrase")

    def test_no_place(self) -> None:
        self.assert_problem("No such file")
        error = self.assertRaises(ConfigError, read_or_make, str(self.path / "below" / "nothing"))
        self.assertIn("No such file", str(error))

    def test_fingerprint(self) -> None:
        shown = fingerprint(ed25519_key())
        self.assertTrue(shown.startswith("SHA256:") and not shown.endswith("="), shown)
        self.assertEqual(50, len(shown))
