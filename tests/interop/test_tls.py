"""TLS with real clients, and with some that are none."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from annexd.app.access import Rights
from annexd.errors import Unavailable
from tests.support.annex import Machine, objects
from tests.support.authorities import Authority
from tests.support.load import Load, content_of, key_of
from tests.support.ports import free_port
from tests.support.processes import run, run_code, until
from tests.support.programs import program
from tests.support.tls_scenes import OVER_TLS, TlsScene

_SMALL = content_of(1, 1000)
_LARGE = content_of(2, 20_000_000)
_RELAY = Path(__file__).parents[1] / "support" / "git_over_connect.py"


class Sessions(TlsScene):
    drain_s = 60.0

    def test_everything(self) -> None:
        session = self.over_tls()
        self.assertEqual(session.hello(4), b"AUTH-SUCCESS " + self.uuid)
        for content in (_SMALL, _LARGE, b""):
            key = key_of(content)
            self.assertEqual(session.ask(b"CHECKPRESENT " + key), b"FAILURE")
            self.assertEqual(session.put(key, content), b"SUCCESS")
            self.assertEqual(session.get(key), (content, b"VALID"))
            self.assertEqual(session.get(key, len(content) // 2), (content[len(content) // 2 :], b"VALID"))
            self.assertEqual(session.ask(b"CHECKPRESENT " + key), b"SUCCESS")
        self.assertEqual(session.ask(b"LOCKCONTENT " + key), b"SUCCESS")
        session.send(b"UNLOCKCONTENT\n")
        self.assertEqual(session.ask(b"REMOVE " + key), b"SUCCESS")
        self.assertEqual(session.finish(), (b"", b"", 0))
        self.assert_sound()
        self.assert_tidy()
        self.assert_told("login of token:bob from 127.0.0.1")

    def test_interrupted_and_resumed(self) -> None:
        session = self.over_tls()
        session.hello(4)
        session.ask(b"PUT  " + key_of(_LARGE))
        session.send(b"DATA %d\n" % len(_LARGE) + _LARGE[:5_000_000])
        session.close()
        other = self.over_tls()
        other.hello(4)
        until(lambda: self.annexd().daemon.status()["sessions"][0]["id"] == 2, "the first session has ended")
        reply = other.ask(b"PUT  " + key_of(_LARGE))
        self.assertGreater(int(reply.removeprefix(b"PUT-FROM ")), 1_000_000)
        offset = int(reply.split()[1])
        rest = _LARGE[offset:]
        other.send(b"DATA %d\n" % len(rest) + rest + b"VALID\n")
        self.assertEqual(other.line(), b"SUCCESS")

    def test_many_at_once(self) -> None:
        load = Load(self.over_tls, size=50_000, pool=20, threads=4)
        load.start()
        try:
            until(lambda: load.problems or sum(load.done.values()) > 200, "they get on", 120)
        finally:
            load.stop()
        self.assertEqual(load.problems, [])

    def test_changes(self) -> None:
        session = self.over_tls()
        session.hello(4)
        session.send(b"NOTIFYCHANGE\n")
        until(
            lambda: [s["verb"] for s in self.annexd().daemon.status()["sessions"]] == ["NOTIFYCHANGE"],
            "the daemon begins to watch",
        )
        commit = self.host.git(self.served, "rev-parse", "git-annex").strip()
        numbers = itertools.count()

        def told() -> bool:
            """What moves before it has seen what there is, is no change."""
            self.host.git(self.served, "update-ref", f"refs/heads/new{next(numbers)}", commit.decode())
            return session.has_come(2)

        until(told, "changes are told")
        self.assertEqual(session.line(), b"CHANGED " + commit)

    def git(self, secret: str, *argv: str, ok: bool = True) -> bytes:
        words = [sys.executable, str(_RELAY), "%S", sys.executable, str(OVER_TLS), self.address]
        address = "ext::" + " ".join(word.replace(" ", "% ") for word in words)
        code, said = run_code(
            "git",
            *(address if word == "ADDRESS" else word for word in argv),
            cwd=self.directory,
            env={**self.host.env, "GIT_ALLOW_PROTOCOL": "ext", "ANNEXD_TEST_TOKEN": secret},
        )
        self.assertEqual(code == 0, ok, said)
        return said

    def test_git(self) -> None:
        self.git(self.secret, "clone", "-q", "ADDRESS", "clone")
        self.git(self.secret, "-C", "clone", "fetch", "-q", "origin", "git-annex:here")
        self.git(self.secret, "-C", "clone", "push", "-q", "origin", "here:refs/heads/new")
        heads = self.host.git(self.served, "rev-parse", "git-annex", "new").split()
        self.assertEqual(heads[0], heads[1])

    def test_git_says_why_it_is_refused(self) -> None:
        reader = self.add_token("reader", Rights.READ_ONLY)
        self.git(reader, "clone", "-q", "ADDRESS", "clone")
        self.git(reader, "-C", "clone", "fetch", "-q", "origin", "git-annex:here")
        said = self.git(reader, "-C", "clone", "push", "origin", "here:refs/heads/new", ok=False)
        self.assertIn(b"read-only", said)

    def test_resumption(self) -> None:
        """The second handshake is a short one."""
        first = self.secure()
        first.sendall(b"AUTH client " + self.secret.encode() + b"\n")
        first.recv(1000)  # the ticket comes before the answer
        second = first.context.wrap_socket(self.connect(), session=first.session)
        self.addCleanup(second.close)
        self.assertEqual((first.session_reused, second.session_reused), (False, True))

    def test_stopping_waits_for_what_is_under_way(self) -> None:
        session, idle = self.over_tls(), self.over_tls()
        session.hello(4)
        idle.hello(4)
        session.ask(b"PUT  " + key_of(_LARGE))
        session.send(b"DATA %d\n" % len(_LARGE) + _LARGE[:1_000_000])
        silent = self.connect()
        process = self.annexd().daemon.process
        assert process is not None
        process.terminate()
        self.assert_closed(silent)
        self.assertEqual(idle.finish()[0], b"")
        session.send(_LARGE[1_000_000:] + b"VALID\n")
        self.assertEqual(session.line(), b"SUCCESS")
        session.finish()
        self.assertEqual(process.wait(60), 0)
        self.assertEqual(objects(self.git_dir), {key_of(_LARGE)})


class SessionsBySystem(Sessions):
    """By the OpenSSL that can have the kernel do it, where there is one that does."""

    listen = "kernel-tls = true"


class StockClient(TlsScene):
    """git-annex itself."""

    def setUp(self) -> None:
        super().setUp()
        self.machine = self.machine_with_helper("client")
        self.here = self.machine.new("here")
        self.link(self.secret)

    def machine_with_helper(self, name: str) -> Machine:
        machine = Machine(self.directory / name)
        helper = machine.directory / "tools" / "git-annex-p2p-annexd"
        helper.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{OVER_TLS}" "$@"\n')
        helper.chmod(0o755)
        return machine

    def link(self, secret: str, ok: bool = True) -> bytes:
        line = f"p2p-annex::annexd:{self.address}:{secret}\n".encode()
        argv = ("git-annex", "p2p", "--link", "--name", "peer")
        return run(*argv, cwd=self.here, env=self.machine.env, stdin=line, ok=ok)

    def test_there_and_back(self) -> None:
        machine, here = self.machine, self.here
        keys = machine.files(here, "many", 40)
        (here / "large").write_bytes(os.urandom(5_000_000))
        machine.annex(here, "add", "-q", "large")
        machine.git(here, "commit", "-q", "-m", "large")
        machine.annex(here, "copy", "-q", "-J10", "--to", "peer", ".")
        machine.annex(here, "drop", "-q", ".")
        machine.annex(here, "get", "-q", "-J10", ".")
        machine.annex(here, "fsck", "-q")
        machine.annex(here, "fsck", "-q", "--fast", "--from", "peer")
        machine.annex(here, "drop", "-q", "--from", "peer", "large")
        machine.annex(here, "move", "-q", "--from", "peer", "many")
        self.assertEqual(objects(self.git_dir), set())
        machine.annex(here, "move", "-q", "--to", "peer", "many")
        self.assertEqual(objects(self.git_dir), set(keys))
        self.assert_sound()
        self.assert_tidy()

    def test_a_token_that_is_none(self) -> None:
        machine, here = self.machine, self.here
        machine.git(here, "remote", "remove", "peer")
        self.link("0123456789" * 4, ok=False)
        self.assert_told("login-refused of - from 127.0.0.1: there is no such token")


class _Hostile(TlsScene):
    """Somebody is inside meanwhile, and does not notice."""

    daemon_settings = "max-unauthenticated = 100"

    def setUp(self) -> None:
        super().setUp()
        self.session = self.over_tls()
        self.session.hello(4)
        self.assertEqual(self.session.put(key_of(_SMALL), _SMALL), b"SUCCESS")

    def assert_goes_on(self) -> None:
        self.assertEqual(self.session.get(key_of(_SMALL)), (_SMALL, b"VALID"))
        self.assertNotIn("Traceback", self.annexd().daemon.said())

    def assert_auth_failure(self, secret: str, reason: str) -> None:
        stranger = self.secure()
        stranger.sendall(f"AUTH client {secret}\n".encode())
        self.assertEqual(stranger.recv(1000), b"AUTH-FAILURE\n")
        self.assert_told("login-refused of - from 127.0.0.1: ", reason)
        self.assert_goes_on()

    def s_client(self, *options: str, stdin: bytes = b"") -> bytes:
        argv = (program("openssl", "openssl"), "s_client", "-connect", f"127.0.0.1:{self.port}", *options)
        return run_code(*argv, cwd=self.directory, env=self.host.env, stdin=stdin)[1]


class Tokens(_Hostile):
    def test_unknown(self) -> None:
        self.assert_auth_failure("abcdef" * 8, "there is no such token")

    def test_expired(self) -> None:
        self.assert_auth_failure(self.add_token("old", expires=-1), "the token old expired on ")

    def test_for_a_repository_that_is_not_served(self) -> None:
        secret = self.add_token("other", repository=self.directory)
        self.assert_auth_failure(secret, f"no repository is served at {self.directory}")

    def test_revoked(self) -> None:
        """Also in the middle of a transfer."""
        secret = self.add_token("guest")
        inside = self.over_tls(secret)
        inside.hello(4)
        inside.ask(b"PUT  " + key_of(_LARGE))
        inside.send(b"DATA %d\n" % len(_LARGE) + _LARGE[:1_000_000])
        daemon = self.annexd().daemon
        annexd = Path(sys.prefix) / "bin" / "annexd"
        argv = (annexd, "token", "revoke", "guest", "--config", self.config, *daemon.socket_option)
        run(*argv, cwd=self.directory, env=daemon.env)
        self.assertEqual(inside.finish()[0], b"")
        self.assert_told("#2 token:guest PUT", "lost", "the token guest was revoked")
        self.assert_auth_failure(secret, "the token guest was revoked on ")


class Strangers(_Hostile):
    def test_plain_http(self) -> None:
        stranger = self.connect()
        stranger.sendall(b"GET /git-annex/ HTTP/1.1\r\nHost: annex\r\n\r\n")
        self.assert_closed(stranger)
        self.assert_told("sent 127.0.0.1 away: it sent a plain HTTP request")
        self.assert_goes_on()

    def test_p2p_without_tls(self) -> None:
        stranger = self.connect()
        stranger.sendall(f"AUTH client {self.secret}\n".encode())
        self.assert_closed(stranger)
        self.assert_told("sent 127.0.0.1 away: it does not speak TLS")

    def test_old_versions(self) -> None:
        for version in ("-tls1", "-tls1_1", "-tls1_2"):
            said = self.s_client(version, "-cipher", "ALL:@SECLEVEL=0")
            self.assertIn(b"alert protocol version", said)
        self.assert_told("sent 127.0.0.1 away: it speaks no version of TLS that is allowed here")
        self.assert_goes_on()

    def test_garbage(self) -> None:
        """Instead of a handshake, in the middle of one, after it, and after AUTH."""
        chance = random.Random(1)
        for _ in range(30):
            stranger = self.connect()
            stranger.sendall(chance.randbytes(chance.randrange(1, 3000)))
            with contextlib.suppress(OSError):  # it may have been sent away already
                stranger.shutdown(socket.SHUT_WR)
            self.assert_closed(stranger)
        for data, reason in (
            (b"x" * 5000, "a line of more than 4096 bytes"),
            (b"\n" * 30, "it said 20 lines without a good AUTH among them"),
        ):
            secure = self.secure()
            secure.sendall(data)
            self.assert_closed(secure)
            self.assert_told("sent 127.0.0.1 away", reason)
        inside = self.over_tls()
        inside.hello(4)
        inside.send(b"\xff" * 40_000)
        self.assertEqual(inside.line(), b"ERROR a line of more than 32767 bytes")
        inside.finish()
        self.assert_told("token:bob from 127.0.0.1: a line of more than 32767 bytes")
        self.assert_goes_on()

    def test_noise_below_tls(self) -> None:
        """After AUTH: records that cannot be decrypted."""
        secure = self.secure()
        secure.sendall(f"AUTH client {self.secret}\n".encode())
        secure.recv(1000)
        raw = socket.socket(fileno=os.dup(secure.fileno()))
        self.addCleanup(raw.close)
        raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        self.assert_closed(raw)
        self.assert_goes_on()

    def test_one_who_takes_nothing(self) -> None:
        """Of a large answer: the bytes stay where they are, outside of the daemon's memory."""
        self.assertEqual(self.session.put(key_of(_LARGE), _LARGE), b"SUCCESS")
        daemon = self.annexd().daemon
        memory = daemon.resident_bytes()
        readers = [self.over_tls() for _ in range(8)]
        for reader in readers:
            reader.hello(4)
            reader.send(b"GET 0  " + key_of(_LARGE) + b"\n")
            reader.process.send_signal(signal.SIGSTOP)
        self.assert_goes_on()
        self.assertLess(daemon.resident_bytes() - memory, 20_000_000)
        for reader in readers:
            reader.close()
        self.assert_goes_on()


class Dawdlers(_Hostile):
    """Who does not come to the point."""

    handshake_s = 4.0

    def test_a_byte_a_second(self) -> None:
        """Whether it is TLS or not, it has as long as others."""
        secure, plain = self.secure(), self.connect()
        for sender, data in (
            (secure, b"AUTH client"),
            (plain, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ):
            deadline = time.monotonic() + self.handshake_s + 20
            try:
                for byte in data * 10:  # more than there is time for
                    sender.send(bytes([byte]))
                    time.sleep(0.5)
                    self.assertLess(time.monotonic(), deadline, "it was let go on")
            except (ConnectionError, ssl.SSLError):
                pass
        self.assert_told(
            f"sent 127.0.0.1 away: it has not said within {self.handshake_s:g} seconds who it is"
        )
        self.assert_goes_on()

    def test_silence(self) -> None:
        """Of very many: there is room for others all the time, and nothing is left of them."""
        daemon = self.annexd().daemon
        files, memory = len(daemon.open_files()), daemon.resident_bytes()
        # all from one place, so a fourth of the room is theirs
        strangers = [self.connect() for _ in range(500)]
        until(lambda: len(daemon.open_files()) <= files + 25, "there is room for 25 of them")
        self.assert_goes_on()
        other = self.over_tls()
        other.hello(4)
        self.assertLess(daemon.resident_bytes() - memory, 20_000_000)
        for stranger in strangers:
            self.assert_closed(stranger)
        other.finish()
        until(lambda: len(daemon.open_files()) <= files, "all have been closed")
        self.assert_told("sent 127.0.0.1 away: too many come from its address")
        self.assert_told(
            f"sent 127.0.0.1 away: it has not said within {self.handshake_s:g} seconds who it is"
        )
        self.assert_goes_on()

    def test_half_a_handshake(self) -> None:
        """What OpenSSL keeps for each of them is bounded, too."""
        hello = self.client_hello()
        daemon = self.annexd().daemon
        memory = daemon.resident_bytes()
        strangers = [self.connect() for _ in range(200)]
        for stranger in strangers:
            try:
                stranger.sendall(hello[:-1])
            except ConnectionError:
                pass  # another one has its place
        self.assert_goes_on()
        self.assertLess(daemon.resident_bytes() - memory, 30_000_000)
        for stranger in strangers:
            self.assert_closed(stranger)
        self.assert_goes_on()

    def client_hello(self) -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        outgoing = ssl.MemoryBIO()
        tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="annex")
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return outgoing.read()


class OldTls(_Hostile):
    listen = 'minimum-version = "1.2"'

    def test_renegotiation(self) -> None:
        """Is not done; who insists is let go."""
        argv = [program("openssl", "openssl"), "s_client", "-connect", f"127.0.0.1:{self.port}", "-tls1_2"]
        client = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.directory
        )
        self.addCleanup(client.wait)
        self.addCleanup(client.kill)
        assert client.stdin is not None and client.stdout is not None
        client.stdin.write(b"AUTH client " + self.secret.encode() + b"\n")
        client.stdin.flush()
        self.assert_told("login of token:bob")
        while b"AUTH-SUCCESS" not in client.stdout.readline():
            pass
        client.stdin.write(b"R\n")
        client.stdin.flush()
        said, _ = client.communicate(timeout=60)
        self.assertIn(b"no renegotiation", said)
        self.assert_goes_on()

    def test_still_not_older(self) -> None:
        said = self.s_client("-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
        self.assertIn(b"alert protocol version", said)


class ClientCertificates(_Hostile):
    more = '[[access]]\nusers = ["certificate:alice"]\nrights = "read-only"\n'

    def configure(self) -> None:
        self.authority = Authority(str(self.directory), "ours")
        self.listen = f'client-ca = "{self.authority.file}"'
        super().configure()

    def login(self, certificate: str | None) -> bytes:
        secure = self.secure(None if certificate is None else Path(certificate))
        try:
            secure.sendall(f"AUTH client {self.secret}\n".encode())
            return secure.recv(1000)
        except (ssl.SSLError, ConnectionError) as error:
            return str(error).encode()

    def test_of_our_authority(self) -> None:
        """It narrows what the token gives."""
        secure = self.secure(Path(self.authority.issue("alice")))
        secure.sendall(f"AUTH client {self.secret}\n".encode())
        self.assertEqual(secure.recv(1000), b"AUTH-SUCCESS " + self.uuid + b"\n")
        secure.sendall(b"REMOVE " + key_of(_SMALL) + b"\n")
        self.assertTrue(secure.recv(1000).startswith(b"ERROR this repository is read-only"))

    def test_resumption(self) -> None:
        """The second handshake shows no certificate, and it still counts."""
        first = self.secure(Path(self.authority.issue("alice")))
        first.sendall(f"AUTH client {self.secret}\n".encode())
        first.recv(1000)  # the ticket comes before the answer
        second = first.context.wrap_socket(self.connect(), session=first.session)
        self.addCleanup(second.close)
        second.sendall(f"AUTH client {self.secret}\n".encode())
        self.assertEqual(second.recv(1000), b"AUTH-SUCCESS " + self.uuid + b"\n")
        second.sendall(b"REMOVE " + key_of(_SMALL) + b"\n")
        self.assertTrue(second.recv(1000).startswith(b"ERROR this repository is read-only"))
        self.assertTrue(second.session_reused)

    def test_that_no_rule_names(self) -> None:
        self.assertEqual(self.login(self.authority.issue("eve")), b"AUTH-FAILURE\n")
        self.assert_told("login-refused", "no rule names certificate:eve")

    def test_of_another_authority(self) -> None:
        theirs = Authority(str(self.directory), "theirs").issue("alice")
        self.assertNotIn(b"AUTH-", self.login(theirs))
        self.assert_told("sent 127.0.0.1 away: its client certificate is not accepted: ")
        self.assert_goes_on()

    def test_required_after_a_reload(self) -> None:
        self.assertTrue(self.login(None).startswith(b"AUTH-SUCCESS "))
        self.listen = f'client-ca = "{self.authority.file}"\nclient-certificates = "required"'
        super().configure()
        self.reload()
        self.assertNotIn(b"AUTH-", self.login(None))
        self.assert_told("sent 127.0.0.1 away: it showed no client certificate")
        self.assert_goes_on()

    def reload(self) -> None:
        os.kill(self.annexd().daemon.pid, 1)
        self.assert_told("reloaded: ")


class Reloading(TlsScene):
    """In the middle of a transfer, which ends as it should."""

    def configure(self) -> None:
        self.pem = self.directory / "server.pem"
        self.authority = Authority(str(self.directory), "ca")
        if not self.pem.exists():
            os.rename(self.authority.issue("first"), self.pem)
        self.listen = f'certificate = "{self.pem}"\nkey = "{self.pem}"'
        super().configure()

    @property
    def address(self) -> str:
        import hashlib

        der = self.secure().getpeercert(binary_form=True)
        assert der is not None
        return f"127.0.0.1:{self.port},sha256={hashlib.sha256(der).hexdigest()}"

    def under_way(self, meanwhile: Callable[[], None]) -> None:
        sending, receiving = self.over_tls(), self.over_tls()
        sending.hello(4)
        receiving.hello(4)
        self.assertEqual(receiving.put(key_of(_LARGE), _LARGE), b"SUCCESS")
        other = content_of(3, len(_LARGE))
        self.assertEqual(sending.ask(b"PUT  " + key_of(other)), b"PUT-FROM 0")
        sending.send(b"DATA %d\n" % len(other) + other[:5_000_000])
        receiving.send(b"GET 0  " + key_of(_LARGE) + b"\n")
        self.assertEqual(receiving.line(), b"DATA %d" % len(_LARGE))
        meanwhile()
        sending.send(other[5_000_000:] + b"VALID\n")
        self.assertEqual(sending.line(), b"SUCCESS")
        self.assertEqual((receiving.body(len(_LARGE)), receiving.line()), (_LARGE, b"VALID"))

    def replace_certificate(self) -> None:
        os.rename(self.authority.issue("second"), self.pem)

    def test_certificate(self) -> None:
        before = self.address

        def meanwhile() -> None:
            self.replace_certificate()
            until(lambda: self.address != before, "the new certificate is shown")
            self.over_tls().hello(4)

        self.under_way(meanwhile)

    def test_certificate_on_sighup(self) -> None:
        before = self.address

        def meanwhile() -> None:
            self.replace_certificate()
            os.kill(self.annexd().daemon.pid, 1)
            self.assert_told("reloaded: ")
            self.assertNotEqual(self.address, before)

        self.under_way(meanwhile)

    def test_a_certificate_that_is_none(self) -> None:
        before = self.address

        def meanwhile() -> None:
            self.pem.write_text("nonsense\n")
            os.kill(self.annexd().daemon.pid, 1)
            self.assert_told("not reloaded: ", f"{self.pem}: there is no certificate")
            self.assertEqual(self.address, before)

        self.under_way(meanwhile)

    def test_another_address(self) -> None:
        """Who is inside stays, who comes does so there."""

        def meanwhile() -> None:
            former, self.where = self.port, f"[::]:{free_port()}"
            self.reload()
            self.port = self.port_of("tls")
            self.assertEqual(f"[::]:{self.port}", self.where)
            self.assertRaises(ConnectionRefusedError, self.connect, former)
            self.over_tls().hello(4)

        self.under_way(meanwhile)

    def test_all_addresses_of_the_same_port(self) -> None:
        def meanwhile() -> None:
            for host in ("[::]", "127.0.0.1"):
                self.where = f"{host}:{self.port}"
                self.reload()
                self.assertIn(f"tls:{self.where}", self.annexd().daemon.status()["listeners"])
                self.over_tls().hello(4)

        self.under_way(meanwhile)

    def test_an_address_that_is_taken(self) -> None:
        """The reload says so, and nothing of the new configuration is in effect."""

        def meanwhile() -> None:
            with socket.create_server(("127.0.0.1", 0)) as taken:
                former, self.where = self.where, f"127.0.0.1:{taken.getsockname()[1]}"
                self.more = '[[access]]\nusers = ["token:bob"]\nrights = "none"\n'
                error = self.assertRaises(Unavailable, self.reload)
                self.assertEqual(f"cannot listen on {self.where}: Address already in use", str(error))
            self.where = former
            self.over_tls().hello(4)

        self.under_way(meanwhile)

    def reload(self) -> None:
        self.configure()
        self.annexd().daemon.ask("reload")

    def test_configuration(self) -> None:
        """A user who may not read any more may finish what was begun; who comes now is refused."""

        def meanwhile() -> None:
            self.more = '[[access]]\nusers = ["token:bob"]\nrights = "none"\n'
            self.configure()
            os.kill(self.annexd().daemon.pid, 1)
            self.assert_told("reloaded: ")
            refused = self.secure()
            refused.sendall(f"AUTH client {self.secret}\n".encode())
            self.assertEqual(refused.recv(1000), b"AUTH-FAILURE\n")

        self.under_way(meanwhile)


class FrontEnds(TlsScene):
    """Those who say for whom they speak, and those who end TLS themselves."""

    listen = 'proxy-from = ["127.0.0.1"]'

    def configure(self) -> None:
        self.socket = self.directory / "plain.sock"
        self.more = f'[listen.plain]\naddress = ["127.0.0.1:0", "{self.socket}"]\n'
        super().configure()

    def talk(self, sock: socket.socket) -> None:
        sock.settimeout(60)
        sock.sendall(f"AUTH client {self.secret}\nCHECKPRESENT WORM-s1-m1--x\n".encode())
        wanted, got = b"AUTH-SUCCESS " + self.uuid + b"\nFAILURE\n", b""
        while len(got) < len(wanted):
            got += sock.recv(1000)
        self.assertEqual(got, wanted)

    def test_tls_behind_a_header(self) -> None:
        sock = self.connect()
        sock.sendall(b"PROXY TCP6 2001:db8::9 2001:db8::1 4000 7001\r\n")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.talk(context.wrap_socket(sock))
        self.assert_told("login of token:bob from 2001:db8::9")

    def test_tls_without_a_header(self) -> None:
        try:
            self.secure()
        except (ssl.SSLError, ConnectionError):
            pass
        self.assert_told("sent 127.0.0.1 away: it may speak with a PROXY header only, and sent none")

    def test_plain(self) -> None:
        self.talk(self.connect(self.port_of("plain")))
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.socket))
            self.talk(sock)
        self.assert_told("login of token:bob from a unix socket")

    def test_large_content(self) -> None:
        """Moved by the kernel here."""
        sock = self.connect(self.port_of("plain"))
        self.talk(sock)
        key = key_of(_LARGE)
        with sock.makefile("rwb") as stream:

            def ask(data: bytes) -> bytes:
                stream.write(data)
                stream.flush()
                return stream.readline()

            self.assertEqual(ask(b"VERSION 4\n"), b"VERSION 4\n")
            self.assertEqual(ask(b"PUT  " + key + b"\n"), b"PUT-FROM 0\n")
            self.assertEqual(ask(b"DATA %d\n" % len(_LARGE) + _LARGE + b"VALID\n"), b"SUCCESS\n")
            self.assertEqual(ask(b"GET 0  " + key + b"\n"), b"DATA %d\n" % len(_LARGE))
            self.assertEqual((stream.read(len(_LARGE)), stream.readline()), (_LARGE, b"VALID\n"))


del _Hostile
