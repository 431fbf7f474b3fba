"""git-annex and annexd on one repository: each other's locks, partials and places."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.support.annex import litter
from tests.support.load import content_of, key_of
from tests.support.p2p import Dialogue
from tests.support.processes import has_lock, run, start, stop_group, until
from tests.support.programs import SYSTEM_PATH, program
from tests.support.scenes import Scene, SshScene
from tests.support.servers import GitAnnexShell, forced_command

_SIZE = 1_000_000
_CONTENT = content_of(7, _SIZE)
_KEY = key_of(_CONTENT)
_PATIENCE = 30.0


class _FrozenHolders(Scene):
    """A git-annex that holds a lock and does nothing is waited for no longer than a client would."""

    def setUp(self) -> None:
        super().setUp()
        self.stock = GitAnnexShell(Path(self.host.env["HOME"]))
        self.session = self.dialogue()
        self.session.hello(4)

    def test_content_lock(self) -> None:
        self.assertEqual(self.session.put(_KEY, _CONTENT), b"SUCCESS")
        holder = self._frozen(b"LOCKCONTENT " + _KEY, b"SUCCESS")
        self._assert_refused(b"REMOVE " + _KEY)
        self.assertEqual(self.session.ask(b"LOCKCONTENT " + _KEY), b"SUCCESS")
        self.assertEqual(self.session.ask(b"UNLOCKCONTENT\nCHECKPRESENT " + _KEY), b"SUCCESS")
        self._thaw(holder)
        holder.send(b"UNLOCKCONTENT\n")
        holder.finish()
        # the first to lock was the last to unlock: git-annex leaves the retention to the next who does both
        self.assertEqual(self.session.ask(b"LOCKCONTENT " + _KEY), b"SUCCESS")
        self.session.send(b"UNLOCKCONTENT\n")
        self.assertEqual(self.session.ask(b"REMOVE " + _KEY), b"SUCCESS")
        self._end()

    def test_transfer_lock(self) -> None:
        holder = self._frozen(b"PUT  " + _KEY, b"PUT-FROM 0", b"DATA %d\n" % _SIZE + _CONTENT[:1000])
        reply = self.session.put(_KEY, _CONTENT)
        self.assertTrue(reply == b"FAILURE" or reply.startswith(b"ERROR "), reply)
        self.assertEqual(self.session.ask(b"CHECKPRESENT " + _KEY), b"FAILURE")
        holder.close()
        self.assertEqual(self.session.put(_KEY, _CONTENT), b"SUCCESS")
        self._end("transfer")

    def test_journal_lock(self) -> None:
        """The journal's lock is git-annex's most general one."""
        self.assertEqual(self.session.put(_KEY, _CONTENT), b"SUCCESS")
        lock = self.git_dir / "annex" / "journal.lck"
        holder = start(*_HOLD, lock, cwd=self.directory, env=self.host.env)
        assert holder.stdout is not None
        self.assertEqual(holder.stdout.readline(), b"held\n")
        began = time.monotonic()
        self.session.send(b"REMOVE " + _KEY + b"\n")
        time.sleep(1)
        other = self.dialogue()
        other.hello(4)
        self.assertIn(other.ask(b"CHECKPRESENT " + _KEY), (b"SUCCESS", b"FAILURE"))
        stop_group(holder)
        self.assertEqual(self.session.line(), b"SUCCESS")
        self.assertLess(time.monotonic() - began, _PATIENCE)
        self._end()

    def test_locks_of_annexd(self) -> None:
        """The other way round: git-annex respects what a session here holds."""
        self.assertEqual(self.session.put(_KEY, _CONTENT), b"SUCCESS")
        self.assertEqual(self.session.ask(b"LOCKCONTENT " + _KEY), b"SUCCESS")
        said = self.host.annex(self.served, "drop", "--force", b"--key=" + _KEY, ok=False)
        self.assertIn(b"locked", said)
        self.session.send(b"UNLOCKCONTENT\n")
        self.assertEqual(self.session.ask(b"CHECKPRESENT " + _KEY), b"SUCCESS")
        self.host.annex(self.served, "drop", "--force", b"--key=" + _KEY)
        self.assertEqual(self.session.ask(b"CHECKPRESENT " + _KEY), b"FAILURE")
        self.assertEqual(self.session.ask(b"PUT  " + _KEY), b"PUT-FROM 0")
        self.session.send(b"DATA %d\n" % _SIZE + _CONTENT[:1000])
        self.assertTrue(self._has_transfer_lock())
        stock = self.dialogue(self.stock)
        stock.hello(4)
        self.assertEqual(stock.ask(b"PUT  " + _KEY).split()[0], b"PUT-FROM")
        stock.send(b"DATA 3\nabcVALID\n")
        _, said, code = stock.finish()
        self.assertEqual(code, 1)
        self.assertIn(b"transfer already in progress", said)
        self.session.send(_CONTENT[1000:] + b"VALID\n")
        self.assertEqual(self.session.line(), b"SUCCESS")
        self._end()

    def _frozen(self, request: bytes, reply: bytes, more: bytes = b"") -> Dialogue:
        """A git-annex-shell that answered a request and does nothing more."""
        holder = self.dialogue(self.stock)
        holder.hello(4)
        self.assertEqual(holder.ask(request), reply)
        if more:
            holder.send(more)
            until(self._has_transfer_lock, "git-annex has its transfer lock")
        os.killpg(holder.process.pid, signal.SIGSTOP)
        self.addCleanup(holder.close)
        return holder

    def _has_transfer_lock(self) -> bool:
        transfers = self.git_dir / "annex" / "transfer"
        return any(has_lock(transfers / name) for name in litter(self.git_dir).get("transfer", []))

    def _thaw(self, holder: Dialogue) -> None:
        os.killpg(holder.process.pid, signal.SIGCONT)

    def _assert_refused(self, request: bytes) -> None:
        began = time.monotonic()
        reply = self.session.ask(request)
        self.assertTrue(reply == b"FAILURE" or reply.startswith(b"ERROR "), reply)
        self.assertLess(time.monotonic() - began, _PATIENCE)
        self.assertEqual(self.session.ask(b"CHECKPRESENT " + _KEY), b"SUCCESS")

    def _end(self, *kinds: str) -> None:
        self.assertEqual(self.session.finish()[2], 0)
        self.assert_sound()
        self.assert_tidy(*kinds)


class FrozenHolders(_FrozenHolders):
    def test_retention(self) -> None:
        """A holder that was killed keeps its lock for ten minutes."""
        self.assertEqual(self.session.put(_KEY, _CONTENT), b"SUCCESS")
        holder = self._frozen(b"LOCKCONTENT " + _KEY, b"SUCCESS")
        holder.process.kill()
        self._assert_refused(b"REMOVE " + _KEY)
        self._assert_refused(b"REMOVE-BEFORE 99999999999 " + _KEY)


class FrozenHoldersOld(_FrozenHolders):
    """Repository version 8 locks the object files themselves, and knows no retention."""

    settings = ("annex.version=8", "annex.autoupgraderepository=false")


class GoingBack(SshScene):
    """Either server goes on where the other stopped."""

    def test_partials_both_ways(self) -> None:
        stock = GitAnnexShell(Path(self.host.env["HOME"]))
        offset = 0
        for server, part in ((self.server, 100_000), (stock, 300_000), (self.server, 500_000)):
            dialogue = self.dialogue(server)
            dialogue.hello(4)
            self.assertEqual(dialogue.ask(b"PUT  " + _KEY), b"PUT-FROM %d" % offset)
            dialogue.send(b"DATA %d\n" % (_SIZE - offset) + _CONTENT[offset : offset + part])
            dialogue.finish()
            offset += part
        last = self.dialogue(stock)
        last.hello(4)
        self.assertEqual(last.put(_KEY, _CONTENT), b"SUCCESS")
        last.finish()
        self.assert_sound()
        self.assert_tidy()

    def test_back_and_forth(self) -> None:
        """The same clients with git-annex's server, with annexd, and again without it."""
        one = self.client("one")
        first = one.clone(self.url, "first")
        one.files(first, "before", 5)
        one.annex(first, "copy", "-q", "--to", "origin")
        self.server.stop()
        self._serve_with_git_annex()
        one.files(first, "back", 5)
        one.annex(first, "copy", "-q", "--to", "origin")
        one.annex(first, "drop", "-q", "--from", "origin", "before")
        one.annex(first, "fsck", "-q", "--from", "origin")
        one.annex(first, "sync", "-q", "--no-content")
        self.assert_sound()
        self.assert_tidy()

    def _serve_with_git_annex(self) -> None:
        stock = GitAnnexShell(Path(self.host.env["HOME"]))
        keys = self.sshd.directory / "authorized_keys"
        lines = keys.read_text().replace(forced_command(self.server).replace('"', '\\"'), "COMMAND")
        keys.write_text(lines.replace("COMMAND", forced_command(stock).replace('"', '\\"')))


class Places(Scene):
    """A shared account, and a daemon of one's own."""

    def test_daemon_away(self) -> None:
        self.annexd().stop()
        began = time.monotonic()
        _, said, code = self.dialogue().finish()
        self.assertLess(time.monotonic() - began, 20.0)  # not what it waits for answers
        self.assertEqual(code, 1)
        self.assertEqual(len(said.splitlines()), 1, said)

    def test_daemon_stopped(self) -> None:
        """A daemon that exists but does not answer (here: SIGSTOP) is no different."""
        daemon = self.annexd().daemon
        os.kill(daemon.pid, signal.SIGSTOP)
        try:
            dialogue = self.dialogue()
            time.sleep(0.3)
        finally:
            os.kill(daemon.pid, signal.SIGCONT)
        dialogue.hello(4)
        self.assertEqual(dialogue.finish()[2], 0)

    def test_own_daemon(self) -> None:
        """Without --socket both look into XDG_RUNTIME_DIR."""
        runtime = Path(self.annexd().daemon.socket).parent / "run"
        runtime.mkdir(mode=0o700)
        annexd = self.annexd()
        annexd.stop()
        annexd.daemon.env["XDG_RUNTIME_DIR"] = str(runtime)
        annexd.daemon.socket_option = ()
        annexd.start()
        shell = annexd.command()
        self.assertTrue((runtime / "annexd" / "annexd.sock").is_socket())
        at = shell.index("--socket")
        dialogue = Dialogue([*shell[:at], *shell[at + 2 :]], annexd.env(), self._command())
        self.addCleanup(dialogue.close)
        dialogue.hello(4)
        self.assertEqual(dialogue.put(_KEY, _CONTENT), b"SUCCESS")
        self.assertEqual(dialogue.finish()[2], 0)

    def test_other_name(self) -> None:
        """Installed as git-annex-shell, called with its arguments, told of the socket by the environment."""
        shell = self.directory / "git-annex-shell"
        shell.symlink_to(self.annexd().command()[0])
        env = {**self.server.env(), "ANNEXD_SOCKET": str(self.annexd().daemon.socket)}
        for words in (
            [shell, "p2pstdio", self.served, "client", "--uuid", self.uuid.decode()],
            [shell, "-c", self._command()],
        ):
            said = run(*words, cwd=self.directory, env=env)
            self.assertEqual(said, b"AUTH-SUCCESS " + self.uuid + b"\n")
        env["SSH_ORIGINAL_COMMAND"] = self._command()
        self.assertEqual(run(shell, cwd=self.directory, env=env), b"AUTH-SUCCESS " + self.uuid + b"\n")

    def test_stranger(self) -> None:
        """Another account of the same host gets nothing, even where it can reach the socket."""
        if os.geteuid() != 0:
            raise AssertionError("this test becomes another user: run it as root")
        socket = self.annexd().daemon.socket
        socket.parent.chmod(0o755)
        socket.chmod(0o666)
        stranger = (
            program("setpriv", "util-linux"),
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--",
        )
        connect = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            "s.sendall(b'\\0\\0\\0\\6status'); print(s.recv(100))"
        )
        said = run(*stranger, "/usr/bin/env", "python3", "-c", connect, socket, cwd=Path("/"), env=_SYSTEM)
        self.assertIn(said.strip(), (b"b''", b"b'w1\\n'"))  # hung up on, or told to exit with 1
        until(lambda: "65534" in self.annexd().daemon.said(), "the log says who it was")

    def test_shared_account(self) -> None:
        """Two people through one account; what each does is logged by name."""
        for user in ("alice", "bob"):
            argv = [part if part != "alice" else user for part in self.annexd().command()]
            dialogue = Dialogue(argv, self.server.env(), self._command())
            self.addCleanup(dialogue.close)
            dialogue.hello(4)
            dialogue.put(_KEY, _CONTENT)
            dialogue.finish()
        self.assertIn("alice", self.annexd().daemon.said())
        self.assertIn("bob", self.annexd().daemon.said())

    def test_stop_drains(self) -> None:
        """SIGTERM lets what is under way end."""
        dialogue = self.dialogue()
        dialogue.hello(4)
        self.assertEqual(dialogue.ask(b"PUT  " + _KEY), b"PUT-FROM 0")
        dialogue.send(b"DATA %d\n" % _SIZE + _CONTENT[:1000])
        time.sleep(0.2)
        os.kill(self.annexd().daemon.pid, signal.SIGTERM)
        time.sleep(0.5)
        dialogue.send(_CONTENT[1000:] + b"VALID\n")
        self.assertEqual(dialogue.line(), b"SUCCESS")
        dialogue.finish()
        self.assertEqual(self.annexd().daemon.end(), 0)
        self.assert_sound()
        self.assert_tidy()

    def _command(self) -> str:
        return f"git-annex-shell 'p2pstdio' '{self.served}' 'client' --uuid {self.uuid.decode()}"


_SYSTEM = {"PATH": SYSTEM_PATH}

_HOLD = (
    "/usr/bin/env",
    "python3",
    "-c",
    "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX);"
    "print('held', flush=True); time.sleep(60)",
)

del _FrozenHolders
