from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import tempfile
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorUNIX
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from annexd.errors import ConfigError, Refused
from annexd.transports.handoff import LONGEST_FRAME, Conversation, Door, Handoff, listen, own_uids

HANDSHAKE = 30.0


def framed(*fields: bytes) -> bytes:
    body = b"\0".join(fields)
    return struct.pack(">I", len(body)) + body


def open_fds() -> set[tuple[str, str]]:
    """Each with what it is; those of earlier tests may go at any time."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            found.add((fd, os.readlink(f"/proc/self/fd/{fd}")))
    return found


class Link(StringTransport):  # type: ignore[misc]
    """A transport with a socket whose peer the kernel knows."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self.socket = connection


class ConversationTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.handoffs: list[Handoff] = []
        self.answers: list[Deferred[None]] = []
        self.problem: Exception | None = None
        self.door = Door(self.clock, self.answer, own_uids(), HANDSHAKE)
        self.sockets = socket.socketpair()
        for end in self.sockets:
            self.addCleanup(end.close)
        self.files = [tempfile.TemporaryFile() for _ in range(3)]
        for file in self.files:
            self.addCleanup(file.close)
        self.before = open_fds()

    async def answer(self, handoff: Handoff) -> None:
        self.handoffs.append(handoff)
        if self.problem is not None:
            raise self.problem
        waiting: Deferred[None] = Deferred()
        self.answers.append(waiting)
        await waiting

    def connect(self) -> tuple[Conversation, Link]:
        conversation = self.door.buildProtocol(None)
        link = Link(self.sockets[0])
        conversation.makeConnection(link)
        return conversation, link

    def give(self, conversation: Conversation, count: int = 3) -> None:
        for file in self.files[:count]:
            conversation.fileDescriptorReceived(os.dup(file.fileno()))

    def ask(
        self, data: bytes = framed(b"shell", b"command=x", b"empty=")
    ) -> tuple[Conversation, Link, Handoff]:
        conversation, link = self.connect()
        self.give(conversation)
        conversation.dataReceived(data)
        return conversation, link, self.handoffs[-1]

    def said(self, number: int = 2) -> bytes:
        return os.pread(self.files[number].fileno(), 10_000, 0)

    def assertOver(self, link: Link, answer: bytes) -> None:
        self.assertEqual(link.value(), answer)
        self.assertTrue(link.disconnecting)
        self.assertEqual(open_fds() - self.before, set())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    # --- what comes in -------------------------------------------------

    def test_a_frame_however_it_is_cut(self) -> None:
        data = framed(b"shell", b"command=a b=c", b"empty=", b"bare")
        for pieces in ([data], [data + b"more"], [data[i : i + 1] for i in range(len(data))]):
            conversation, link = self.connect()
            self.give(conversation)
            for piece in pieces:
                conversation.dataReceived(piece)
            handoff = self.handoffs.pop()
            self.assertEqual(handoff.kind, b"shell")
            self.assertEqual(handoff.fields, {b"command": b"a b=c", b"empty": b"", b"bare": b""})
            self.assertTrue(handoff.complete)
            self.assertEqual(handoff.uid, os.geteuid())
            handoff.finish(0)
            self.assertOver(link, b"w0\n")

    def test_received_descriptors_are_not_inherited(self) -> None:
        conversation, _ = self.connect()
        fd = os.dup(self.files[0].fileno())
        os.set_inheritable(fd, True)
        conversation.fileDescriptorReceived(fd)
        self.assertFalse(os.get_inheritable(fd))
        conversation.connectionLost()

    def test_too_long_a_frame(self) -> None:
        conversation, link = self.connect()
        self.give(conversation)
        conversation.dataReceived(struct.pack(">I", LONGEST_FRAME + 1))
        self.assertIn(b"longer than", self.said())
        self.assertOver(link, b"w1\n")
        self.assertEqual(self.handoffs, [])

    def test_too_many_descriptors(self) -> None:
        conversation, link = self.connect()
        self.give(conversation)
        self.give(conversation)
        conversation.dataReceived(framed(b"shell"))
        self.give(conversation)
        self.handoffs[0].finish(0)
        self.assertOver(link, b"w0\n")

    def test_too_few_descriptors(self) -> None:
        conversation, link = self.connect()
        self.give(conversation, 2)
        conversation.dataReceived(framed(b"shell"))
        self.assertFalse(self.handoffs[0].complete)
        self.handoffs[0].say("unheard")
        self.handoffs[0].finish(1)
        self.assertOver(link, b"w1\n")

    def test_a_stranger(self) -> None:
        self.door.uids = frozenset((os.geteuid() + 1,))
        conversation, link = self.connect()
        self.give(conversation)
        conversation.dataReceived(framed(b"shell"))
        self.assertIn(f"not {os.geteuid()}".encode(), self.said())
        self.assertOver(link, b"w1\n")
        self.assertEqual(self.handoffs, [])

    def test_the_handshake_has_a_deadline(self) -> None:
        conversation, link = self.connect()
        self.give(conversation)
        conversation.dataReceived(b"\0")
        self.clock.advance(HANDSHAKE - 1)
        self.assertFalse(link.disconnecting)
        self.clock.advance(1)
        self.assertTrue(link.disconnecting)
        conversation.connectionLost()
        self.assertEqual(open_fds() - self.before, set())

    def test_gone_before_it_spoke(self) -> None:
        conversation, _ = self.connect()
        self.give(conversation)
        conversation.connectionLost()
        self.assertEqual(open_fds() - self.before, set())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.door.conversations, set())

    # --- answers -------------------------------------------------------

    def test_wait_and_finish(self) -> None:
        _, link, handoff = self.ask()
        handoff.answer_wait()
        handoff.answer_wait()
        self.assertEqual(link.value(), b"w")
        self.assertFalse(link.disconnecting)
        handoff.say("naïve\n")
        handoff.print(b"annex.uuid=x\n")
        handoff.finish(3)
        handoff.finish(0)
        self.assertEqual(
            (self.said(1), self.said(2)), (b"annex.uuid=x\n", "annexd-shell: naïve\n\n".encode())
        )
        self.assertOver(link, b"w3\n")

    def test_run(self) -> None:
        _, link, handoff = self.ask()
        handoff.answer_run([b"git", b"upload-pack", b"/\xff"])
        self.assertOver(link, b"r\0\0\0\x12git\0upload-pack\0/\xff")

    def test_document(self) -> None:
        _, link, handoff = self.ask(framed(b"status"))
        handoff.answer_json(b'{"pid": 1}\n')
        self.assertOver(link, b'{"pid": 1}\n')

    def test_taken_descriptors_stay_open(self) -> None:
        _, link, handoff = self.ask()
        fd = handoff.take(0)
        handoff.finish(0)
        self.assertEqual(len(open_fds() - self.before), 1)
        os.close(fd)
        self.assertOver(link, b"w0\n")

    def test_a_full_pipe_keeps_nobody_waiting(self) -> None:
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        os.set_blocking(writing, False)
        with self.assertRaises(BlockingIOError):
            while True:
                os.write(writing, bytes(65536))
        os.set_blocking(writing, True)
        self.before = open_fds()
        conversation, link = self.connect()
        for fd in (writing, writing, writing):
            conversation.fileDescriptorReceived(os.dup(fd))
        conversation.dataReceived(framed(b"shell"))
        self.handoffs[0].say("unheard")
        self.handoffs[0].finish(1)
        self.assertOver(link, b"w1\n")

    def test_a_closed_pipe(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        conversation, link = self.connect()
        for fd in (writing, os.dup(writing), os.dup(writing)):
            conversation.fileDescriptorReceived(fd)
        conversation.dataReceived(framed(b"shell"))
        self.handoffs[0].say("unheard")
        self.handoffs[0].finish(1)
        self.assertOver(link, b"w1\n")

    # --- the end -------------------------------------------------------

    def test_nobody_is_left_without_an_answer(self) -> None:
        _, link, _ = self.ask()
        self.answers[0].callback(None)
        self.assertOver(link, b"w1\n")

    def test_a_refusal_is_said(self) -> None:
        self.problem = Refused("no such thing")
        _, link, _ = self.ask()
        self.assertEqual(self.said(), b"annexd-shell: no such thing\n")
        self.assertOver(link, b"w1\n")

    def test_a_bug_is_logged(self) -> None:
        self.problem = ZeroDivisionError()
        _, link, _ = self.ask()
        self.assertOver(link, b"w1\n")
        self.assertEqual(self.said(), b"annexd-shell: an internal error, which the daemon's log describes\n")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_the_peer_goes_away(self) -> None:
        conversation, _, _ = self.ask()
        cancelled: list[bool] = []
        self.answers[0]._canceller = lambda _: cancelled.append(True)  # type: ignore[assignment]
        conversation.connectionLost()
        self.assertEqual(cancelled, [True])
        self.assertEqual(open_fds() - self.before, set())
        self.assertEqual(self.door.conversations, set())

    def test_the_door_closes(self) -> None:
        _, link, _ = self.ask()
        closing = Deferred.fromCoroutine(self.door.close())
        self.successResultOf(closing)
        self.assertOver(link, b"w1\n")


class ListenTests(SynchronousTestCase):
    def test_nobody_else_can_connect_at_any_moment(self) -> None:
        @implementer(IReactorUNIX)
        class Reactor:
            mask = 0

            def listenUNIX(self, address: str, factory: Any, backlog: int, mode: int) -> Any:
                self.mask = os.umask(0o177)
                self.mode = mode

        before = os.umask(0o022)
        self.addCleanup(os.umask, before)
        reactor = Reactor()
        listen(reactor, "/nowhere", Door(Clock(), None, (), 1))  # type: ignore[arg-type]
        self.assertEqual((reactor.mask, reactor.mode), (0o177, 0o600))
        self.assertEqual(os.umask(0o022), 0o022)


class RealSocketTests(TestCase):
    """The way of descriptors through Twisted and the kernel."""

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        directory = tempfile.TemporaryDirectory(prefix="annexd-")
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, "s")

    async def test_descriptors_come_along(self) -> None:
        async def answer(handoff: Handoff) -> None:
            handoff.print(handoff.fields[b"command"][-10:])

        port = listen(self.reactor, self.path, Door(self.reactor, answer, own_uids(), HANDSHAKE))
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        try:
            self.assertEqual(await deferToThread(self.client), (b"xxxxxxxend", b"w1\n"))
        finally:
            await port.stopListening()
        self.assertFalse(os.path.exists(self.path))

    def client(self) -> tuple[bytes, bytes]:
        """In a thread: hand over the same pipe three times."""
        reading, writing = os.pipe()
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(20)
                client.connect(self.path)
                data = framed(b"shell", b"command=" + b"x" * 100_000 + b"end")
                sent = socket.send_fds(client, [data], [writing] * 3)
                if sent < len(data):
                    client.sendall(data[sent:])
                return os.read(reading, 100), client.recv(10)
        finally:
            os.close(reading)
            os.close(writing)

    def test_where_it_cannot_be(self) -> None:
        door = Door(self.reactor, None, (), 1)  # type: ignore[arg-type]
        for path in (self.path + "/s", self.path + "x" * 200):
            self.assertRaises(ConfigError, listen, self.reactor, path, door)
