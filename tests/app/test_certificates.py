"""The server's certificate: made, found, read again, and what can be wrong with it."""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.certificates import Certificates, load, own_fingerprint, system_context
from annexd.app.config import Config
from annexd.app.invitations import known_addresses
from annexd.app.listen import Address, Listen, Tls
from annexd.errors import ConfigError
from tests.support.authorities import Authority

ANYWHERE = (Address("::", 7001),)


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = scratch.name
        self.state = os.path.join(scratch.name, "state")

    def file(self, name: str, data: bytes = b"") -> str:
        path = os.path.join(self.directory, name)
        if data:
            with open(path, "wb") as file:
                file.write(data)
        return path


class Own(Case):
    def test_made_once(self) -> None:
        first = load(Tls(ANYWHERE), self.state)
        again = load(Tls(ANYWHERE), self.state)
        self.assertEqual(first.fingerprint, again.fingerprint)
        self.assertEqual(os.listdir(self.state), ["tls.pem"])
        self.assertEqual(os.stat(os.path.join(self.state, "tls.pem")).st_mode & 0o777, 0o600)
        self.assertEqual(os.stat(self.state).st_mode & 0o777, 0o700)

    def test_fingerprint(self) -> None:
        """What a client sees of it."""
        fingerprint = own_fingerprint(self.state)
        with open(os.path.join(self.state, "tls.pem")) as file:
            pem = file.read()
        der = ssl.PEM_cert_to_DER_cert(pem[pem.index(ssl.PEM_HEADER) :])
        self.assertEqual(fingerprint, hashlib.sha256(der).hexdigest())
        self.assertEqual(load(Tls(ANYWHERE), self.state).fingerprint, fingerprint)

    def test_good_for_ever(self) -> None:
        own_fingerprint(self.state)
        said = subprocess.run(
            ["openssl", "x509", "-in", os.path.join(self.state, "tls.pem"), "-noout", "-enddate"],
            check=True,
            capture_output=True,
        ).stdout
        self.assertEqual(said, b"notAfter=Dec 31 23:59:59 9999 GMT\n")

    def test_no_place_for_it(self) -> None:
        self.file("state", b"a file")
        error = self.assertRaises(ConfigError, load, Tls(ANYWHERE), self.state)
        self.assertIn(self.state, str(error))

    def test_addresses_that_are_given_out(self) -> None:
        config = Config(listen=Listen(Tls(ANYWHERE, Address("2001:db8::7", 443))))
        found = known_addresses(config, self.state)
        self.assertEqual(found, [f"2001:db8::7:443,sha256={own_fingerprint(self.state)}"])
        config = Config(listen=Listen(Tls(ANYWHERE, Address("annex.example.org", 443), "/c", "/k")))
        self.assertEqual(known_addresses(config, self.state), ["annex.example.org:443"])
        self.assertEqual(known_addresses(Config(), self.state), [])


class Given(Case):
    def setUp(self) -> None:
        super().setUp()
        self.pem = Authority(self.directory, "ca").issue("annex")

    def load(self, certificate: str, key: str, client_ca: str | None = None) -> str:
        wanted = Tls(ANYWHERE, certificate=certificate, key=key, client_ca=client_ca)
        return load(wanted, self.state).fingerprint

    def wrong(self, *files: str) -> str:
        return str(self.assertRaises(ConfigError, self.load, *files))

    def test_good(self) -> None:
        self.load(self.pem, self.pem, self.file("ca-ca.pem"))
        self.assertFalse(os.path.exists(self.state))

    def test_settings(self) -> None:
        context = system_context(Tls(ANYWHERE, minimum_version="1.2"))
        self.assertEqual(context.minimum_version, ssl.TLSVersion.TLSv1_2)
        self.assertTrue(context.options & ssl.OP_NO_RENEGOTIATION)
        self.assertFalse(context.options & ssl.OP_IGNORE_UNEXPECTED_EOF)
        self.assertEqual(context.verify_mode, ssl.CERT_NONE)
        ciphers = {one["name"] for one in context.get_ciphers() if one["protocol"] == "TLSv1.2"}
        self.assertTrue(ciphers and all(name.startswith("ECDHE-") for name in ciphers), ciphers)

    def test_wrong(self) -> None:
        """The file is named, and what is wrong with it."""
        other = Authority(self.directory, "other").issue("other")
        junk, missing = self.file("junk", b"nonsense\n"), self.file("missing")
        half = self.file("half", Path(self.pem).read_bytes()[:400])
        none = "there is no certificate in it (in PEM form)"
        for files, sentence in (
            ((missing, self.pem), f"{missing}: No such file or directory"),
            ((self.pem, missing), f"{missing}: No such file or directory"),
            ((self.directory, self.pem), f"{self.directory}: Is a directory"),
            ((junk, self.pem), f"{junk}: {none}"),
            ((half, self.pem), f"{half}: {none}"),
            ((self.pem, other), f"{other}: this is not the key of {self.pem}"),
            ((self.pem, junk), f"{junk}: the key or {self.pem} cannot be used: "),
            ((self.pem, self.pem, missing), f"{missing}: No such file or directory"),
            ((self.pem, self.pem, junk), f"{junk}: there is no certificate in it that can be used: "),
        ):
            self.assertTrue(self.wrong(*files).startswith(sentence), (sentence, self.wrong(*files)))

    def test_a_key_with_a_passphrase(self) -> None:
        """OpenSSL would ask for it on a terminal, and wait there."""
        locked = self.file("locked")
        argv = ["openssl", "pkey", "-in", self.pem, "-aes128", "-passout", "pass:abcd", "-out", locked]
        subprocess.run(argv, check=True, capture_output=True)
        sentence = f"{locked}: the key has a passphrase, for which annexd cannot ask"
        self.assertEqual(self.wrong(self.pem, locked), sentence)


class Changing(Case):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        authority = Authority(self.directory, "ca")
        self.first, self.second = authority.issue("first"), authority.issue("second")
        self.pem = self.file("tls.pem")
        self.put(self.first)
        self.certificates = Certificates(self.clock, self.state)
        self.wanted = Tls(ANYWHERE, certificate=self.pem, key=self.pem)
        self.certificates.use(self.certificates.read(self.wanted))
        self.before = self.certificates.identity()

    def put(self, pem: str) -> None:
        """As renewing programs do: a new file takes the place of the old one."""
        shutil.copy(pem, self.pem + ".new")
        os.rename(self.pem + ".new", self.pem)

    def test_read_again(self) -> None:
        self.put(self.second)
        self.assertIs(self.certificates.identity(), self.before)
        self.clock.advance(1)
        with capturedLogs() as events:
            after = self.certificates.identity()
        self.assertNotEqual(after.fingerprint, self.before.fingerprint)
        self.assertEqual(len(events), 1)
        self.clock.advance(1)
        self.assertIs(self.certificates.identity(), after)

    def test_what_is_wrong_changes_nothing(self) -> None:
        """It is said once, and tried again when the files change again."""
        self.put(self.file("junk", b"nonsense\n"))
        with capturedLogs() as events:
            for _ in range(3):
                self.clock.advance(1)
                self.assertIs(self.certificates.identity(), self.before)
        [event] = events
        self.assertIn(f"{self.pem}: there is no certificate in it", event["error"])
        os.unlink(self.pem)
        self.clock.advance(1)
        self.assertIs(self.certificates.identity(), self.before)
        self.put(self.second)
        self.clock.advance(1)
        self.assertNotEqual(self.certificates.identity().fingerprint, self.before.fingerprint)

    def test_told_to(self) -> None:
        """At once, whatever the clock says; and what cannot be read changes nothing."""
        self.put(self.second)
        self.certificates.use(self.certificates.read(self.wanted))
        after = self.certificates.identity()
        self.assertNotEqual(after.fingerprint, self.before.fingerprint)
        late = self.file("late.pem")
        self.assertRaises(ConfigError, self.certificates.read, Tls(ANYWHERE, certificate=late, key=late))
        shutil.copy(self.first, late)
        self.clock.advance(1)
        self.assertIs(self.certificates.identity(), after)

    def test_changed_after_it_was_read(self) -> None:
        read = self.certificates.read(self.wanted)
        self.put(self.second)
        self.certificates.use(read)
        self.clock.advance(1)
        self.assertNotEqual(self.certificates.identity().fingerprint, self.before.fingerprint)
