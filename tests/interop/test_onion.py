"""annexd as an onion service: the real tor, and git-annex as everybody has it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

from tests.support.annex import objects
from tests.support.cut import Cut
from tests.support.onion_scene import OnionScene
from tests.support.processes import descendants, running, until
from tests.support.programs import program

_LARGE = os.urandom(3_000_000)


class RunningTor(OnionScene):
    """By the control port of a tor that runs."""

    def setUp(self) -> None:
        super().setUp()
        self.control = self.shared_tor("service")

    def serve_linked(self, listen: str = "") -> bytes:
        """With ``gw`` as the client's remote, and a key that is there."""
        self.serve(f'control = "{self.control}"\n{listen}')
        self.await_published()
        self.link("gw", self.invite("bob"))
        key = self.add_file("small", b"small\n")
        self.annex("copy", "--to", "gw", "small")
        return key

    def test_git_annex(self) -> None:
        """All that one does with a remote, while tor reads its configuration again."""
        small = self.serve_linked()
        os.kill(self.network.pid("service"), signal.SIGHUP)
        until(lambda: "Received reload signal" in self.network.log("service"), "tor has heard it")
        large = self.add_file("large", _LARGE)
        self.annex("copy", "--to", "gw")
        self.assertEqual({small, large}, objects(self.served))
        self.annex("drop", "large")
        self.annex("get", "large")
        self.assertEqual(_LARGE, (self.work / "large").read_bytes())
        self.annex("fsck", "--from", "gw")
        self.annex("drop", "--from", "gw", "small")
        self.annex("move", "--to", "gw", "large")
        self.assertEqual({large}, objects(self.served))
        self.annex("sync", "gw")
        heads = self.host.git(self.served, "for-each-ref", "--format=%(refname)").split()
        self.assertTrue({b"refs/heads/main", b"refs/heads/git-annex"} <= set(heads), heads)
        self.assertEqual({self.host.uuid(self.served)}, self.client.holders(self.work, large))
        self.annex("pull", "gw")
        self.add_file("third", b"third\n")
        self.annex("push", "gw")
        self.assertEqual(
            self.client.git(self.work, "rev-parse", "main"), self.host.git(self.served, "rev-parse", "main")
        )
        self.client.git(self.work, "fetch", "gw")
        self.assert_told("login of token:bob from an onion service")
        self.assertTrue(self.standing.startswith("published since"))
        self.assertEqual(1, self.daemon.said().count(": publishing"))

    def test_each_repository_has_its_own_token(self) -> None:
        """One onion and one port for all of them: git-annex keeps tokens by the name of the host."""
        key = self.serve_linked()
        other = self.host.new("other", bare=True)
        self.config.write_text(self.config.read_text() + f'[[repository]]\npath = "{other}"\n')
        self.annexd_reload()
        self.link("second", self.invite("bob", repository=other))
        self.annex("copy", "--to", "second", "small")
        self.annex("fsck", "--from", "gw", "small")
        self.assertEqual((objects(other), objects(self.served)), ({key}, {key}))
        uuids = [self.client.git(self.work, "config", f"remote.{n}.annex-uuid") for n in ("gw", "second")]
        self.assertEqual([uuid.strip() for uuid in uuids], [*map(self.host.uuid, (self.served, other))])

    def annexd_reload(self) -> None:
        os.kill(self.daemon.pid, signal.SIGHUP)
        self.assert_told("reloaded: ")

    def test_who_may_do_what(self) -> None:
        """A revoked token is good for nothing, a read-only one for reading."""
        key = self.serve_linked()
        self.link("reader", self.invite("reader", "read-only"))
        self.annex("drop", "small")
        self.annex("get", "--from", "reader", "small")
        said = self.annex("drop", "--from", "reader", "small", ok=False)
        self.assertIn(b"read-only", said)
        address = self.invite("carol")
        self.annexd("token", "revoke", "bob")
        self.annexd("token", "revoke", "carol")
        self.assertIn(b"nable to", self.link("again", address, ok=False))
        # The remotes are one repository, and the last token that was linked is of the reader.
        self.assertTrue(self.reaches("reader", key))
        self.annexd("token", "revoke", "reader")
        self.assertFalse(self.reaches("reader", key))
        self.assert_told("login-refused of - from an onion service")

    def test_the_control_connection_is_cut(self) -> None:
        path = self.directory / "control"
        cut = Cut(str(path), str(self.control))
        self.addCleanup(cut.close)
        self.control = path
        key = self.serve_linked()
        cut.cut()
        until(lambda: "there is no control port" in self.standing, "annexd notices")
        self.assertFalse(self.reaches("gw", key))
        cut.mend()
        self.await_published()
        self.await_reached("gw", key)
        self.assert_told("is not published: tor has closed the control connection")

    def test_tor_is_killed(self) -> None:
        key = self.serve_linked()
        self.network.kill("service")
        until(lambda: "there is no control port" in self.standing, "annexd notices")
        self.shared_tor("service")
        self.assertLess(self.await_published(), 60)
        self.await_reached("gw", key)

    def test_two_with_one_key(self) -> None:
        """The second says what is the matter, and takes over when the first is gone."""
        key = self.serve_linked()
        first = self.daemon
        second = type(first)(self.directory / "second", Path(self.host.env["HOME"]), options=first.options)
        self.addCleanup(second.stop)
        self.daemon = second
        second.start()
        until(lambda: "already: from another annexd" in self.standing, "the second says so")
        self.assertEqual(0, first.stop())
        self.await_published()
        self.await_reached("gw", key)

    def test_only_for_clients_with_a_key(self) -> None:
        """As the manual says how to make one; with proof of work, too."""
        public, private = self.client_key()
        self.serve(f'control = "{self.control}"\nclients = ["{public}"]\nproof-of-work = true')
        self.await_published()
        address = self.invite("bob")
        hostname = (self.state / "onion" / "hostname").read_text().strip()
        keys = self.other_client()
        self.link("gw", address, ok=False)
        (keys / "annexd.auth_private").write_text(
            f"{hostname.removesuffix('.onion')}:descriptor:x25519:{private}\n"
        )
        os.kill(self.network.pid(keys.parent.name), signal.SIGHUP)
        until(lambda: "Received reload signal" in self.network.log(keys.parent.name), "tor has heard it")
        self.link("gw", address)

    def client_key(self) -> tuple[str, str]:
        """The public and the private one."""
        pem = self.directory / "client.pem"
        openssl = program("openssl", "openssl")
        subprocess.run([openssl, "genpkey", "-algorithm", "x25519", "-out", pem], check=True)
        return self.last_bytes(pem, "-pubout"), self.last_bytes(pem)

    def last_bytes(self, pem: Path, *which: str) -> str:
        openssl = program("openssl", "openssl")
        command = f"{openssl} pkey -in {pem} {' '.join(which)} -outform DER | tail -c 32 | base32 | tr -d ="
        done = subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True)
        return done.stdout.strip()


class OwnTor(OnionScene):
    """One that annexd starts."""

    def setUp(self) -> None:
        super().setUp()
        torrc = self.directory / "torrc"
        torrc.write_text(self.network.common)
        self.serve(f'launch = "tor"\ntorrc = "{torrc}"\nself-check = "1h"')

    @property
    def tor(self) -> int:
        [pid] = descendants(self.daemon.pid)
        return pid

    @property
    def hostname(self) -> str:
        return (self.state / "onion" / "hostname").read_text().strip()

    def test_it_lives_with_the_daemon(self) -> None:
        """It ends with it, whatever that ends by, and is started again when it ends by itself."""
        self.await_published()
        self.link("gw", self.invite("bob"))
        key = self.add_file("small", b"small\n")
        self.annex("copy", "--to", "gw", "small")
        killed, hostname = self.tor, self.hostname
        os.kill(killed, signal.SIGKILL)
        until(lambda: descendants(self.daemon.pid) not in ([], [killed]), "there is another one")
        self.await_published()
        self.await_reached("gw", key)

        left = self.tor
        assert self.daemon.process is not None
        self.daemon.process.kill()
        self.daemon.process.wait(10)
        until(lambda: not running(left), "tor ends with the daemon")
        self.daemon.start()
        self.await_published()
        self.assertEqual(hostname, self.hostname)

        left = self.tor
        self.assertEqual(left, os.getpgid(left))  # Ctrl-C in a terminal is not for it
        self.assertEqual(0, self.daemon.stop())
        self.assertFalse(running(left))

    def test_circuits(self) -> None:
        """Who guesses on one has nothing to do with who comes by another."""
        secret = self.invite("bob").rpartition(":")[2].encode()
        self.await_published()
        guesser = self.dial("a", self.hostname, b"AUTH x " + b"0" * 128)
        self.assertEqual(b"AUTH-FAILURE\n", guesser.makefile("rb").readline())
        peer = self.dial("b", self.hostname, b"AUTH x " + secret, b"VERSION 4", b"NOTIFYCHANGE")
        lines = peer.makefile("rb")
        uuid = self.host.uuid(self.served)
        self.assertEqual([b"AUTH-SUCCESS " + uuid + b"\n", b"VERSION 4\n"], [next(lines), next(lines)])
        until(lambda: [s["verb"] for s in self.daemon.status()["sessions"]] == ["NOTIFYCHANGE"], "it watches")
        commit = self.host.git(self.served, "rev-parse", "git-annex").strip()
        self.host.git(self.served, "update-ref", "refs/heads/new", commit.decode())
        self.assertEqual(b"CHANGED " + commit + b"\n", next(lines))
        self.assert_told("login of token:bob from circuit")
        circuits = re.findall(r"(?:login|login-refused) of .* from (circuit \d+)", self.daemon.said())
        self.assertEqual(2, len(set(circuits)), circuits)
        until(lambda: self.standing.startswith("reachable since"), "annexd has dialled itself", 60)

    def test_stopped_at_once(self) -> None:
        self.assertEqual(0, self.daemon.stop())
        self.assertNotIn("Traceback", self.daemon.said())


class HiddenServiceDirectories(OnionScene):
    """Those of a tor which has been told by `git annex enable-tor`, in two repositories."""

    def test_git_annex_enable_tor(self) -> None:
        """The addresses and the tokens that git-annex has given out go on to be good."""
        other = self.host.new("other", bare=True)
        repositories = {"gw": self.served, "other": other}
        home = self.network.directory / "directory"
        services = {name: home / f"tor-annex_0_{self.uuid(path)}" for name, path in repositories.items()}
        sockets = {
            name: self.directory / "tor-annex" / f"0_{self.uuid(path)}" for name, path in repositories.items()
        }
        torrc = ""
        for name, service in services.items():
            sockets[name].mkdir(parents=True)
            torrc += f"HiddenServiceDir {service}\nHiddenServicePort 41862 unix:{sockets[name]}/s\n"
        self.start_tor("directory", torrc)
        addresses = {name: self.address(repositories[name], service) for name, service in services.items()}
        config = f'[daemon]\nstate-directory = "{self.state}"\n'
        config += f'[[repository]]\npath = "{self.served}"\ngit-annex-tokens = true\n'
        config += f'[[repository]]\npath = "{other}"\ngit-annex-tokens = true\n'
        for name, service in services.items():
            config += (
                f'[[listen.tor]]\nhidden-service = "{service}"\nsocket = "{sockets[name]}/s"\nport = 41862\n'
            )
        self.config.write_text(config)
        self.daemon.start()
        said = [text for text in self.daemon.status()["listeners"] if text.startswith("tor:")]
        self.assertEqual([text.partition(" ")[2] for text in said], ["(another tor publishes it)"] * 2)
        self.add_file("small", b"small\n")
        for name, address in addresses.items():
            self.link(name, address)
            self.annex("copy", "--to", name, "small")
            self.assertEqual(len(objects(repositories[name])), 1)
        self.assertIn((services["gw"] / "hostname").read_text().strip(), self.invite("bob"))

    def uuid(self, repository: Path) -> str:
        return self.host.uuid(repository).decode()

    def address(self, repository: Path, service: Path) -> str:
        """With a token, as git-annex gives it out."""
        creds = repository / "annex" / "creds"
        creds.mkdir(exist_ok=True)
        (creds / "p2paddrs").write_text(f"tor-annex::{(service / 'hostname').read_text().strip()}:41862\n")
        return self.host.annex(repository, "p2p", "--gen-addresses").decode().split()[-1]
