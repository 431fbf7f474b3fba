"""The address of a repository that peers come to."""

from __future__ import annotations

import os
import ssl
import stat

from annexd.client.p2p_address import fingerprint, parse
from tests.support.p2p_programs import Repository


class AddressTests(Repository):
    def test_it_stays_the_same(self) -> None:
        first = self.print_address()
        self.assertEqual(first.returncode, 0)
        address = parse(first.stdout.removesuffix("\n"))
        self.assertEqual(self.git("config", "annexd.listen"), str(address.port))
        self.assertEqual(self.print_address().stdout, first.stdout)
        self.assertEqual(stat.S_IMODE(self.pem.stat().st_mode), 0o600)
        self.assertEqual(os.listdir(self.pem.parent), ["tls.pem"])
        certificate = self.pem.read_text()
        der = ssl.PEM_cert_to_DER_cert(certificate[certificate.index("-----BEGIN CERT") :])
        self.assertEqual(address.sha256, fingerprint(der))
        self.assertIn(f"port {address.port}", first.stderr)

    def test_what_git_config_says(self) -> None:
        self.git("config", "annexd.address", "annex.example:7001,name=other.example")
        address = self.address()
        self.assertEqual(str(address), f"annex.example:7001,sha256={address.sha256},name=other.example")
        self.assertEqual(self.git("config", "annexd.listen"), "")

    def test_a_port_that_is_set(self) -> None:
        self.git("config", "annexd.listen", "127.0.0.1:7002")
        self.assertEqual(self.address().port, 7002)

    def test_from_a_work_tree(self) -> None:
        self.git("-c", "user.name=x", "-c", "user.email=x@y", "commit", "-q", "--allow-empty", "-m", "x")
        self.git("worktree", "add", "-q", str(self.directory / "other"))
        address = self.address()
        self.repo = self.directory / "other"
        self.assertEqual(self.address(), address)

    def test_sentences(self) -> None:
        self.git("config", "annexd.address", "nonsense")
        self.assertIn("annexd.address in git config: 'nonsense' is no address", self.print_address().stderr)
        self.git("config", "--unset", "annexd.address")
        self.git("config", "annexd.listen", "nonsense")
        self.assertIn("should be HOST:PORT or PORT", self.print_address().stderr)
        self.repo = self.directory
        self.assertIn("no git repository here", self.print_address().stderr)

    def test_without_openssl(self) -> None:
        tools = self.directory / "tools"
        tools.mkdir()
        for name in ("git", "readlink"):
            (tools / name).symlink_to(f"/usr/bin/{name}")
        done = self.print_address(PATH=str(tools))
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("a certificate cannot be made: openssl cannot be run: it is not installed", done.stderr)
