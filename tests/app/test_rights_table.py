"""
Every principal x rights x operation x way in: who is let do what, and that a
refusal says why.

A way in is a class below `Table`; another one takes one more class that makes
a session as its listener would.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.conch.ssh.common import NS
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.access import Access, Operation, Rights, Rule
from annexd.app.admin import Sessions
from annexd.app.authorized_keys import Entry
from annexd.app.authorized_keys import parse as read_keys
from annexd.app.config import parse
from annexd.app.doorman import KeyDoorman
from annexd.app.guessing import Guessing
from annexd.app.hosting import Host
from annexd.app.invocation import HandedOver
from annexd.app.shell import Shell
from annexd.app.ssh_command import SshCommand
from annexd.errors import AnnexdError, Refused
from annexd.protocol.keys import Key
from annexd.sessions.deadlines import Deadlines
from annexd.sessions.wire import Wire
from annexd.transports.handoff import Conversation, Door, Handoff
from annexd.transports.ssh.channel import Channel
from tests.app.test_shell import KEY, PLACE, UUID, Directory, Link, Repository
from tests.support.duplex import Script, duplex
from tests.support.hand_reactor import HandReactor
from tests.support.ssh_keys import ADDRESS, authorized, ed25519_key
from tests.support.ssh_link import CLOSE, EOF
from tests.support.ssh_link import Link as SshLink

ALLOWED = {
    Rights.NONE: set(),
    Rights.READ_ONLY: set(Operation) - {Operation.PUT, Operation.INIT, Operation.REMOVE, Operation.PUSH},
    Rights.APPEND_ONLY: set(Operation) - {Operation.REMOVE, Operation.PUSH},
    Rights.READ_WRITE: set(Operation),
}

REQUESTS = {
    Operation.ENTER: b"",
    Operation.CHECK: b"CHECKPRESENT " + KEY + b"\n",
    Operation.GET: b"GET 0  " + KEY + b"\nSUCCESS\n",
    Operation.LOCK: b"LOCKCONTENT " + KEY + b"\nUNLOCKCONTENT\n",
    Operation.WATCH: b"NOTIFYCHANGE\n",
    Operation.PULL: b"CONNECT git-upload-pack\n",
    Operation.PUT: b"PUT  WORM-s9-m1--x\n",
    Operation.REMOVE: b"REMOVE " + KEY + b"\n",
    Operation.PUSH: b"CONNECT git-receive-pack\n",
}
REPLIES = {
    Operation.ENTER: b"AUTH-SUCCESS " + UUID,
    Operation.CHECK: b"\nSUCCESS\n",
    Operation.GET: b"\nDATA 3\nabc",
    Operation.LOCK: b"\nSUCCESS\n",
    Operation.WATCH: b"\nCHANGED abc\n",
    Operation.PULL: b"git runs: upload-pack",
    Operation.PUT: b"\nPUT-FROM 0\n",
    Operation.REMOVE: b"\nSUCCESS\n",
    Operation.PUSH: b"git runs: receive-pack",
    Operation.INIT: b"annex.uuid=fresh\n",
}
RULE = '[[access]]\nusers = ["{users}"]\nrepositories = ["/srv/*"]\nrights = "{rights}"\n'
GROUP = '[[group]]\nname = "g"\nmembers = ["nobody", "{users}"]\n'


@dataclass(frozen=True)
class Grant:
    """How a principal has its rights: by ``rules``, or, where there are none, by the way in."""

    principal: str
    rules: str
    hint: bytes = b" (rules.toml:1)"

    def config(self, rights: Rights) -> str:
        return self.rules.format(users=self.principal, rights=rights.value)


def grants(principal: str) -> list[Grant]:
    """By name, by pattern, as a member of a group, as anybody."""
    return [
        Grant(principal, RULE),
        Grant(principal, RULE.replace("{users}", "{users}*")),
        Grant(principal, GROUP + RULE.replace("{users}", "@g"), b" (rules.toml:4)"),
        Grant(principal, RULE.replace("{users}", "*")),
    ]


class GitRuns(HandReactor):
    def spawnProcess(self, _: object, program: bytes, argv: list[bytes], **more: object) -> None:
        raise Refused(f"git runs: {argv[1].decode()}")


class Table:
    """``principals`` are those of the way in, ``limits`` the rights that it can set by itself."""

    principals: tuple[str, ...] = ()
    limits: tuple[Rights, ...] = ()
    operations = tuple(REQUESTS)

    def hint(self, principal: str) -> bytes:
        """What a peer is told when it is refused by limits."""
        return b""

    def come(self, principal: str, limits: Rights, operation: Operation) -> bytes:
        """All that the peer hears, of refusals too; for `Operation.INIT` there is no git-annex here yet."""
        raise NotImplementedError

    # --- the cells -----------------------------------------------------

    def setUp(self) -> None:
        self.reactor = GitRuns()

    def make(self, rules: str) -> Host:
        self.repository = Repository()
        self.directory: Any = Directory(self.repository)
        self.sessions = Sessions(self.reactor, 10)
        config = parse(rules, "/etc/secret/rules.toml")
        current: Any = SimpleNamespace(access=Access(config.rules), deadlines=Deadlines(), config=config)
        return Host(self.reactor, self.directory, self.sessions, current)

    def cell(self: Any, grant: Grant, rights: Rights, limits: Rights, operation: Operation) -> None:
        """``rights`` are what both together should leave."""
        about = f"{grant} {rights} {limits} {operation}"
        self.host = self.make(grant.config(rights) if grant.rules else "")
        heard = self.come(grant.principal, limits, operation)
        if operation in ALLOWED[rights]:
            self.assertIn(REPLIES[operation], heard, about)
        else:
            self.assertNotIn(REPLIES[operation], heard, about)
            self.assertTrue(any(words in heard for words in _refusals(grant, rights, operation)), about)
        self.assertNotIn(b"secret", heard)
        untouched = operation is not Operation.REMOVE or operation not in ALLOWED[rights]
        self.assertEqual(untouched, Key.parse(KEY) in self.repository.shelf.content, about)
        self.assertEqual((0, 0), (len(self.sessions), self.directory.visitors), about)

    def test_rules(self) -> None:
        for principal in self.principals:
            for grant in grants(principal):
                for rights in Rights:
                    for operation in self.operations:
                        self.cell(grant, rights, Rights.READ_WRITE, operation)

    def test_limits_of_the_way_in(self) -> None:
        for principal in self.principals:
            for limits in self.limits:
                # Nobody has rights by a certificate alone.
                rights = Rights.NONE if principal.startswith("certificate:") else limits
                for operation in self.operations:
                    self.cell(Grant(principal, "", self.hint(principal)), rights, limits, operation)

    def test_neither_widens_the_other(self) -> None:
        for principal in self.principals:
            for limits in self.limits:
                for ruled in Rights:
                    rights = min(ruled, limits, key=list(Rights).index)
                    hint = Grant.hint if rights is ruled else self.hint(principal)
                    grant = Grant(principal, RULE.replace("{rights}", ruled.value), hint)
                    for operation in self.operations:
                        self.cell(grant, rights, limits, operation)


def _refusals(grant: Grant, rights: Rights, operation: Operation) -> tuple[bytes, ...]:
    if rights is Rights.NONE:
        return (b"no repository is served at /srv/x",)
    if operation is Operation.INIT:
        return (b"cannot make it one" + grant.hint + b"\n", b"Action blocked by GIT_ANNEX_SHELL_READONLY\n")
    return (b" denied" + grant.hint + b"\n", b" denied" + grant.hint + b"CONNECTDONE 1\n")


class ByForcedCommand(Table, SynchronousTestCase):
    """Through annexd-shell, with real pipes."""

    principals = ("alice",)
    operations = (*REQUESTS, Operation.INIT)
    # What git-annex's own variables refuse is said in its very words.
    limits = (Rights.READ_ONLY, Rights.APPEND_ONLY)

    def come(self, principal: str, limits: Rights, operation: Operation) -> bytes:
        fields = {"user": principal.encode(), "home": b"/"}
        if limits is not Rights.READ_WRITE:
            fields[limits.value.replace("-", "")] = b"1"
        if operation is Operation.INIT:
            self.repository.settings.uuid = b""
            return self.run_command(b"git-annex-shell configlist /srv/x -- autoinit=1 --", b"", fields)
        line = b"git-annex-shell p2pstdio /srv/x client --uuid " + UUID
        return self.run_command(line, REQUESTS[operation], fields)

    def run_command(self, line: bytes, requests: bytes, fields: dict[str, bytes]) -> bytes:
        shell = Shell(self.host)

        async def answer(handoff: Handoff) -> None:
            await shell.answer(HandedOver(self.reactor, handoff))

        door = Door(self.reactor, answer, {os.geteuid()}, 30.0)
        body = b"\0".join(
            [b"shell", b"command=" + line, *(name.encode() + b"=" + value for name, value in fields.items())]
        )
        with self.pipes() as (theirs, ours):
            conversation: Conversation = door.buildProtocol(None)
            self.link = Link()
            conversation.makeConnection(self.link)
            for fd in theirs:
                conversation.fileDescriptorReceived(fd)
            os.write(ours[0], b"VERSION 4\n" + requests)
            conversation.dataReceived(len(body).to_bytes(4, "big") + body)
            self.reactor.turns()
            self.repository.shelf.changed(b"abc")
            self.reactor.turns()
            os.close(ours[0])
            self.reactor.turns()
            heard = b"".join(os.read(fd, 65536) for fd in ours[1:])
            conversation.connectionLost(Failure(ConnectionError()))
        return heard

    @contextlib.contextmanager
    def pipes(self) -> Iterator[tuple[list[int], list[int]]]:
        """For standard input, output and error: their ends, and ours."""
        (read, to), (out, write), (error, complain) = os.pipe(), os.pipe(), os.pipe()
        yield [read, write, complain], [to, out, error]
        os.close(out)
        os.close(error)

    def test_git_s_own_commands(self) -> None:
        """git-annex's variables never kept anybody from pushing; rules do."""
        for rights in Rights:
            for service, operation in ((b"upload", Operation.PULL), (b"receive", Operation.PUSH)):
                for limits in ({}, {"readonly": b"1"}):
                    self.host = self.make(Grant("alice", RULE).config(rights))
                    fields = {"user": b"alice", "home": b"/", **limits}
                    heard = self.run_command(b"git-" + service + b"-pack /srv/x", b"", fields)
                    ran = self.link.value().startswith(b"r")
                    self.assertEqual(operation in ALLOWED[rights], ran, (rights, service, heard))


class ByListener(Table, SynchronousTestCase):
    """As every listener does that has found out who comes, and by what token."""

    principals = ("alice", "token:t", "certificate:c")
    limits = (Rights.READ_ONLY, Rights.APPEND_ONLY, Rights.READ_WRITE)

    def hint(self, principal: str) -> bytes:
        return f" ({principal})".encode()

    def come(self, principal: str, limits: Rights, operation: Operation) -> bytes:
        peer = Script()
        wire = Wire(self.reactor, Deadlines())

        def connect() -> Wire:
            duplex(peer, wire)
            return wire

        async def talk() -> None:
            guest = await self.host.admit(principal, "tls", b"/srv/x", limits=limits)
            await self.host.talk(guest, connect, lambda sentence: None)

        done = Deferred.fromCoroutine(talk())
        problems: list[Failure] = []
        done.addErrback(problems.append)
        if problems:
            problems[0].trap(AnnexdError)
            return str(problems[0].value).encode()
        heard = peer.say(b"VERSION 4\n" + REQUESTS[operation])
        self.repository.shelf.changed(b"abc")
        heard += peer.hear()
        peer.transport.loseConnection()
        return heard


class BySshListener(Table, SynchronousTestCase):
    """From a line of authorized_keys to what the client of annexd's own SSH server hears."""

    principals = ("alice",)
    operations = (*REQUESTS, Operation.INIT)
    limits = (Rights.READ_ONLY, Rights.APPEND_ONLY)
    key = ed25519_key()

    def come(self, principal: str, limits: Rights, operation: Operation) -> bytes:
        if operation is Operation.INIT:
            self.repository.settings.uuid = b""
            return self.run_command(principal, limits, b"git-annex-shell configlist /srv/x -- autoinit=1 --")
        line = b"git-annex-shell p2pstdio /srv/x client --uuid " + UUID
        return self.run_command(principal, limits, line, b"VERSION 4\n" + REQUESTS[operation])

    def run_command(self, principal: str, limits: Rights, line: bytes, requests: bytes = b"") -> bytes:
        link, channel = self.open(principal, limits)
        link.request(channel, b"exec", NS(line))
        self.reactor.turns()
        link.data(channel, requests)
        self.reactor.turns()
        self.repository.shelf.changed(b"abc")
        self.reactor.turns()
        heard = link.written(channel) + link.written(channel, 1)
        link.tell(channel, EOF)
        self.reactor.turns()
        link.tell(channel, CLOSE)
        self.reactor.turns()
        self.assertEqual([], self.running)
        return heard

    def open(self, principal: str, limits: Rights) -> tuple[SshLink, Channel]:
        """A channel of somebody who has shown the key."""
        variable = (
            "" if limits is Rights.READ_WRITE else f"GIT_ANNEX_SHELL_{limits.value.replace('-', '')}=1 "
        )
        options = f'restrict,command="{variable.upper()}annexd-shell --user {principal}"'
        entries, problems = read_keys(authorized(self.key, options), "/etc/secret/keys")
        self.assertEqual([], problems)
        doorman = KeyDoorman(Known(entries), Guessing(self.reactor))
        user = self.successResultOf(Deferred.fromCoroutine(doorman.admit(b"annex", self.key.blob(), ADDRESS)))
        link = SshLink(clock=self.reactor)
        self.running: list[SshCommand] = []

        def perform(channel: Channel, line: bytes) -> None:
            command = SshCommand(
                self.reactor, channel, user, ADDRESS, line, self.sessions, Deadlines(), self.running.remove
            )
            self.running.append(command)
            command.start(Shell(self.host))

        link.connection.perform = perform
        return link, link.channel()

    def test_git_s_own_commands(self) -> None:
        """As through the system's sshd."""
        for rights in Rights:
            for service, operation in ((b"upload", Operation.PULL), (b"receive", Operation.PUSH)):
                for limits in (Rights.READ_WRITE, Rights.READ_ONLY):
                    self.host = self.make(Grant("alice", RULE).config(rights))
                    heard = self.run_command("alice", limits, b"git-" + service + b"-pack /srv/x")
                    ran = b"git runs: " + service in heard
                    self.assertEqual(operation in ALLOWED[rights], ran, (rights, service, heard))


class Known:
    """`annexd.app.ssh_users.Users` without files."""

    def __init__(self, entries: list[Entry]) -> None:
        self._entries = entries

    async def entries(self, login: str) -> list[Entry]:
        return self._entries


NAMES = ("alice", "token:t", "token:u", "certificate:c")


class AnyRules(SynchronousTestCase):
    @given(
        st.lists(
            st.tuples(
                st.sampled_from((*NAMES, "*", "token:*", "nobody")),
                st.sampled_from(("*", "/srv/x", "/real/*", "/other")),
                st.sampled_from(Rights),
            )
        ),
        st.sampled_from(NAMES),
        st.sampled_from(Rights),
    )
    def test_never_wider_than_the_token(
        self, rules: list[tuple[str, str, Rights]], principal: str, limits: Rights
    ) -> None:
        access = Access([Rule((users,), (paths,), rights, "f:1") for users, paths, rights in rules])
        current: Any = SimpleNamespace(access=access)
        directory: Any = Directory(Repository())
        host = Host(None, directory, Sessions(Clock(), 10), current)
        ruled = access.verdict(principal, *PLACE.aliases)
        admitting = Deferred.fromCoroutine(host.admit(principal, "tls", b"/srv/x", limits=limits))
        if Rights.NONE in (limits, ruled.rights):
            self.failureResultOf(admitting, Refused)
            return
        guest = self.successResultOf(admitting)
        for operation in Operation:
            both = limits.allow(operation) and ruled.rights.allow(operation)
            self.assertEqual(both, guest.verdict.rights.allow(operation))
