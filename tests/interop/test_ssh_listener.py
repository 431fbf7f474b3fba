"""annexd's own SSH listener, with the real OpenSSH and git-annex."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from tests.interop import test_clients, test_testremote
from tests.support.load import content_of
from tests.support.ports import free_port
from tests.support.processes import descendants, until
from tests.support.ssh_listener import Listening


class EveryDay(Listening, test_clients.Newest):
    pass


class EveryDayLongAgo(Listening, test_clients.Oldest):
    pass


class TestRemote(Listening, test_testremote.TestRemote):
    pass


class Commands(Listening):
    """What OpenSSH's client may ask for, and what it hears."""

    def test_all(self) -> None:
        self._git_annex_shell()
        self._no_shell()
        self._nothing_but_commands()
        self._exit_codes()
        self.assert_logged()

    def _git_annex_shell(self) -> None:
        code, said = self.ssh(f"git-annex-shell 'configlist' '{self.served}'")
        self.assertEqual((0, b"annex.uuid=" + self.uuid), (code, said.splitlines()[0]))
        self.assertEqual((0, b""), self.ssh("true"))

    def _no_shell(self) -> None:
        sentence = b"annexd: there is no interactive shell here, only git and git-annex commands are served\n"
        self.assertEqual((1, sentence), self.ssh("-T", ""))
        code, said = self.ssh("-tt", "true")
        self.assertEqual((255, True), (code, b"PTY allocation request failed" in said), said)

    def _nothing_but_commands(self) -> None:
        for command in ("ls", "sh -c id", "scp -t /tmp", "rsync --server . /tmp", "git-annex-shell"):
            code, said = self.ssh(command)
            self.assertEqual((1, 1), (code, len(said.splitlines())), said)
            self.assertTrue(said.startswith(b"annexd: "), said)
        code, said = self.ssh("-s", "sftp")
        self.assertNotEqual(0, code)
        self.assertIn(b"subsystem request failed", said)
        for option in (("-W", "127.0.0.1:22"), ("-R", "0:127.0.0.1:22", "-o", "ExitOnForwardFailure=yes")):
            code, said = self.ssh(*option, "-N", "-T", "-o", "SessionType=none")
            self.assertNotEqual(0, code, said)
        code, said = self.ssh("-A", "-X", "-o", "SendEnv=*", f"git-annex-shell 'configlist' '{self.served}'")
        self.assertEqual(0, code, said)

    def _exit_codes(self) -> None:
        code, said = self.ssh(f"git-upload-pack '{self.served}'", stdin=b"garbage")
        self.assertNotEqual(0, code)
        self.assertIn(b"fatal:", said)

    def assert_logged(self) -> None:
        said = self.annexd().daemon.said()
        self.assertIn("login of alice from 127.0.0.1", said)
        self.assertNotIn("Traceback", said)


class Keys(Listening):
    """Who is let in, told by OpenSSH's client."""

    def test_refused(self) -> None:
        self.sshd.make_key("unknown")
        for name, config, options in (
            ("unknown", self.sshd.client_config("unknown"), ()),
            ("missing", self.sshd.client_config("missing"), ()),
            ("password", self.ssh_config, ("-o", "PreferredAuthentications=password,keyboard-interactive")),
        ):
            code, said = self.ssh(*options, "-o", "BatchMode=yes", "true", config=config)
            self.assertEqual(255, code, name)
            self.assertIn(b"Permission denied (publickey).", said, name)
        refused = "login-refused of root from 127.0.0.1: no key was offered that is known"
        until(lambda: refused in self.annexd().daemon.said(), "the refusal is in the log")

    def test_kinds_of_keys(self) -> None:
        for kind in ("rsa", "ecdsa"):
            public = self.sshd.make_key(kind, kind)
            with open(self.sshd.directory / "authorized_keys", "a") as keys:
                keys.write(f'command="annexd-shell --user {kind}" {public.read_text()}')
            config = self.sshd.client_config(kind)
            self.assertEqual((0, b""), self.ssh("true", config=config))
        code, said = self.ssh(
            *("-o", "PubkeyAcceptedAlgorithms=ssh-rsa", "true"), config=self.sshd.client_config("rsa")
        )
        self.assertEqual(255, code, said)

    def test_options(self) -> None:
        """Of authorized_keys, where OpenSSH's own server is known to honour them."""
        command = 'annexd-shell --user "bob"'
        for number, (options, enters) in enumerate(
            (
                ('from="127.0.0.0/8,!127.0.0.2"', True),
                ('from="10.0.0.0/8"', False),
                ('from="!127.0.0.1,*"', False),
                ('expiry-time="20990101Z"', True),
                ('expiry-time="20200101"', False),
                ("restrict,no-pty", True),
                ("restrict,pty", False),
                ('environment="LD_PRELOAD=x"', False),
                ("cert-authority", False),
            )
        ):
            config = self.sshd.admit(f"key{number}", command, options)
            code, said = self.ssh("true", config=config)
            self.assertEqual(0 if enters else 255, code, (options, said))
        said = self.annexd().daemon.said()
        keys = self.sshd.directory / "authorized_keys"
        self.assertIn(f"error {keys}:8: the option pty cannot be honoured here", said)
        self.assertIn(f"error {keys}:9: the variable LD_PRELOAD means nothing here", said)

    def test_limits(self) -> None:
        config = self.sshd.admit("guest", "GIT_ANNEX_SHELL_READONLY=1 annexd-shell --user guest")
        code, said = self.ssh(f"git-annex-shell 'dropkey' '{self.served}' 'WORM--x'", config=config)
        self.assertEqual((1, b"annexd: Action blocked by GIT_ANNEX_SHELL_READONLY\n"), (code, said))

    def test_a_file_for_each_user(self) -> None:
        """The login name is the user's; what is taken out is out at once."""
        users = self.directory / "users"
        users.mkdir()
        self.listener.configure(f'users = "{users}"')
        self._reload()
        public = self.sshd.make_key("bob").read_text()
        config = self.sshd.client_config("bob")
        for name in ("bob", "carol.pub"):
            (users / name).write_text(public)
        self.assertEqual((0, b""), self.ssh("-l", "bob", "true", config=config))
        self.assertEqual((0, b""), self.ssh("-l", "carol", "true", config=config))
        for name in ("alice", "root", "carol.pub", "../users/bob", ".", "bob/", ""):
            self.assertEqual(255, self.ssh("-l", name, "true", config=config)[0], name)
        self.assertEqual(255, self.ssh("-l", "bob", "true")[0], "alice's key for bob")
        (users / "bob").unlink()
        self.assertEqual(255, self.ssh("-l", "bob", "true", config=config)[0])

    def test_rules_name_them(self) -> None:
        rules = '[[access]]\nusers = ["bob"]\nrights = "read-only"\n'
        self.listener.configure(more=rules)
        self._reload()
        bob = self.client("bob", ssh_config=self.sshd.admit("bob", "annexd-shell --user bob"))
        alice = self.client("alice")
        repo = alice.clone(self.url, "repo")
        alice.git(repo, "commit", "-q", "--allow-empty", "-m", "begin")
        alice.git(repo, "push", "-q", "origin", "HEAD")
        bob.git(self.directory, "clone", "-q", self.url, "copy")
        code, said = bob.tries(repo, "version")
        self.assertEqual(0, code, said)
        said = bob.git(repo, "push", "origin", "HEAD:refs/heads/x", ok=False)
        self.assertIn(b"write access denied", said)

    def _reload(self) -> None:
        daemon = self.annexd().daemon
        os.kill(daemon.pid, signal.SIGHUP)
        before = daemon.said().count("reloaded:")
        until(lambda: daemon.said().count("reloaded:") >= max(1, before), "the daemon has reloaded")


class Hostile(Listening):
    """Peers that mean no good; meanwhile others are served."""

    def test_old_algorithms(self) -> None:
        for option in (
            "KexAlgorithms=diffie-hellman-group14-sha1",
            "KexAlgorithms=diffie-hellman-group14-sha256",
            "Ciphers=aes128-cbc,3des-cbc",
            "Ciphers=chacha20-poly1305@openssh.com",
            "MACs=hmac-sha1,hmac-md5",
            "HostKeyAlgorithms=ssh-rsa,rsa-sha2-512",
        ):
            code, said = self.ssh("-o", "LogLevel=INFO", "-o", option, "true")
            self.assertEqual((255, True), (code, b"no matching" in said), said)

    def test_those_who_never_speak(self) -> None:
        """Two hundred, of whom 125 may stay from one place; whoever has a key comes in."""
        files = len(self.annexd().daemon.open_files())
        silent = [socket.create_connection(("127.0.0.1", self.listener.port)) for _ in range(200)]
        try:
            self.assertEqual((0, b""), self.ssh("true"))
            until(lambda: len(self.annexd().daemon.open_files()) <= files + 135, "only the youngest stay")
        finally:
            for connection in silent:
                connection.close()
        until(lambda: len(self.annexd().daemon.open_files()) <= files + 8, "nothing of them is left")

    def test_garbage(self) -> None:
        for said in (b"GET / HTTP/1.0\r\n\r\n", bytes(1000), b"SSH-2.0-x\r\n" + os.urandom(5000)):
            with socket.create_connection(("127.0.0.1", self.listener.port), timeout=60) as connection:
                connection.sendall(said)
                with contextlib.suppress(ConnectionResetError):
                    while connection.recv(65536):
                        pass
        self.assertEqual((0, b""), self.ssh("true"))
        self.assertIn("sent 127.0.0.1 away: it does not speak SSH", self.annexd().daemon.said())
        self.assertNotIn("Traceback", self.annexd().daemon.said())


class Bulk(Listening):
    """Many bytes, and peers that do not take them."""

    size = 300_000_000

    def setUp(self) -> None:
        super().setUp()
        self.machine = self.client("one")
        self.first = self.machine.clone(self.url, "first")

    def add(self, size: int) -> bytes:
        with open(self.first / "large", "wb") as large:
            for number in range(size // 1_000_000):
                large.write(content_of(number, 1_000_000))
        self.machine.annex(self.first, "add", "-q", "large", seconds=120)
        self.machine.annex(self.first, "sync", "-q", "--no-content", "-m", "large")
        return self.machine.key(self.first, "large")

    def test_both_ways(self) -> None:
        """git-annex compares the checksums, at both ends."""
        self.add(self.size)
        self.machine.annex(self.first, "move", "-q", "--to", "origin", "large", seconds=120)
        self.machine.annex(self.first, "get", "-q", "large", seconds=120)
        self.assertEqual(self.size, (self.first / "large").stat().st_size)
        self.machine.annex(self.first, "fsck", "-q", "large", seconds=120)
        self.assert_sound()

    def test_new_keys_all_the_time(self) -> None:
        with open(self.ssh_config, "a") as config:
            config.write("  RekeyLimit 1M\n")
        self.add(40_000_000)
        self.machine.annex(self.first, "move", "-q", "--to", "origin", "large", seconds=120)
        self.machine.annex(self.first, "get", "-q", "large", seconds=120)
        self.assertEqual(40_000_000, (self.first / "large").stat().st_size)
        self.assert_sound()

    def test_a_client_that_stops_reading(self) -> None:
        """It costs a window, not what it has asked for; git in its place as well."""
        key = self.add(self.size)
        self.machine.annex(self.first, "copy", "-q", "--to", "origin", "large", seconds=120)
        command = f"git-annex-shell 'p2pstdio' '{self.served}' 'client' --uuid {self.uuid.decode()}"
        daemon = self.annexd().daemon
        before = daemon.resident_bytes()
        sleepers = [self.start_ssh(command, stdin=subprocess.PIPE) for _ in range(4)]
        for sleeper in sleepers:
            assert sleeper.stdin is not None
            sleeper.stdin.write(b"VERSION 1\nGET 0 large " + key + b"\n")
            sleeper.stdin.flush()
        until(lambda: self._moved() == 4, "all of them are being sent to")
        moved = [session["bytes"] for session in daemon.status()["sessions"]]
        self.assertLess(max(moved), 60_000_000)
        self.assertLess(daemon.resident_bytes() - before, 60_000_000)
        self.assertEqual((0, b""), self.ssh("true"))
        for sleeper in sleepers:
            sleeper.kill()
        until(lambda: not daemon.status()["sessions"], "their sessions end")

    def _moved(self) -> int:
        """How many transfers have begun and stand still."""
        before = self._progress()
        time.sleep(0.2)
        return sum(1 for number, count in self._progress().items() if count and before.get(number) == count)

    def _verbs(self) -> list[str]:
        return [session["verb"] for session in self.annexd().daemon.status()["sessions"]]

    def _progress(self) -> dict[int, int]:
        return {one["id"]: one["bytes"] for one in self.annexd().daemon.status()["sessions"]}

    def test_git_dies_with_its_client(self) -> None:
        git = self.start_ssh(f"git-upload-pack '{self.served}'", stdin=subprocess.PIPE)
        daemon = self.annexd().daemon
        until(lambda: descendants(daemon.pid), "git runs")
        until(lambda: self._verbs() == ["git-upload-pack"], "it is in the list")
        git.kill()
        until(lambda: not descendants(self.annexd().daemon.pid), "git has ended")
        until(lambda: not self.annexd().daemon.status()["sessions"], "nobody is in the list")


class Life(Listening):
    """From the start to the stop, and what a shared connection has in it."""

    def test_shared_connection(self) -> None:
        """Many commands over one, as git-annex does it."""
        control = tempfile.mkdtemp(prefix="annexd-")
        self.addCleanup(shutil.rmtree, control)
        share = ("-S", f"{control}/s")
        master = self.start_ssh("-M", *share, "-N", "-o", "SessionType=none", "")
        until(lambda: Path(f"{control}/s").exists(), "the connection is there")
        many = [self.start_ssh(*share, f"git-annex-shell 'configlist' '{self.served}'") for _ in range(60)]
        for one in many:
            said, _ = one.communicate(timeout=120)
            self.assertEqual((0, b"annex.uuid=" + self.uuid), (one.returncode, said.splitlines()[0]))
        self.assertEqual(1, self.annexd().daemon.said().count("login of alice"))
        master.kill()

    def test_many_jobs(self) -> None:
        machine = self.client("one")
        repo = machine.clone(self.url, "repo")
        machine.files(repo, "many", 60)
        machine.annex(repo, "copy", "-q", "-J4", "--to", "origin", "many")
        machine.annex(repo, "drop", "-q", "-J4", "many")
        machine.annex(repo, "get", "-q", "-J4", "many")
        self.assertEqual(b"", machine.annex(repo, "fsck", "-q", "many"))
        self.assert_sound()

    def test_newest_git_protocol(self) -> None:
        machine = self.client("one")
        machine.env["GIT_TRACE_PACKET"] = "1"
        said = machine.git(self.directory, "ls-remote", self.url)
        self.assertIn(b"version 2", said)

    def test_host_key_stays(self) -> None:
        known = self.directory / "known_hosts"
        options = ("-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=accept-new")
        self.assertEqual(0, self.ssh(*options, "true")[0])
        key = self.listener.directory / "state" / "ssh_host_ed25519_key"
        self.assertEqual(0o600, key.stat().st_mode & 0o777)
        daemon = self.annexd().daemon
        daemon.stop()
        daemon.start()
        options = ("-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes")
        self.assertEqual((0, b""), self.ssh(*options, "true"))
        self.assertEqual(1, daemon.said().count("made the host key"))

    def test_moving(self) -> None:
        """A reload with another address: the old one is gone, whoever is inside stays."""
        daemon, old = self.annexd().daemon, self.listener.port
        inside = self.start_ssh(f"git-upload-pack '{self.served}'", stdin=subprocess.PIPE)
        until(lambda: daemon.status()["sessions"], "somebody is inside")
        self.listener.configure(port=free_port())
        os.kill(daemon.pid, signal.SIGHUP)
        until(lambda: f"ssh:127.0.0.1:{self.listener.port}" in daemon.status()["listeners"], "it has moved")
        self.assertEqual(255, self.ssh("true")[0])
        self.assertEqual((0, b""), self.ssh("-p", str(self.listener.port), "true"))
        self.assertNotEqual(old, self.listener.port)
        said, _ = inside.communicate(b"0000", timeout=60)
        self.assertEqual((0, True), (inside.returncode, said.endswith(b"0000")))

    def test_stopping(self) -> None:
        """What is under way is done, and told so."""
        machine = self.client("one")
        repo = machine.clone(self.url, "repo")
        (repo / "large").write_bytes(content_of(1, 60_000_000))
        machine.annex(repo, "add", "-q", "large")
        machine.annex(repo, "copy", "-q", "--to", "origin", "large")
        command = f"git-annex-shell 'p2pstdio' '{self.served}' 'client' --uuid {self.uuid.decode()}"
        busy, idle = (self.start_ssh(command, stdin=subprocess.PIPE) for _ in range(2))
        assert busy.stdin is not None and busy.stdout is not None
        busy.stdin.write(b"GET 0 large " + machine.key(repo, "large") + b"\n")
        busy.stdin.flush()
        until(lambda: any(one["bytes"] for one in self.annexd().daemon.status()["sessions"]), "it is sent")
        stopping = threading.Thread(target=self.annexd().daemon.stop)
        stopping.start()
        idle.wait(60)
        self.assertTrue(busy.stdout.readline().startswith(b"AUTH-SUCCESS "))
        self.assertEqual(b"DATA 60000000\n", busy.stdout.readline())
        self.assertEqual(content_of(1, 60_000_000), busy.stdout.read(60_000_000))
        busy.stdin.write(b"SUCCESS\n")
        busy.stdin.flush()
        stopping.join(60)
        self.assertFalse(stopping.is_alive())
        self.assertEqual(0, busy.wait(60))
