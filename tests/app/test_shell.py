"""What becomes of each command, with real pipes and pretended repositories."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.access import Access, Rights, Rule
from annexd.app.admin import Sessions
from annexd.app.hosting import Host, Seat
from annexd.app.installed import installed_shell
from annexd.app.invocation import HandedOver
from annexd.app.shell import Shell
from annexd.errors import Refused
from annexd.flow.workers import InlineWorkers
from annexd.protocol.keys import Key
from annexd.repo.local import Repository as Opened
from annexd.router.places import Place, Served
from annexd.sessions.deadlines import Deadlines
from annexd.store import Caller
from annexd.transports.handoff import Conversation, Door, Handoff
from tests.support.compiled_shell import compiled_shell
from tests.support.freezing import DEADLINE, FreezingDisk
from tests.support.hand_reactor import HandReactor
from tests.support.memory_store import MemoryStore, Shelf
from tests.support.steady_disks import SteadyDisks

UUID = b"1d51a450-a322-4ce3-a21b-f7e3c79f8f55"
NODE = b"2d51a450-a322-4ce3-a21b-f7e3c79f8f55"
KEY = b"WORM-s3-m1--abc"
PLACE = Place(b"/srv/x", (b"/srv/x", b"/real/x"), b"/real/x/.git", Served(b"/srv/x"), (0, 0))
TALK = b"git-annex-shell 'p2pstdio' '/srv/x' 'client' --uuid " + UUID


def open_fds() -> set[tuple[str, str]]:
    """Each with what it is; those of earlier tests may go at any time."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            found.add((fd, os.readlink(f"/proc/self/fd/{fd}")))
    return found


class Ledger:
    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)


class Following:
    """A `Follower`; ``reading`` is the first reading of the references."""

    def __init__(self, shelf: Shelf, reading: Deferred[None]) -> None:
        self._reading = reading
        self.next = MemoryStore(shelf).changes

    async def begin(self) -> None:
        await self._reading


class Repository:
    """As much of `annexd.repo.local.Repository` as is asked for."""

    def __init__(self) -> None:
        self.shelf = Shelf(uuid=UUID, content={Key.parse(KEY): b"abc"})
        self.stores: list[MemoryStore] = []
        self.callers: list[Caller] = []
        self.settings = SimpleNamespace(uuid=UUID, gcrypt_id=b"")
        self.parts = SimpleNamespace(unserved=None)
        self.reading: Deferred[None] = succeed(None)
        self.changes = SimpleNamespace(follow=lambda: Following(self.shelf, self.reading))
        self.ledger = Ledger()
        self.branch: bytes | None = None
        self.config: dict[bytes, bytes] = {}
        self.git = SimpleNamespace(branch_head=lambda: self.branch, config=lambda: self.config)
        self.git_annex = SimpleNamespace(init=self.init)
        self.initialised = 0
        self.flushed = 0
        self.flush_problem: Exception | None = None

    def init(self, seconds: float) -> None:
        self.initialised += 1
        self.config[b"annex.uuid"] = b"fresh"

    @property
    def uuid(self) -> bytes:
        return self.settings.uuid  # type: ignore[no-any-return]

    def store(self, caller: Caller) -> MemoryStore:
        self.callers.append(caller)
        self.stores.append(MemoryStore(self.shelf))
        return self.stores[-1]

    async def refresh(self) -> None:
        self.settings.uuid = self.config.get(b"annex.uuid", b"")

    async def flush(self) -> None:
        self.flushed += 1
        if self.flush_problem is not None:
            raise self.flush_problem

    settle = Opened.settle


class Directory:
    """One repository."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.visitors = 0
        self.asked: list[tuple[bytes, bytes | None]] = []
        self.opening: Deferred[None] | None = None
        self.on: Any = SteadyDisks(InlineWorkers().disk).at(b"")

    async def locate(self, path: bytes, home: bytes | None) -> Place:
        self.asked.append((path, home))
        if b"nothing" in path:
            raise Refused("no repository is served at " + path.decode())
        return PLACE

    def disk(self, place: Place) -> Any:
        return self.on

    async def visit(self, place: Place) -> Any:
        if self.opening is not None:
            await self.opening
        self.visitors += 1
        return self._inside()

    @contextlib.contextmanager
    def _inside(self) -> Iterator[Repository]:
        try:
            yield self.repository
        finally:
            self.visitors -= 1


class Proxies:
    """One node, called n1."""

    def __init__(self) -> None:
        self.store = MemoryStore(Shelf(uuid=NODE, content={Key.parse(KEY): b"abc"}))
        self.callers: list[Caller] = []
        self.passed: list[tuple[bytes, ...]] = []

    async def seat(self, repository: Any, uuid: bytes, caller: Caller) -> Seat | None:
        if uuid != NODE:
            return None
        self.callers.append(caller)
        return Seat(self.store, ("n1", NODE.decode()), self.passed.append)


class Link(StringTransport):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        # The kernel's word for whose process it is: pid, uid, gid.
        uid = os.geteuid().to_bytes(4, "little")
        self.socket = SimpleNamespace(getsockopt=lambda *_: bytes(4) + uid + bytes(4))


class ShellTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = HandReactor()
        self.repository = Repository()
        self.directory = Directory(self.repository)
        self.sessions = Sessions(self.reactor, 10)
        daemon = SimpleNamespace(git_annex="git-annex")
        self.current: Any = SimpleNamespace(
            access=Access(), deadlines=Deadlines(), config=SimpleNamespace(daemon=daemon)
        )
        directory: Any = self.directory
        self.proxies = Proxies()
        shell = Shell(Host(self.reactor, directory, self.sessions, self.current, self.proxies))

        async def answer(handoff: Handoff) -> None:
            await shell.answer(HandedOver(self.reactor, handoff))

        self.door = Door(self.reactor, answer, {os.geteuid()}, 30.0)
        self.before = open_fds()

    def allow(self, rights: Rights) -> None:
        self.current.access = Access([Rule(("alice",), ("/srv/*",), rights, "rules:1")])

    def ask(self, command: bytes, fields: Mapping[str, bytes] | None = None) -> None:
        """Pipes as sshd makes them; our ends are ``stdin``, ``stdout`` and ``stderr``."""
        theirs_in, self.stdin = os.pipe()
        self.stdout, theirs_out = os.pipe()
        self.stderr, theirs_error = os.pipe()
        for fd in (self.stdout, self.stderr):
            os.set_blocking(fd, False)
        self.hand(command, fields or {}, theirs_in, theirs_out, theirs_error)

    def hand(self, command: bytes, fields: Mapping[str, bytes], *fds: int) -> None:
        named = {"user": b"alice", "home": b"/home/u", **fields}
        body = b"\0".join(
            [b"shell", b"command=" + command, *(k.encode() + b"=" + v for k, v in named.items())]
        )
        self.link = Link()
        self.conversation: Conversation = self.door.buildProtocol(None)
        self.conversation.makeConnection(self.link)
        for fd in fds:
            self.conversation.fileDescriptorReceived(fd)
        self.conversation.dataReceived(len(body).to_bytes(4, "big") + body)
        self.reactor.turns()

    def read(self, fd: int) -> bytes:
        data = b""
        while True:
            try:
                more = os.read(fd, 65536)
            except BlockingIOError:
                return data
            if not more:
                return data
            data += more

    def over(self) -> tuple[bytes, bytes, bytes]:
        """What the shim was told, and what was said on standard output and error; nothing is left."""
        said = self.read(self.stdout), self.read(self.stderr)
        for fd in (self.stdin, self.stdout, self.stderr):
            if fd >= 0:
                os.close(fd)
        self.assertTrue(self.link.disconnecting, "it is not over")
        self.conversation.connectionLost()
        self.assertEqual(open_fds() - self.before, set())
        self.assertEqual(len(self.sessions), 0)
        self.assertEqual(self.directory.visitors, 0)
        self.assertEqual(self.reactor.getReaders() + self.reactor.getWriters(), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        return self.link.value(), *said

    def end_input(self) -> None:
        os.close(self.stdin)
        self.stdin = -1
        self.reactor.turns()

    def answer(self, command: bytes, fields: Mapping[str, bytes] | None = None) -> tuple[bytes, bytes, bytes]:
        self.ask(command, fields)
        return self.over()

    def assertRefused(self, reason: str, command: bytes, fields: Mapping[str, bytes] | None = None) -> None:
        code, out, error = self.answer(command, fields)
        self.assertEqual((code, out), (b"w1\n", b""))
        self.assertEqual(error, f"annexd-shell: {reason}\n".encode())

    # --- p2pstdio ------------------------------------------------------

    def test_a_session(self) -> None:
        self.ask(TALK)
        self.assertEqual(self.read(self.stdout), b"AUTH-SUCCESS " + UUID + b"\n")
        self.assertEqual(self.link.value(), b"w")
        self.assertEqual([a.repository for a in self.sessions], [b"/srv/x"])
        os.write(self.stdin, b"VERSION 4\nCHECKPRESENT " + KEY + b"\n")
        self.reactor.turns()
        self.assertEqual(self.read(self.stdout), b"VERSION 4\nSUCCESS\n")
        self.end_input()
        self.assertEqual(self.over(), (b"w0\n", b"", b""))
        self.assertEqual(self.repository.callers, [Caller(b"client", "alice")])
        self.assertEqual(self.repository.flushed, 1)
        self.assertTrue(self.repository.stores[0].closed)

    def talk_to_the_node(self, script: bytes, fields: Mapping[str, bytes] | None = None) -> list[bytes]:
        """What a session with the node answers, after the greeting."""
        self.ask(TALK.replace(UUID, NODE), fields)
        self.assertEqual(self.read(self.stdout), b"AUTH-SUCCESS " + NODE + b"\n")
        os.write(self.stdin, b"VERSION 4\n" + script)
        self.reactor.turns(6)
        said = self.read(self.stdout)
        self.end_input()
        self.over()
        self.assertTrue(self.proxies.store.closed)
        return said.splitlines()[1:]

    def test_a_session_with_a_node_behind(self) -> None:
        script = b"BYPASS g1 g2\nCHECKPRESENT " + KEY + b"\nREMOVE " + KEY + b"\n"
        self.assertEqual(self.talk_to_the_node(script), [b"SUCCESS", b"SUCCESS"])
        self.assertEqual(self.proxies.callers, [Caller(b"client", "alice")])
        self.assertEqual(self.proxies.passed, [(b"g1", b"g2")])
        self.assertEqual(self.repository.stores, [])

    def test_what_the_environment_allows_reaches_through(self) -> None:
        script = b"REMOVE " + KEY + b"\nPUT  WORM-s3-m1--other\n"
        _, put = self.talk_to_the_node(script, {"appendonly": b"1"})
        self.assertEqual(put, b"PUT-FROM 0")
        self.proxies.store.closed = False
        for line in self.talk_to_the_node(script, {"readonly": b"1"}):
            self.assertIn(b"read-only; write access denied", line)

    def test_rights_of_nodes(self) -> None:
        script = b"REMOVE " + KEY + b"\n"
        self.current.access = Access(
            [
                Rule(("alice",), ("/srv/x",), Rights.APPEND_ONLY, "rules:1", ("n1",)),
                Rule(("alice",), ("/srv/x",), Rights.READ_WRITE, "rules:2"),
            ]
        )
        [line] = self.talk_to_the_node(script)
        self.assertIn(b"append-only; removal denied (rules:1)", line)
        self.current.access = Access([Rule(("alice",), ("/srv/x",), Rights.READ_ONLY, "rules:1")])
        self.proxies.store.closed = False
        [line] = self.talk_to_the_node(script)
        self.assertIn(b"read-only; write access denied (rules:1)", line)

    def test_a_uuid_that_is_not_proxied(self) -> None:
        found = b"expected repository UUID other but found UUID " + UUID
        self.assertRefused(found.decode(), TALK.replace(UUID, b"other"))

    def test_a_client_that_closes_both_ways_at_once(self) -> None:
        self.ask(TALK)
        os.close(self.stdout)
        self.stdout = os.open("/dev/null", os.O_RDONLY)
        self.end_input()
        self.assertEqual(self.over(), (b"w0\n", b"", b""))
        self.assertEqual(self.repository.flushed, 1)

    def test_a_journal_that_cannot_be_committed(self) -> None:
        self.repository.flush_problem = Refused("the disk is full")
        self.ask(TALK)
        self.end_input()
        self.assertEqual(self.over()[0], b"w0\n")

    def test_an_end_in_the_middle(self) -> None:
        self.ask(TALK)
        os.write(self.stdin, b"VERSION 1\nPUT  WORM-s9-m1--x\nDATA 9\nabc")
        self.reactor.turns()
        self.end_input()
        code, _, error = self.over()
        self.assertEqual(code, b"w1\n")
        self.assertIn(b"closed after 3 of 9 bytes", error)
        self.assertEqual(self.repository.shelf.partial[Key.parse(b"WORM-s9-m1--x")], b"abc")

    def test_an_unreadable_stream(self) -> None:
        self.ask(TALK)
        for _ in range(8):
            os.write(self.stdin, b"x" * 4096)
            self.reactor.turns()
        code, out, error = self.over()
        self.assertEqual(code, b"w1\n")
        self.assertIn(b"\nERROR ", out)
        self.assertNotEqual(error, b"")

    def test_the_shim_is_killed(self) -> None:
        self.ask(TALK)
        self.conversation.connectionLost()
        self.link.loseConnection()
        self.reactor.turns()
        self.over()
        self.assertTrue(self.repository.stores[0].closed)

    def cut_off(self, cut: Callable[[], object]) -> list[str]:
        """What the log says of an upload that is under way at that moment."""
        self.ask(TALK)
        os.write(self.stdin, b"PUT  WORM-s9-m1--x\nDATA 9\nabc")
        self.reactor.turns()
        with capturedLogs() as events:
            cut()
            self.reactor.turns()
        return [event["reason"] for event in events if event.get("result") == "lost"]

    def test_the_shim_is_killed_in_the_middle(self) -> None:
        self.assertEqual(["the peer went away"], self.cut_off(self.conversation_lost))
        self.link.loseConnection()
        self.over()

    def conversation_lost(self) -> None:
        self.conversation.connectionLost()

    def test_the_daemon_stops_in_the_middle(self) -> None:
        """What has not ended by then is told why it does now."""
        draining: list[Deferred[None]] = []

        def stop() -> None:
            draining.append(Deferred.fromCoroutine(self.sessions.drain(1.0)))
            self.reactor.advance(0.5)
            self.assertEqual(len(self.sessions), 1)
            self.reactor.advance(0.6)

        self.assertEqual(["annexd stops after 3 of 9 bytes"], self.cut_off(stop))
        self.successResultOf(draining[0])
        code, _, error = self.over()
        self.assertEqual((b"w1\n", b"annexd-shell: annexd stops after 3 of 9 bytes\n"), (code, error))

    def test_the_daemon_stops(self) -> None:
        self.ask(TALK)
        draining = Deferred.fromCoroutine(self.sessions.drain(1.0))
        self.reactor.turns()
        self.reactor.advance(1.0)
        self.successResultOf(draining)
        self.assertEqual(self.over()[0], b"w0\n")

    def test_a_session_that_is_ended(self) -> None:
        """In the middle of an upload: what came is kept, the log says why."""
        self.ask(TALK)
        os.write(self.stdin, b"VERSION 1\nPUT  WORM-s9-m1--x\nDATA 9\nabc")
        self.reactor.turns()
        with capturedLogs() as events:
            self.assertEqual(1, self.sessions.stop("alice", "the token was revoked", b"/srv/x"))
            self.reactor.turns()
        lost = [(e["verb"], e["result"], e["reason"]) for e in events if "verb" in e]
        self.assertEqual([("PUT", "lost", "the token was revoked after 3 of 9 bytes")], lost)
        code, _, error = self.over()
        self.assertEqual(
            (b"w1\n", b"annexd-shell: the token was revoked after 3 of 9 bytes\n"), (code, error)
        )
        self.assertEqual(self.repository.shelf.partial[Key.parse(b"WORM-s9-m1--x")], b"abc")

    def test_the_disk_hangs(self) -> None:
        """Sessions that are idle, that have not begun, and that have something under way there."""
        disk = self.directory.on = FreezingDisk(self.reactor)
        for opening in (False, True):
            self.directory.opening = Deferred() if opening else None
            self.ask(TALK)
            self.assertEqual(bool(self.read(self.stdout)), not opening)
            disk.freeze()
            elsewhere = Deferred.fromCoroutine(disk.disk.run(int))
            for _ in range(2):
                self.reactor.advance(DEADLINE / 2)
            self.reactor.turns()
            reason = disk.down.encode()
            code, out, error = self.over()
            self.assertEqual(code, b"w1\n")
            self.assertEqual(out, b"" if opening else b"ERROR " + reason + b"\n")
            self.assertEqual(error, b"annexd-shell: " + reason + b"\n")
            self.assertRefused(disk.down, TALK)
            disk.thaw()
            self.successResultOf(elsewhere)
            self.reactor.advance(DEADLINE)

    def test_a_silent_client(self) -> None:
        self.current.deadlines = Deadlines(idle=100.0)
        self.ask(TALK)
        self.reactor.advance(101)
        self.reactor.turns()
        self.assertEqual(self.over()[0], b"w0\n")

    def test_uuids(self) -> None:
        for command in (b"p2pstdio /srv/x c --uuid other", b"configlist /srv/x --uuid other"):
            reason = f"expected repository UUID other but found UUID {UUID.decode()}"
            self.assertRefused(reason, b"git-annex-shell " + command)
        self.repository.settings.uuid = b""
        self.assertRefused(
            f"expected repository UUID {UUID.decode()} but found uninitialized repository", TALK
        )

    def test_without_a_uuid(self) -> None:
        self.ask(b"git-annex-shell p2pstdio /srv/x c")
        self.end_input()
        self.assertEqual(self.over(), (b"w0\n", b"AUTH-SUCCESS " + UUID + b"\n", b""))

    def test_a_repository_that_cannot_be_served(self) -> None:
        self.repository.parts.unserved = "it is too old"
        self.assertRefused("it is too old", TALK)
        self.repository.parts.unserved = os.fsdecode(b"/srv/caf\xe9 is too old")
        self.assertRefused("/srv/caf? is too old", TALK)  # the log has it, too

    def test_what_cannot_be_polled(self) -> None:
        with tempfile.TemporaryFile() as file:
            self.before = open_fds()
            self.stdin = self.stdout = -1
            self.stderr, theirs = os.pipe()
            os.set_blocking(self.stderr, False)
            self.hand(TALK, {}, os.dup(file.fileno()), os.dup(file.fileno()), theirs)
            self.stdout = os.open("/dev/null", os.O_RDONLY)
            code, _, error = self.over()
        self.assertEqual(code, b"w1\n")
        self.assertIn(b"must be pipes", error)

    def test_too_few_descriptors(self) -> None:
        self.ask(b"true")
        self.over()
        self.stdin = self.stdout = self.stderr = os.open("/dev/null", os.O_RDWR)
        self.stdin = self.stdout = -1
        self.hand(TALK, {})
        self.stdout = os.open("/dev/null", os.O_RDONLY)
        self.assertEqual(self.over()[0], b"w1\n")

    def test_too_many_sessions(self) -> None:
        self.sessions.most = 0
        self.assertRefused("annexd serves 0 sessions already, try again later", TALK)

    # --- rights --------------------------------------------------------

    def says(self, command: bytes, fields: Mapping[str, bytes] | None = None) -> bytes:
        """The replies to requests in a session."""
        self.ask(TALK, fields)
        self.read(self.stdout)
        os.write(self.stdin, command)
        self.reactor.turns()
        self.end_input()
        return self.over()[1]

    def test_rights_in_a_session(self) -> None:
        remove, put = b"REMOVE " + KEY + b"\n", b"PUT  WORM-s9-m1--x\n"
        read_only, append_only = (
            b"ERROR this repository is read-only",
            b"ERROR this repository is append-only",
        )
        self.assertIn(read_only, self.says(remove, {"readonly": b"1"}))
        self.assertIn(read_only, self.says(put, {"readonly": b"1", "appendonly": b"1"}))
        self.assertIn(append_only, self.says(remove, {"appendonly": b"1"}))
        self.assertIn(b"PUT-FROM", self.says(put, {"appendonly": b"1"}))
        self.allow(Rights.READ_ONLY)
        self.assertIn(read_only, self.says(put))
        self.assertIn(read_only, self.says(put, {"appendonly": b"1"}))
        self.allow(Rights.APPEND_ONLY)
        self.assertIn(append_only, self.says(remove))
        self.assertIn(b"SUCCESS", self.says(b"CHECKPRESENT " + KEY + b"\n"))
        self.allow(Rights.READ_WRITE)
        self.assertIn(b"SUCCESS", self.says(remove))

    def test_no_rights_look_like_no_repository(self) -> None:
        self.allow(Rights.NONE)
        for command in (TALK, b"git-annex-shell configlist /srv/x", b"git-upload-pack /srv/x"):
            self.assertRefused("no repository is served at /srv/x", command)
        self.assertRefused("no repository is served at /nothing", b"git-upload-pack /nothing")

    def test_who_it_is_without_a_name(self) -> None:
        self.ask(TALK, {"user": b""})
        self.end_input()
        self.over()
        self.assertNotIn(self.repository.callers[0].name, ("", "alice"))

    # --- configlist ----------------------------------------------------

    def configlist(self, more: bytes = b"", fields: Mapping[str, bytes] | None = None) -> bytes:
        code, out, error = self.answer(b"git-annex-shell configlist /srv/x" + more, fields)
        self.assertEqual((code, error), (b"w0\n", b""))
        return out

    def test_configlist(self) -> None:
        self.assertEqual(self.configlist(), b"annex.uuid=" + UUID + b"\ncore.gcrypt-id=\n")
        self.repository.settings.gcrypt_id = b":id:7"
        self.assertIn(b"core.gcrypt-id=:id:7\n", self.configlist(b" -- autoinit=1 --", {"readonly": b"1"}))
        self.assertEqual(self.repository.initialised, 0)

    def test_a_repository_that_takes_long_to_open(self) -> None:
        """The shim waits for half a minute until it is told to wait for as long as it takes."""
        self.directory.opening = Deferred()
        self.ask(b"git-annex-shell configlist /srv/x")
        self.assertEqual(self.link.value(), b"w")
        self.directory.opening.callback(None)
        self.assertIn(b"annex.uuid=" + UUID, self.over()[1])

    def test_initialising(self) -> None:
        self.repository.settings.uuid = b""
        self.assertEqual(self.configlist(), b"annex.uuid=\ncore.gcrypt-id=\n")
        self.assertEqual(self.configlist(b" -- autoinit=0 --"), b"annex.uuid=\ncore.gcrypt-id=\n")
        self.assertEqual(self.repository.initialised, 0)
        self.assertEqual(self.configlist(b" -- autoinit=1 --"), b"annex.uuid=fresh\ncore.gcrypt-id=\n")
        self.assertEqual(self.repository.initialised, 1)

    def test_a_clone_is_initialised_unasked(self) -> None:
        self.repository.settings.uuid = b""
        self.repository.branch = b"0" * 40
        self.assertEqual(self.configlist(b"", {"appendonly": b"1"}), b"annex.uuid=fresh\ncore.gcrypt-id=\n")

    def test_another_client_was_first(self) -> None:
        self.repository.settings.uuid = b""
        self.repository.config[b"annex.uuid"] = b"theirs"
        self.assertIn(b"annex.uuid=theirs\n", self.configlist(b" -- autoinit=1 --"))
        self.assertEqual(self.repository.initialised, 0)

    def test_readers_initialise_nothing(self) -> None:
        self.repository.settings.uuid = b""
        self.repository.branch = b"0" * 40
        command = b"git-annex-shell configlist /srv/x"
        self.assertRefused("Action blocked by GIT_ANNEX_SHELL_READONLY", command, {"readonly": b"1"})
        self.allow(Rights.READ_ONLY)
        reason = "this is no git-annex repository yet, and read-only access cannot make it one (rules:1)"
        self.assertRefused(reason, command)
        self.assertEqual(self.repository.initialised, 0)

    # --- notifychanges -------------------------------------------------

    def test_changes(self) -> None:
        self.ask(b"git-annex-shell notifychanges /srv/x --uuid " + UUID)
        self.assertEqual(self.read(self.stdout), b"READY\n")
        self.repository.shelf.changed(b"a" * 40, b"b" * 40)
        self.repository.shelf.changed(b"c" * 40)
        self.reactor.turns()
        lines = b"CHANGED " + b"a" * 40 + b" " + b"b" * 40 + b"\nCHANGED " + b"c" * 40 + b"\n"
        self.assertEqual(self.read(self.stdout), lines)
        os.write(self.stdin, b"whatever\n")
        self.reactor.turns()
        self.assertFalse(self.link.disconnecting)
        self.end_input()
        self.assertEqual(self.over(), (b"w0\n", b"", b""))
        self.assertEqual(self.repository.shelf.waiting, [])

    def test_ready_when_no_change_can_be_missed(self) -> None:
        self.repository.reading = Deferred()
        self.ask(b"git-annex-shell notifychanges /srv/x")
        self.assertEqual(self.read(self.stdout), b"")
        self.repository.reading.callback(None)
        self.reactor.turns()
        self.assertEqual(self.read(self.stdout), b"READY\n")
        self.end_input()
        self.over()

    def test_no_changes_for_those_who_may_not_read(self) -> None:
        self.allow(Rights.NONE)
        self.assertRefused("no repository is served at /srv/x", b"git-annex-shell notifychanges /srv/x")

    def test_no_changes_of_what_is_not_served(self) -> None:
        self.repository.parts.unserved = "it is not served"
        self.assertRefused("it is not served", b"git-annex-shell notifychanges /srv/x")

    def test_a_client_that_hears_of_no_change(self) -> None:
        self.ask(b"git-annex-shell notifychanges /srv/x --uuid " + UUID)
        for _ in range(20):
            self.repository.shelf.changed(*(b"%040d" % number for number in range(500)))
        self.reactor.turns()
        self.assertFalse(self.link.disconnecting)
        for _ in range(2):
            self.reactor.advance(Deadlines().stall + 1)
        self.over()

    # --- other programs ------------------------------------------------

    def run_by_shim(self, command: bytes, fields: Mapping[str, bytes] | None = None) -> list[bytes]:
        answer, out, error = self.answer(command, fields)
        self.assertEqual((answer[:1], out, error), (b"r", b"", b""))
        self.assertEqual(int.from_bytes(answer[1:5], "big"), len(answer) - 5)
        return answer[5:].split(b"\0")

    def test_git_gets_the_place_where_the_repository_is(self) -> None:
        for service in (b"upload-pack", b"receive-pack", b"upload-archive"):
            argv = self.run_by_shim(b"git-" + service + b" '~/x'")
            self.assertEqual(argv, [b"git", service, b"/real/x/.git"])
        self.assertEqual(self.directory.asked[-1], (b"~/x", b"/home/u"))

    def test_pushing_needs_configured_rights(self) -> None:
        """The environment's limits never stopped it."""
        self.run_by_shim(b"git-receive-pack /srv/x", {"readonly": b"1"})
        for rights in (Rights.READ_ONLY, Rights.APPEND_ONLY):
            self.allow(rights)
            self.run_by_shim(b"git-upload-pack /srv/x")
            self.assertRefused(
                "this repository is read-only; write access denied (rules:1)", b"git-receive-pack /srv/x"
            )

    def test_the_directory_of_the_environment(self) -> None:
        self.run_by_shim(b"git-upload-pack x/../y/", {"directory": b"/home/u/y"})
        self.assertEqual(self.directory.asked[-1][0], b"/home/u/y")
        reason = "Only allowed to access /home/u/z not /home/u/y"
        self.assertRefused(reason, b"git-upload-pack y", {"directory": b"/home/u/z"})

    def install(self) -> bytes:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        program = os.path.join(os.fsencode(scratch.name), b"git-annex-shell")
        with open(program, "w", opener=lambda path, flags: os.open(path, flags, 0o755)) as file:
            file.write("#!/bin/sh\n")
        self.current.config.daemon.git_annex = os.path.join(scratch.name, "git-annex")
        return program

    def test_rarer_verbs(self) -> None:
        program = self.install()
        line = b"git-annex-shell 'inannex' '/srv/x' 'KEY' --uuid U -- a=b --"
        expected = [b"KEY", b"--uuid", b"U", b"--", b"a=b", b"--"]
        self.assertEqual(self.run_by_shim(line), [program, b"inannex", b"/real/x/.git", *expected])
        argv = self.run_by_shim(b"git-annex-shell dropkey x/ --force K", {"directory": b"x"})
        self.assertEqual(argv, [program, b"dropkey", b"/home/u/x", b"--force", b"K"])

    def test_rarer_verbs_need_rights(self) -> None:
        self.install()
        for rights, allowed in (
            (Rights.READ_ONLY, (b"inannex", b"sendkey")),
            (Rights.APPEND_ONLY, (b"inannex", b"sendkey", b"recvkey")),
            (Rights.READ_WRITE, (b"inannex", b"sendkey", b"recvkey", b"dropkey", b"gcryptsetup")),
        ):
            self.allow(rights)
            for verb in (b"inannex", b"sendkey", b"recvkey", b"dropkey", b"gcryptsetup"):
                line = b"git-annex-shell " + verb + b" /srv/x k"
                if verb in allowed:
                    self.run_by_shim(line)
                else:
                    reason = f"{verb.decode()} is not allowed with {rights.value} access (rules:1)"
                    self.assertRefused(reason, line)

    def test_nothing_installed(self) -> None:
        self.patch(os, "environb", {b"PATH": b"/nonexistent"})
        reason = "git-annex-shell is not installed on this host; it is needed for inannex"
        self.assertRefused(reason, b"git-annex-shell inannex /srv/x k")

    # --- the audit -----------------------------------------------------

    def audited(self, command: bytes, **fields: bytes) -> list[dict[str, Any]]:
        with capturedLogs() as events:
            self.answer(command, fields)
        return [dict(event) for event in events if event["log_namespace"] == "annexd.audit"]

    def test_refusals_are_audited_in_full(self) -> None:
        self.current.access = Access([Rule(("alice",), ("*",), Rights.READ_ONLY, "/etc/annexd.toml:7")])
        [event] = self.audited(b"git-receive-pack /srv/x", connection=b"192.0.2.7 4711 192.0.2.1 22")
        wanted = {
            "event": "refused",
            "principal": "alice",
            "transport": "ssh",
            "address": "192.0.2.7",
            "command": "git-receive-pack /srv/x",
            "result": "refused",
            "reason": "this repository is read-only; write access denied (/etc/annexd.toml:7)",
        }
        self.assertEqual(wanted, {name: event[name] for name in wanted})

    def test_who_may_not_enter_is_audited_in_full(self) -> None:
        self.current.access = Access([Rule(("alice",), ("*",), Rights.NONE, "/etc/annexd.toml:7")])
        [event] = self.audited(b"git-upload-pack /srv/x")
        self.assertEqual("no repository is served at /srv/x for alice (/etc/annexd.toml:7)", event["reason"])

    def test_what_others_change_is_audited(self) -> None:
        self.assertEqual([], self.audited(b"git-upload-pack /srv/x"))
        [event] = self.audited(b"git-receive-pack /srv/x", connection=b"::1 1 ::1 2")
        self.assertEqual(
            ("git-receive-pack", "alice", "/srv/x", "::1"),
            tuple(event[name] for name in ("event", "principal", "repository", "address")),
        )
        self.install()
        self.assertEqual([], self.audited(b"git-annex-shell sendkey /srv/x k"))
        self.assertEqual(
            ["dropkey"], [event["event"] for event in self.audited(b"git-annex-shell dropkey /srv/x k")]
        )

    def test_sessions_know_the_address(self) -> None:
        self.ask(TALK, {"connection": b"192.0.2.7\x1b 1 192.0.2.1 22"})
        self.assertEqual(["192.0.2.7\\x1b"], [activity.address for activity in self.sessions])
        self.end_input()
        self.over()

    # --- the rest ------------------------------------------------------

    def test_the_command_that_opens_a_connection(self) -> None:
        self.assertEqual(self.answer(b"true", {"limited": b"1", "directory": b"/x"}), (b"w0\n", b"", b""))
        self.assertEqual(self.directory.asked, [])

    def test_anything_else(self) -> None:
        self.assertRefused("sh is not available here: only git and git-annex commands are served", b"sh")
        self.assertRefused("no command was given", b"")


class InstalledTests(SynchronousTestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.places = [os.path.join(os.fsencode(scratch.name), name) for name in (b"a", b"b", b"c")]
        for place in self.places:
            os.mkdir(place)
        self.environ = {b"PATH": b":".join(self.places)}

    def put(self, place: bytes, text: str, mode: int = 0o755) -> bytes:
        path = os.path.join(place, b"git-annex-shell")
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def test_the_first_in_path_that_is_not_annexd(self) -> None:
        from annexd.client import annexd_shell

        self.assertIsNone(installed_shell(b"git-annex", self.environ))
        os.symlink(annexd_shell.__file__, os.path.join(self.places[0], b"git-annex-shell"))
        self.put(self.places[1], "no program", 0o644)
        expected = self.put(self.places[2], "#!/bin/sh\n")
        if os.geteuid() == 0:
            self.assertFalse(os.access(os.path.join(self.places[1], b"git-annex-shell"), os.X_OK))
        self.assertEqual(installed_shell(b"git-annex", self.environ), expected)

    def test_the_compiled_program_is_annexd(self) -> None:
        os.symlink(compiled_shell(), os.path.join(self.places[0], b"git-annex-shell"))
        self.assertIsNone(installed_shell(b"git-annex", self.environ))

    def test_beside_git_annex(self) -> None:
        self.put(self.places[0], "#!/bin/sh\n")
        expected = self.put(self.places[1], "#!/bin/sh\n")
        self.assertEqual(installed_shell(self.places[1] + b"/git-annex", self.environ), expected)
