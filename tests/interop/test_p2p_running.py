"""`git annex p2p --enable annexd` in a repository that a running annexd serves."""

from __future__ import annotations

import os
import re
import subprocess

from annexd.app.invitations import label
from annexd.client.p2p_address import URL, Address, parse
from tests.interop.test_p2p_client import Exchange, client, link
from tests.support.p2p_programs import PROGRAM, SECONDS
from tests.support.ports import free_port
from tests.support.processes import until
from tests.support.tls_scenes import TlsScene


class Served(TlsScene, Exchange):
    """``there`` is the repository as its owner sees it, with the daemon's socket in the environment."""

    bare = False

    def setUp(self) -> None:
        self.own_port = free_port()
        self.where = f"127.0.0.1:{self.own_port}"
        self.tokens = "true"
        super().setUp()
        for name in ("git-annex-p2p-annexd", "git-remote-p2p-annex"):
            (self.host.directory / "tools" / name).symlink_to(PROGRAM.with_name(name))
        self.host.env["ANNEXD_SOCKET"] = str(self.annexd().daemon.socket)
        self.machine = client(self.directory / "client")
        self.here = self.machine.new("here")

    def configure(self) -> None:
        super().configure()
        written = self.config.read_text()
        path = f'path = "{self.served}"\n'
        self.config.write_text(written.replace(path, f"{path}git-annex-tokens = {self.tokens}\n"))

    def print_address(self) -> tuple[str, str]:
        done = subprocess.run(
            [PROGRAM, "address"],
            cwd=self.served,
            env=self.host.env,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip(), done.stderr

    def expected(self) -> Address:
        return parse(self.address.replace("label=served", f"label={label(os.fsencode(self.served))}"))

    def link_with(self) -> None:
        [url] = re.findall(rb"p2p-annex::annexd:\S+", self.host.annex(self.served, "p2p", "--gen-addresses"))
        url, _, token = url.decode().rpartition(":")
        self.assertEqual(url, URL + str(self.expected()))
        link(self.machine, self.here, url, token)

    # --- with git-annex --------------------------------------------------

    def test_content_and_git(self) -> None:
        self.host.annex(self.served, "p2p", "--enable", "annexd")
        self.assertFalse((self.git_dir / "annexd" / "tls.pem").exists())
        self.link_with()
        self.exchange(self.machine, self.here)
        self.machine.git(self.here, "push", "-q", "peer", "main:refs/heads/theirs")
        self.machine.git(self.here, "fetch", "-q", "peer")
        refs = self.machine.git(self.here, "rev-parse", "main", "peer/theirs").split()
        self.assertEqual(refs[0], refs[1])
        self.assert_told("token:git-annex", "PUT", "done")

    def test_beside_a_remotedaemon(self) -> None:
        """Which starts the helper for the address, where there is nothing for it to do."""
        self.host.annex(self.served, "p2p", "--enable", "annexd")
        daemon = subprocess.Popen(
            ["git-annex", "remotedaemon", "--foreground"],
            cwd=self.served,
            env=self.host.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        log = self.git_dir / "annexd" / "p2p.log"
        with daemon:
            try:
                until(lambda: log.exists() and "annexd serves it" in log.read_text(), "the helper says so")
                self.link_with()
                [key] = self.machine.files(self.here, "mine", 1)
                self.machine.annex(self.here, "copy", "-q", "--key", key, "--to", "peer")
            finally:
                daemon.communicate(timeout=SECONDS)
        self.assert_told("token:git-annex", "PUT", "done")

    # --- the address -----------------------------------------------------

    def test_it_stays_while_annexd_is_down(self) -> None:
        first, said = self.print_address()
        self.assertEqual((first, said), (str(self.expected()), ""))
        self.annexd().daemon.stop()
        again, said = self.print_address()
        self.assertEqual(first, again)
        self.assertIn("no annexd is running", said)

    def test_tokens_are_not_taken(self) -> None:
        """An address of its own, and a word about what there could be."""
        first, _ = self.print_address()
        self.tokens = "false"
        self.configure()
        self.reload()
        own, said = self.print_address()
        self.assertIn("without git-annex-tokens = true", said)
        self.assertNotEqual(first, own)
        self.assertTrue((self.git_dir / "annexd" / "tls.pem").exists())
        self.assertEqual(self.host.tries(self.served, "config", "--get", "annexd.servedAt")[0], 1)

    def test_what_git_config_says_comes_first(self) -> None:
        self.host.git(self.served, "config", "annexd.listen", "7002")
        own, said = self.print_address()
        self.assertEqual(parse(own).port, 7002)

    def test_another_repository(self) -> None:
        other = self.host.new("other")
        self.served = other
        own, said = self.print_address()
        self.assertNotIn(str(self.own_port), own)
        self.assertNotIn("annexd serves", said)

    def reload(self) -> None:
        self.annexd().daemon.ask("reload")
