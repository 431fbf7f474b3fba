"""A channel as a transport: nothing is lost, nothing comes twice, and nobody is drowned."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.conch.ssh.common import NS
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from annexd.sessions.deadlines import Deadlines
from annexd.sessions.wire import Wire
from annexd.transports.ssh.channel import PACKET, WINDOW, Channel
from annexd.transports.ssh.connection import NARROW_WINDOW
from annexd.transports.ssh.outbox import HIGH_WATER, LOW_WATER
from tests.support.ssh_link import ADJUST, CLOSE, EOF, EXTENDED, REQUEST, HalfSink, Link, Sink

CHUNK = 256 * 1024


class Producer:
    """Writes chunks as long as it is let."""

    def __init__(self, channel: Channel, chunk: bytes) -> None:
        self.channel, self.chunk = channel, chunk
        self.paused = False
        self.stopped = False
        self.pauses = 0
        channel.registerProducer(self, True)

    def write_until_paused(self, most: int = 1000) -> int:
        written = 0
        while not self.paused and written < most:
            self.channel.write(self.chunk)
            written += 1
        return written

    def pauseProducing(self) -> None:
        self.paused = True
        self.pauses += 1

    def resumeProducing(self) -> None:
        self.paused = False

    def stopProducing(self) -> None:
        self.stopped = True


class Reading(SynchronousTestCase):
    def setUp(self) -> None:
        self.link = Link()
        self.channel = self.link.channel()

    def test_a_sleeping_reader_costs_one_window(self) -> None:
        """The peer hears of no more room until somebody has taken what came."""
        sink = HalfSink(asleep=True)
        self.channel.connect(sink)
        sent = bytearray()
        while self.channel.localWindowLeft:
            piece = bytes((len(sent) // PACKET % 256,)) * min(PACKET, self.channel.localWindowLeft)
            self.link.data(self.channel, piece)
            sent += piece
        self.assertEqual((WINDOW, 0), (len(sent), self.link.granted()))
        self.assertEqual(WINDOW, len(sink.heard) + self.channel.waiting)
        while self.channel.waiting:
            sink.transport.resumeProducing()
            self.link.clock.advance(0)
        self.assertEqual(sent, sink.heard)
        self.assertLessEqual(self.link.granted(), WINDOW)
        sink.asleep = False
        sink.transport.resumeProducing()
        self.assertEqual(WINDOW, self.link.granted())

    def test_a_waking_reader_is_granted_in_parts(self) -> None:
        self.channel.connect(HalfSink())
        for _ in range(200):
            self.link.data(self.channel, bytes(PACKET))
            self.assertGreaterEqual(self.channel.localWindowLeft, WINDOW * 3 // 4)
        self.assertLess(self.link.kinds().count(ADJUST), 60)

    def test_before_anybody_reads(self) -> None:
        self.link.data(self.channel, b"early")
        sink = HalfSink()
        self.channel.connect(sink)
        self.assertEqual(b"", bytes(sink.heard))
        self.link.clock.advance(0)
        self.assertEqual(b"early", bytes(sink.heard))

    def test_resume_does_not_call_back(self) -> None:
        """A wire that waits does not expect what it waits for while it says so."""
        sink = HalfSink(asleep=True)
        self.channel.connect(sink)
        self.link.data(self.channel, b"1")
        self.link.data(self.channel, b"2")
        sink.transport.resumeProducing()
        self.assertEqual(b"1", bytes(sink.heard))
        self.link.clock.advance(0)
        self.assertEqual(b"12", bytes(sink.heard))

    def test_the_end_comes_last(self) -> None:
        sink = HalfSink(asleep=True)
        self.channel.connect(sink)
        for data in (b"1", b"2"):
            self.link.data(self.channel, data)
        self.link.tell(self.channel, EOF)
        self.assertFalse(sink.input_over)
        sink.transport.resumeProducing()
        self.link.clock.advance(0)
        self.assertEqual((b"12", False), (bytes(sink.heard), sink.input_over))
        sink.transport.resumeProducing()
        self.link.clock.advance(0)
        self.assertEqual((True, None), (sink.input_over, sink.lost))

    def test_no_half_closing(self) -> None:
        sink = Sink()
        self.channel.connect(sink)  # type: ignore[arg-type]
        self.link.tell(self.channel, EOF)
        self.assertEqual("ConnectionDone", sink.lost)

    def test_data_and_close_at_once(self) -> None:
        sink = HalfSink()
        self.channel.connect(sink)
        number = struct.pack(">L", self.channel.id)
        self.link.connection.packetReceived(94, number + NS(b"SUCCESS\n"))  # type: ignore[no-untyped-call]
        self.link.connection.packetReceived(CLOSE, number)  # type: ignore[no-untyped-call]
        self.assertEqual((b"SUCCESS\n", "ConnectionLost"), (bytes(sink.heard), sink.lost))

    def test_more_than_the_window(self) -> None:
        self.channel.connect(HalfSink(asleep=True))
        for _ in range(WINDOW // PACKET):
            self.link.data(self.channel, bytes(PACKET))
        self.assertEqual([], self.link.disconnected)
        self.link.data(self.channel, b"x")
        self.assertEqual(1, len(self.link.disconnected))
        self.assertEqual(WINDOW, self.channel.waiting + PACKET)

    def test_more_than_a_packet(self) -> None:
        self.link.data(self.channel, bytes(PACKET + 1))
        self.assertEqual((1, 0), (len(self.link.disconnected), self.channel.waiting))

    def test_length_that_is_not_true(self) -> None:
        self.link.tell(self.channel, 94, struct.pack(">L", 10) + b"123456789")
        self.assertEqual((1, 0), (len(self.link.disconnected), self.channel.waiting))

    def test_extended_data_wins_no_window(self) -> None:
        """Conch would grant a whole new one for it."""
        self.channel.connect(HalfSink(asleep=True))
        for _ in range(WINDOW // PACKET):
            self.link.data(self.channel, bytes(PACKET))
        self.link.tell(self.channel, EXTENDED, struct.pack(">L", 1) + NS(b""))
        self.assertEqual((0, 0), (self.link.granted(), self.channel.localWindowLeft))

    def test_extended_data_is_dropped(self) -> None:
        sink = HalfSink()
        self.channel.connect(sink)
        for _ in range(100):
            self.link.tell(self.channel, EXTENDED, struct.pack(">L", 1) + NS(bytes(PACKET)))
        self.assertEqual((b"", []), (bytes(sink.heard), self.link.disconnected))

    @given(st.lists(st.sampled_from(("data", "small", "sleep", "wake", "resume", "tick")), max_size=80))
    def test_any_order(self, acts: list[str]) -> None:
        link = Link()
        channel = link.channel()
        sink = HalfSink()
        channel.connect(sink)
        sent = bytearray()
        for act in acts:
            if act in ("data", "small"):
                count = min(PACKET if act == "data" else 3, channel.localWindowLeft)
                piece = bytes((len(sent) % 251,)) * count
                link.data(channel, piece)
                sent += piece
            elif act == "resume":
                sink.transport.resumeProducing()
            elif act == "tick":
                link.clock.advance(0)
            else:
                sink.asleep = act == "sleep"
            self.assertEqual(len(sent), len(sink.heard) + channel.waiting)
            self.assertLessEqual(channel.waiting + channel.localWindowLeft, WINDOW)
            self.assertEqual(WINDOW + link.granted(), channel.localWindowLeft + len(sent))
        sink.asleep = False
        sink.transport.resumeProducing()
        link.clock.advance(0)
        self.assertEqual((sent, []), (sink.heard, link.disconnected))


class Writing(SynchronousTestCase):
    def setUp(self) -> None:
        self.link = Link()
        self.channel = self.link.channel(window=100_000, packet=30_000)
        self.sink = HalfSink()
        self.channel.connect(self.sink)

    def test_a_sleeping_peer_costs_a_chunk(self) -> None:
        """What a writer does who listens when it is told to wait."""
        producer = Producer(self.channel, bytes(CHUNK))
        written = producer.write_until_paused()
        self.assertEqual(100_000, len(self.link.written(self.channel)))
        self.assertEqual(written * CHUNK - 100_000, self.channel.unsent)
        self.assertLessEqual(self.channel.unsent, HIGH_WATER + CHUNK)

    def test_a_slow_peer(self) -> None:
        """Everything comes, in order, in packets that fit; the writer is waked before all is gone."""
        producer = Producer(self.channel, bytes(range(256)) * 1024)
        written = 0
        for _ in range(300):
            written += producer.write_until_paused(3)
            self.assertLessEqual(self.channel.unsent, HIGH_WATER + 3 * CHUNK)
            before = self.channel.unsent
            self.link.adjust(self.channel, 20_000)
            if before > LOW_WATER >= self.channel.unsent:
                self.assertFalse(producer.paused)
        got = self.link.written(self.channel)
        self.assertEqual(100_000 + 300 * 20_000, len(got))
        self.assertEqual((producer.chunk * written)[: len(got)], got)
        self.assertLessEqual(max(len(data) for _, data in self.link.packets(self.channel)), 30_000)
        self.assertGreater(producer.pauses, 1)

    def test_while_it_is_held(self) -> None:
        producer = Producer(self.channel, bytes(CHUNK))
        self.link.connection.hold()
        producer.write_until_paused()
        self.assertEqual((b"", CHUNK), (self.link.written(self.channel), self.channel.unsent))
        self.link.connection.release()
        self.assertEqual(100_000, len(self.link.written(self.channel)))

    def test_held_in_the_middle(self) -> None:
        """The connection may become full with any packet."""
        send = self.link.sendPacket

        def full_after_one(kind: int, payload: bytes) -> None:
            send(kind, payload)
            self.link.connection.hold()

        self.link.sendPacket = full_after_one  # type: ignore[method-assign]
        self.channel.write(bytes(90_000))
        self.assertEqual(60_000, self.channel.unsent)
        self.link.connection.release()
        self.assertEqual(30_000, self.channel.unsent)

    def test_channels_take_turns(self) -> None:
        """Not always the same one writes when there is room for one packet."""
        channels = [self.link.channel() for _ in range(3)]
        self.link.connection.hold()
        for channel in channels:
            channel.write(bytes(100_000))
        send = self.link.sendPacket

        def full_after_one(kind: int, payload: bytes) -> None:
            send(kind, payload)
            self.link.connection.hold()

        self.link.sendPacket = full_after_one  # type: ignore[method-assign]
        for _ in range(3):
            self.link.connection.release()
        self.assertEqual([67_232] * 3, [channel.unsent for channel in channels])

    def test_standard_error_in_its_place(self) -> None:
        self.link.connection.hold()
        self.channel.write(b"one")
        self.channel.write_error(b"two")
        self.channel.write(b"three")
        self.channel.write(b"four")
        self.link.connection.release()
        self.assertEqual([(0, b"one"), (1, b"two"), (0, b"threefour")], list(self.link.packets(self.channel)))

    def test_producers(self) -> None:
        """One at a time, and only those that push."""
        Producer(self.channel, b"")
        self.assertRaises(RuntimeError, Producer, self.channel, b"")
        self.channel.unregisterProducer()
        self.assertRaises(RuntimeError, self.channel.registerProducer, object(), False)
        Producer(self.channel, b"")

    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("out"), st.integers(1, 70_000)),
                st.tuples(st.just("err"), st.integers(1, 40)),
                st.tuples(st.just("adjust"), st.integers(0, 60_000)),
                st.tuples(st.sampled_from(("hold", "release")), st.just(0)),
            ),
            max_size=50,
        )
    )
    def test_any_order(self, acts: list[tuple[str, int]]) -> None:
        link = Link()
        channel = link.channel(window=1000, packet=1024)
        window, written = 1000, {0: bytearray(), 1: bytearray()}
        for number, (act, count) in enumerate(acts):
            match act:
                case "out" | "err":
                    data = bytes((number,)) * count
                    written[int(act == "err")] += data
                    (channel.write if act == "out" else channel.write_error)(data)
                case "adjust":
                    window += count
                    link.adjust(channel, count)
                case "hold":
                    link.connection.hold()
                case _:
                    link.connection.release()
            sent = sum(len(data) for _, data in link.packets(channel))
            self.assertLessEqual(sent, window)
            self.assertEqual(len(written[0]) + len(written[1]), sent + channel.unsent)
        link.connection.release()
        link.adjust(channel, 1 << 30)
        self.assertEqual(
            (bytes(written[0]), bytes(written[1])), (link.written(channel), link.written(channel, 1))
        )


class Ending(SynchronousTestCase):
    def setUp(self) -> None:
        self.link = Link(stall=10.0)
        self.channel = self.link.channel(window=10)
        self.sink = HalfSink()
        self.channel.connect(self.sink)
        self.link.request(self.channel, b"exec", NS(b"annex this"))
        self.link.clock.advance(0)
        self.link.sent.clear()
        self.closed: list[int] = []
        self.channel.when_closed = lambda: self.closed.append(1)

    def told(self) -> list[tuple[int, bytes]]:
        return [(kind, payload[4:]) for kind, payload in self.link.sent]

    def test_finish_after_all_is_sent(self) -> None:
        producer = Producer(self.channel, bytes(30))
        producer.write_until_paused(1)
        self.channel.finish(3)
        self.assertEqual([94], self.link.kinds())
        self.link.sent.clear()
        self.link.adjust(self.channel, 20)
        exit_status = NS(b"exit-status") + b"\0" + struct.pack(">L", 3)
        self.assertEqual([(94, NS(bytes(20))), (EOF, b""), (REQUEST, exit_status), (CLOSE, b"")], self.told())
        self.assertEqual(("ConnectionDone", True, []), (self.sink.lost, producer.stopped, self.closed))
        self.link.tell(self.channel, CLOSE)
        self.assertEqual([1], self.closed)
        self.assertEqual([], self.link.clock.getDelayedCalls())

    def test_finish_by_signal(self) -> None:
        self.channel.finish_by_signal("TERM")
        exit_signal = NS(b"exit-signal") + b"\0" + NS(b"TERM") + b"\0" + NS(b"") + NS(b"")
        self.assertEqual([(EOF, b""), (REQUEST, exit_signal), (CLOSE, b"")], self.told())

    def test_first_finish_counts(self) -> None:
        self.channel.finish(0)
        self.link.sent.clear()
        self.channel.finish(1)
        self.channel.write(b"more")
        self.channel.write_error(b"more")
        self.assertEqual([], self.link.sent)

    def test_peer_that_takes_nothing(self) -> None:
        """Not for ever: the rest is dropped."""
        self.channel.write(bytes(30))
        self.channel.finish(0)
        self.link.clock.advance(9)
        self.link.adjust(self.channel, 1)
        self.link.clock.advance(9)
        self.assertIsNone(self.sink.lost)
        self.link.clock.advance(2)
        self.assertEqual([EOF, REQUEST, CLOSE], self.link.kinds()[-3:])
        self.assertEqual((0, "ConnectionDone"), (self.channel.unsent, self.sink.lost))

    def test_hang_up(self) -> None:
        """The protocol is let go of when its words are gone; the exit code comes later."""
        self.channel.write(bytes(30))
        self.channel.loseConnection()
        self.channel.write(b"ignored")
        self.assertIsNone(self.sink.lost)
        self.link.adjust(self.channel, 100)
        self.assertEqual(("ConnectionDone", 30), (self.sink.lost, len(self.link.written(self.channel))))
        self.assertNotIn(EOF, self.link.kinds())
        self.channel.write_error(b"by the way")
        self.channel.finish(0)
        self.assertEqual(b"by the way", self.link.written(self.channel, 1))
        self.assertEqual(CLOSE, self.link.kinds()[-1])

    def test_abort(self) -> None:
        producer = Producer(self.channel, bytes(30))
        producer.write_until_paused(1)
        self.channel.abortConnection()
        self.assertEqual(("ConnectionAborted", 0), (self.sink.lost, self.channel.unsent))
        self.assertTrue(producer.stopped)
        self.link.data(self.channel, b"late")
        self.channel.finish(1)
        self.assertEqual([EOF, REQUEST, CLOSE], self.link.kinds()[-3:])

    def test_peer_closes(self) -> None:
        producer = Producer(self.channel, bytes(30))
        producer.write_until_paused(1)
        self.link.tell(self.channel, CLOSE)
        self.assertEqual(("ConnectionLost", [1]), (self.sink.lost, self.closed))
        self.assertEqual([CLOSE], self.link.kinds()[-1:])
        self.channel.write(b"late")
        self.channel.write_error(b"late")
        self.channel.finish(0)
        self.channel.resumeProducing()
        self.assertEqual([94, CLOSE], self.link.kinds())
        self.assertEqual([], self.link.clock.getDelayedCalls())

    def test_connection_ends(self) -> None:
        self.channel.write(bytes(30))
        self.channel.finish(0)
        self.link.connection.serviceStopped()  # type: ignore[no-untyped-call]
        self.assertEqual(("ConnectionLost", [1]), (self.sink.lost, self.closed))
        self.assertEqual([], self.link.clock.getDelayedCalls())

    def test_connected_too_late(self) -> None:
        other = self.link.channel()
        self.link.tell(other, CLOSE)
        sink = HalfSink()
        other.connect(sink)
        self.assertEqual("ConnectionLost", sink.lost)

    def test_producer_of_the_dead(self) -> None:
        self.link.tell(self.channel, CLOSE)
        self.assertTrue(Producer(self.channel, b"").stopped)


class Requests(SynchronousTestCase):
    def setUp(self) -> None:
        self.link = Link(most=12)

    def test_exec(self) -> None:
        """The answer comes before the command begins."""
        channel = self.link.channel()
        self.assertTrue(self.link.request(channel, b"exec", NS(b"git-annex-shell x")))
        self.assertEqual([], self.link.performed)
        self.link.clock.advance(0)
        self.assertEqual([(channel, b"git-annex-shell x")], self.link.performed)

    def test_shell(self) -> None:
        channel = self.link.channel()
        self.assertTrue(self.link.request(channel, b"shell"))
        self.link.clock.advance(0)
        self.assertEqual([(channel, b"")], self.link.performed)

    def test_one_command_for_each_channel(self) -> None:
        channel = self.link.channel()
        self.assertTrue(self.link.request(channel, b"exec", NS(b"true")))
        for again in (b"exec", b"shell"):
            self.assertFalse(self.link.request(channel, again, NS(b"true")))
        self.link.clock.advance(0)
        self.assertEqual(1, len(self.link.performed))

    def test_refused(self) -> None:
        channel = self.link.channel()
        for name in (
            *(b"pty-req", b"x11-req", b"auth-agent-req@openssh.com", b"subsystem", b"signal"),
            *(b"window-change", b"xon-xoff", b"break", b"", b"\xff", b"request_exec", b"exec\0"),
        ):
            self.assertFalse(self.link.request(channel, name, NS(b"sftp")), name)
            self.link.request(channel, name, NS(b"sftp"), reply=False)
            self.assertEqual([], self.link.sent)
        self.assertFalse(self.link.request(channel, b"exec", b"\0\0"))
        self.link.clock.advance(0)
        self.assertEqual([], self.link.performed)

    def test_environment(self) -> None:
        """What git asks for, and nothing else."""
        channel = self.link.channel()
        self.assertTrue(self.link.request(channel, b"env", NS(b"GIT_PROTOCOL") + NS(b"version=2")))
        for name, value in (
            (b"GIT_PROTOCOL", bytes(300)),
            (b"GIT_PROTOCOL", b"a\0b"),
            (b"GIT_ANNEX_SHELL_READONLY", b""),
            (b"LD_PRELOAD", b"x"),
            (b"PATH", b"/tmp"),
        ):
            self.assertFalse(self.link.request(channel, b"env", NS(name) + NS(value)))
        self.assertEqual(b"version=2", channel.git_protocol)

    def test_closed_before_it_begins(self) -> None:
        channel = self.link.channel()
        self.link.request(channel, b"exec", NS(b"true"))
        self.link.tell(channel, CLOSE)
        self.link.clock.advance(0)
        self.assertEqual([], self.link.performed)

    def test_no_command(self) -> None:
        """A channel is not for keeping."""
        channel, other = self.link.channel(), self.link.channel()
        self.link.request(other, b"exec", NS(b"true"))
        self.link.clock.advance(301)
        self.assertEqual([CLOSE], self.link.kinds()[-1:])
        self.assertEqual([1, 0], [int(one.localClosed) for one in (channel, other)])
        self.link.tell(channel, CLOSE)
        self.link.tell(other, CLOSE)
        self.assertEqual([], self.link.clock.getDelayedCalls())

    def test_nothing_is_forwarded(self) -> None:
        for kind in (b"direct-tcpip", b"x11", b"auth-agent@openssh.com", b"direct-streamlocal@openssh.com"):
            self.assertIsNone(self.link.open(kind=kind))
        for name in (b"tcpip-forward", b"streamlocal-forward@openssh.com", b"keepalive@openssh.com"):
            self.link.say(80, NS(name) + b"\1" + NS(b"127.0.0.1") + bytes(4))
            self.assertEqual((82, b""), self.link.sent.pop())
        self.assertEqual({}, self.link.connection.channels)

    def test_bounded_number(self) -> None:
        """Of channels; when one has been closed there is room for another."""
        channels = [self.link.channel() for _ in range(12)]
        self.assertIsNone(self.link.open())
        self.link.tell(channels[0], CLOSE)
        self.assertIsNotNone(self.link.open())

    def test_bounded_windows(self) -> None:
        """A connection with many channels may not send as much ahead in each."""
        windows = [self.link.channel().localWindowLeft for _ in range(12)]
        self.assertEqual([WINDOW] * 8 + [NARROW_WINDOW] * 4, windows)

    def test_tiny_packets(self) -> None:
        for packet in (0, 1, 1023):
            self.assertIsNone(self.link.open(packet=packet))

    def test_last_one_closes(self) -> None:
        told: list[int] = []
        self.link.connection.when_empty = lambda: told.append(1)
        first, second = self.link.channel(), self.link.channel()
        self.link.tell(first, CLOSE)
        self.assertEqual([], told)
        self.link.tell(second, CLOSE)
        self.assertEqual([1], told)

    def test_addresses(self) -> None:
        link: Any = self.link
        link.getPeer = link.getHost = lambda: "somewhere"
        channel = self.link.channel()
        self.assertEqual(("somewhere", "somewhere"), (channel.getPeer(), channel.getHost()))  # type: ignore[no-untyped-call]


class WithAWire(SynchronousTestCase):
    """Together with what is to use it."""

    def setUp(self) -> None:
        self.link = Link()
        self.channel = self.link.channel(window=100_000)
        self.wire = Wire(self.link.clock, Deadlines())
        self.channel.connect(self.wire)

    def test_reader_that_sleeps(self) -> None:
        """The wire keeps little, the channel a window, and no wake-up is lost between them."""
        data = bytes(range(256)) * (4 * WINDOW // 256)
        position = 0

        def send_all_that_fits() -> None:
            nonlocal position
            while piece := data[position : position + min(PACKET, self.channel.localWindowLeft)]:
                self.link.data(self.channel, piece)
                position += len(piece)

        send_all_that_fits()
        self.assertEqual(WINDOW, position)
        got = bytearray()

        async def read() -> None:
            while len(got) < len(data):
                got.extend(await self.wire.read(100_000))

        reading = Deferred.fromCoroutine(read())
        while len(got) < len(data):
            before = len(got), position
            self.link.clock.advance(0)
            send_all_that_fits()
            self.assertNotEqual(before, (len(got), position), "nothing moves any more")
        self.successResultOf(reading)
        self.assertEqual(data, bytes(got))

    def test_writer_waits(self) -> None:
        written: list[int] = []

        async def write() -> None:
            for _ in range(10):
                await self.wire.write(bytes(CHUNK))
                written.append(1)

        writing = Deferred.fromCoroutine(write())
        self.assertEqual([], written)
        for _ in range(100):
            self.assertLessEqual(self.channel.unsent, HIGH_WATER + CHUNK)
            self.link.adjust(self.channel, 50_000)
        self.successResultOf(writing)
        self.assertEqual(10 * CHUNK, len(self.link.written(self.channel)))
        self.wire.hang_up()
        self.channel.finish(0)
        self.link.tell(self.channel, CLOSE)
        self.assertEqual([], self.link.clock.getDelayedCalls())
