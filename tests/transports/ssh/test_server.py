"""Connections to the SSH server: with a client in memory, and with worse."""

from __future__ import annotations

import struct
from typing import Any

from twisted.conch.ssh.common import NS
from twisted.conch.ssh.transport import SSHClientTransport
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from annexd.transports.ssh.algorithms import HOST_KEY_FORMATS, KEY_FORMATS
from annexd.transports.ssh.peer import Limits, Peer
from tests.support.ssh_keys import ADDRESS, ecdsa_key, ed25519_key
from tests.support.ssh_link import HalfSink
from tests.support.ssh_pair import ClientAuth, Pair, lose

LIMITS = Limits(handshake=30, login=120, idle=1000, stall=100, stranger_bytes=20_000)


class Algorithms(SynchronousTestCase):
    """Exactly these, whatever else Conch comes to have."""

    def test_connections(self) -> None:
        modern = [b"curve25519-sha256", b"curve25519-sha256@libssh.org"]
        modern += [b"ecdh-sha2-nistp256", b"ecdh-sha2-nistp384", b"ecdh-sha2-nistp521"]
        exchanges = Peer.supportedKeyExchanges
        self.assertEqual(modern, [name for name in exchanges if name != b"mlkem768x25519-sha256"])
        self.assertEqual([b"aes128-ctr", b"aes256-ctr", b"aes192-ctr"], Peer.supportedCiphers)
        self.assertEqual([b"hmac-sha2-256", b"hmac-sha2-512"], Peer.supportedMACs)
        self.assertEqual([b"none"], Peer.supportedCompressions)

    def test_keys(self) -> None:
        curves = (b"ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp384", b"ecdsa-sha2-nistp521")
        self.assertEqual((b"ssh-ed25519", *curves), HOST_KEY_FORMATS)
        self.assertEqual([b"ssh-ed25519", *curves, b"rsa-sha2-512", b"rsa-sha2-256"], list(KEY_FORMATS))

    def test_what_is_said(self) -> None:
        """To a client that has just come."""
        pair = Pair()
        pair.server.use_keys([ecdsa_key(), ed25519_key()])
        said = pair.accept().tcp.take()
        self.assertTrue(said.startswith(b"SSH-2.0-annexd\r\n"))
        self.assertIn(NS(b"ecdsa-sha2-nistp256,ssh-ed25519"), said)
        self.assertEqual(2, said.count(NS(b"aes128-ctr,aes256-ctr,aes192-ctr")))
        self.assertEqual(2, said.count(NS(b"hmac-sha2-256,hmac-sha2-512")))
        self.assertEqual(2, said.count(NS(b"none")))


class OldClient(SSHClientTransport):
    """Offers one thing instead of all that it could."""

    def __init__(self, kind: str, names: list[bytes]) -> None:
        setattr(self, kind, names)

    def verifyHostKey(self, hostKey: bytes, fingerprint: bytes) -> Deferred[int]:
        raise AssertionError("there is nothing to agree on")

    def receiveError(self, reasonCode: int, description: bytes) -> None:
        pass


class Strangers(SynchronousTestCase):
    """Before a user is known."""

    def setUp(self) -> None:
        self.pair = Pair(LIMITS)

    def assert_gone(self, peer: Any, *words: str) -> None:
        self.assertTrue(peer.tcp.aborted or peer.tcp.closing)
        lose(peer)
        self.assertEqual([], self.pair.clock.getDelayedCalls())
        for word in words:
            self.assertIn(word, self.said())

    def said(self) -> str:
        return "\n".join(event["log_format"].format(**event) for event in self.events)

    def run(self, *arguments: Any) -> Any:
        with capturedLogs() as self.events:
            return super().run(*arguments)

    def test_old_algorithms(self) -> None:
        for kind, names in (
            ("supportedKeyExchanges", [b"diffie-hellman-group14-sha1"]),
            ("supportedKeyExchanges", [b"diffie-hellman-group-exchange-sha256"]),
            ("supportedCiphers", [b"aes128-cbc", b"3des-cbc", b"none"]),
            ("supportedMACs", [b"hmac-sha1", b"hmac-md5", b"none"]),
            ("supportedCompressions", [b"zlib"]),
            ("supportedPublicKeys", [b"ssh-rsa", b"ssh-dss"]),
        ):
            pair = Pair(LIMITS)
            pair.client, pair.peer = OldClient(kind, names), pair.accept()
            pair.client.tcp = pair.accept().tcp
            pair.client.tcp.producer = None
            pair.client.makeConnection(pair.client.tcp)
            pair.turn()
            self.assertTrue(pair.peer.tcp.closing or pair.peer.tcp.aborted, kind)
            self.assertFalse(pair.peer.isEncrypted("both"))

    def test_no_word(self) -> None:
        peer = self.pair.accept()
        self.pair.clock.advance(29)
        self.assertFalse(peer.tcp.aborted)
        self.pair.clock.advance(2)
        self.assert_gone(peer, f"sent {ADDRESS} away: it has not agreed on keys within 30 seconds")

    def test_a_byte_now_and_then(self) -> None:
        """The deadline is one for everything."""
        peer = self.pair.accept()
        for byte in b"SSH-2.0-slowly":
            peer.dataReceived(bytes((byte,)))
            self.pair.clock.advance(3)
        self.assert_gone(peer, "has not agreed on keys")

    def test_something_else_than_ssh(self) -> None:
        for said in (
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\r\nSSH-2.0-x\r\n",
            b"\x16\x03\x01\x02\x00",
            b"AUTH 1234 5678\n",
            b"S\n",
            b"SSH-2.0-" + bytes(300),
            b"SSH-1.5-old\r\n",
            b"SSH-\r\n",
        ):
            for pieces in ([said], [said[i : i + 1] for i in range(len(said))]):
                peer = self.pair.accept()
                peer.tcp.take()
                for piece in pieces:
                    if not peer.tcp.aborted:
                        peer.dataReceived(piece)
                self.assertTrue(peer.tcp.aborted or peer.tcp.closing, said)
                lose(peer)
        self.assertEqual([], self.flushLoggedErrors())

    def test_garbage_after_the_banner(self) -> None:
        for said in (bytes(100), b"\xff" * 100, struct.pack(">LB", 12, 255) + bytes(100), bytes(range(200))):
            peer = self.pair.accept()
            peer.dataReceived(b"SSH-2.0-x\r\n" + said)
            peer.dataReceived(bytes(16))
            self.pair.clock.advance(31)
            self.assert_gone(peer)
        self.assertEqual([], self.flushLoggedErrors())

    def test_packets_that_come_too_early(self) -> None:
        """Without keys there is no login, no command, and nothing goes on."""
        for kind, payload in (
            (5, NS(b"ssh-userauth")),
            (5, NS(b"ssh-connection")),
            (21, b""),
            (30, NS(bytes(32))),
            (34, struct.pack(">3L", 1024, 2048, 4096)),
            (50, NS(b"git") + NS(b"ssh-connection") + NS(b"none")),
            (90, NS(b"session") + struct.pack(">3L", 0, 1000, 1000)),
        ):
            peer = self.pair.accept()
            peer.dataReceived(b"SSH-2.0-x\r\n")
            packet = bytes((kind,)) + payload
            padding = 8 - (len(packet) + 5) % 8 + 8
            peer.dataReceived(
                struct.pack(">LB", len(packet) + padding + 1, padding) + packet + bytes(padding)
            )
            self.assertIsNone(peer.service)
            self.pair.clock.advance(31)
            self.assert_gone(peer)
        self.assertEqual([], self.flushLoggedErrors())
        self.assertEqual([], self.pair.doorman.asked)

    def test_bounded_bytes(self) -> None:
        peer = self.pair.accept()
        peer.dataReceived(b"SSH-2.0-x\r\n" + struct.pack(">L", 1 << 19))
        sent = 0
        while not peer.tcp.aborted:
            peer.dataReceived(bytes(1000))
            sent += 1000
        self.assertLessEqual(sent, LIMITS.stranger_bytes)
        self.assert_gone(peer, "has sent 20000 bytes without a login")

    def test_bounded_number(self) -> None:
        """The oldest goes first, and from one place a fourth of all may come."""
        peers = [self.pair.accept(f"192.0.2.{number}") for number in range(23)]
        self.assertEqual([True] * 3 + [False] * 20, [peer.tcp.aborted for peer in peers])
        self.assertIn("sent 192.0.2.0 away: others need its place", self.said())
        near = [self.pair.accept("198.51.100.1") for number in range(7)]
        self.assertEqual([True] * 2 + [False] * 5, [peer.tcp.aborted for peer in near])
        for peer in (*peers, *near):
            lose(peer)
        self.assertEqual(0, len(self.pair.anteroom))

    def test_known_users_do_not_count(self) -> None:
        self.pair.join_as("alice")
        for _ in range(50):
            self.pair.accept()
        self.assertFalse(self.pair.peer.tcp.aborted)

    def test_no_login(self) -> None:
        """There is more time for a passphrase than for a program, and it ends, too."""
        key = ed25519_key()
        self.pair.doorman.know(key, "alice")
        self.patch(ClientAuth, "getPrivateKey", lambda _: Deferred())
        peer = self.pair.join(key)
        self.assertTrue(peer.isEncrypted("both"))
        self.pair.clock.advance(119)
        self.assertFalse(peer.tcp.aborted)
        self.pair.clock.advance(2)
        self.assert_gone(peer, "it has not logged in within 120 seconds")

    def test_new_keys_are_no_sign_of_life(self) -> None:
        """The deadline for the login is one, whatever else is done."""
        self.patch(ClientAuth, "getPrivateKey", lambda _: Deferred())
        key = ed25519_key()
        self.pair.doorman.know(key, "alice")
        peer = self.pair.join(key)
        for _ in range(5):
            self.pair.clock.advance(25)
            if not peer.tcp.aborted:
                self.pair.client.sendKexInit()
                self.pair.turn()
        self.assert_gone(peer, "it has not logged in within 120 seconds")

    def test_unknown_key(self) -> None:
        peer = self.pair.join(ed25519_key(), user=b"bob")
        self.assertIsNone(peer.visitor)
        lose(peer)
        reason = "no key was offered that is known"
        self.assertEqual([("turned away", "bob", ADDRESS, reason)], self.pair.doorman.met)

    def test_no_key(self) -> None:
        """That is no attempt."""
        lose(self.pair.join())
        self.assertEqual([], self.pair.doorman.met)

    def test_one_service_once(self) -> None:
        peer = self.pair.join()
        self.pair.client.sendPacket(5, NS(b"ssh-userauth"))
        self.pair.turn()
        self.assertTrue(peer.tcp.closing)

    def test_connection_service_without_a_login(self) -> None:
        peer = self.pair.join()
        self.pair.client.sendPacket(90, NS(b"session") + struct.pack(">3L", 0, 1000, 1000))
        self.pair.turn()
        self.assertEqual({}, getattr(peer.service, "channels", {}))
        self.assertEqual([], self.pair.performed)

    def test_ipv4_in_ipv6(self) -> None:
        self.assertEqual("192.0.2.7", self.pair.accept("::ffff:192.0.2.7").address)


class Users(SynchronousTestCase):
    """After a login."""

    def setUp(self) -> None:
        self.pair = Pair(LIMITS)
        self.peer = self.pair.join_as("alice")

    def test_login(self) -> None:
        self.assertTrue(self.pair.client.connection.started)
        self.assertEqual([("entered", "alice", ADDRESS)], self.pair.doorman.met)
        self.assertEqual((0, [self.peer]), (len(self.pair.anteroom), list(self.pair.server.peers)))
        self.assertTrue(self.peer.tcp.no_delay)

    def test_second_key_of_three(self) -> None:
        key = ed25519_key()
        self.pair.doorman.know(key, "bob")
        peer = self.pair.join(ed25519_key(), key, ed25519_key())
        self.assertEqual("bob", peer.visitor.principal)

    def test_command(self) -> None:
        channel = self.pair.run(b"annex this")
        [(served, user, line)] = self.pair.performed
        self.assertEqual(("alice", b"annex this"), (user, line))
        served.write(b"out")
        served.write_error(b"err")
        served.finish(7)
        self.pair.turn()
        self.assertEqual((b"out", b"err", 7), (bytes(channel.out), bytes(channel.err), channel.code))
        self.assertTrue(channel.ended)
        self.assertEqual({}, self.peer.service.channels)

    def test_data_both_ways(self) -> None:
        channel = self.pair.run(b"annex this", localWindow=100_000)
        served = self.pair.performed[0][0]
        sink = HalfSink()
        served.connect(sink)
        data = bytes(range(256)) * 4000
        for start in range(0, len(data), 100_000):
            served.write(data[start : start + 100_000])
            channel.write(data[start : start + 100_000])
        self.pair.turn(200)
        self.assertEqual((data, data), (bytes(channel.out), bytes(sink.heard)))

    def test_new_keys_in_the_middle(self) -> None:
        """What is written meanwhile waits in the channel, and nothing is lost."""
        channel = self.pair.run(b"annex this", localWindow=1 << 30)
        served = self.pair.performed[0][0]
        sink = HalfSink()
        served.connect(sink)
        before = self.peer.currentEncryptions
        for _ in range(2):
            self.pair.client.sendKexInit()
            self.pair.carry(self.pair.client, self.peer)
            for _ in range(30):
                served.write(bytes(10_000))
            self.assertEqual(300_000, served.unsent)
            channel.write(b"from the client")
            self.pair.turn()
        self.assertIsNot(before, self.peer.currentEncryptions)
        self.assertEqual((600_000, 0), (len(channel.out), served.unsent))
        self.assertEqual(b"from the client" * 2, bytes(sink.heard))
        self.pair.clock.advance(31)
        self.assertFalse(self.peer.tcp.aborted)

    def test_new_keys_that_do_not_come(self) -> None:
        self.pair.run(b"annex this")
        self.pair.client.sendKexInit()
        self.pair.carry(self.pair.client, self.peer)
        self.pair.clock.advance(31)
        self.assertTrue(self.peer.tcp.aborted)
        lose(self.peer)
        self.assertEqual([], self.pair.clock.getDelayedCalls())

    def test_who_goes_on_while_keys_are_agreed_on(self) -> None:
        """All answers would have to wait."""
        self.pair.client.sendKexInit()
        self.pair.client._keyExchangeState = self.pair.client._KEY_EXCHANGE_NONE
        for _ in range(101):
            self.pair.client.connection.sendGlobalRequest(b"x", b"")
        self.pair.carry(self.pair.client, self.peer)
        self.assertTrue(self.peer.tcp.aborted)

    def test_who_asks_and_does_not_listen(self) -> None:
        """Answers do not pile up for ever."""
        self.peer.tcp.producer.pauseProducing()
        asked = 0
        while not self.peer.tcp.reading_paused:
            for _ in range(1000):
                self.pair.client.sendPacket(90, NS(b"x11") + struct.pack(">3L", 0, 1000, 1000))
            self.pair.carry(self.pair.client, self.peer)
            asked += 1000
        self.assertLess(len(self.peer.tcp.written), 5_000_000)
        self.peer.tcp.written.clear()
        self.peer.tcp.producer.resumeProducing()
        self.assertFalse(self.peer.tcp.reading_paused)

    def test_full_connection(self) -> None:
        """TCP takes no more: the channels keep what they have."""
        channel = self.pair.run(b"annex this", localWindow=1 << 30)
        served = self.pair.performed[0][0]
        self.peer.tcp.producer.pauseProducing()
        served.write(bytes(10_000))
        self.pair.turn()
        self.assertEqual((0, 10_000), (len(channel.out), served.unsent))
        self.peer.tcp.producer.resumeProducing()
        self.pair.turn()
        self.assertEqual((10_000, 0), (len(channel.out), served.unsent))

    def test_goodbye(self) -> None:
        """Also when TCP takes nothing."""
        self.pair.run(b"annex this")
        sink = HalfSink()
        self.pair.performed[0][0].connect(sink)
        self.peer.tcp.producer.pauseProducing()
        self.pair.client.sendPacket(1, struct.pack(">L", 11) + NS(b"bye") + NS(b""))
        self.pair.turn()
        self.assertTrue(self.peer.tcp.closing)
        self.pair.clock.advance(11)
        self.assertTrue(self.peer.tcp.aborted)
        lose(self.peer)
        self.assertEqual(("ConnectionLost", {}), (sink.lost, self.pair.server.peers))
        self.assertEqual([], self.pair.clock.getDelayedCalls())

    def test_nothing_is_done_after_the_end(self) -> None:
        """Conch reads on in what it has."""
        self.peer.say_goodbye("that is all")
        self.pair.run(b"annex this")
        self.pair.clock.advance(0)
        self.assertEqual([], self.pair.performed)

    def test_packets_that_cannot_be_read(self) -> None:
        for kind, payload in ((94, struct.pack(">2L", 99, 0)), (98, b""), (90, b"\0"), (20, b"\0")):
            self.setUp()
            self.pair.client.sendPacket(kind, payload)
            self.pair.turn()
            self.assertTrue(self.peer.tcp.aborted)
            self.assertEqual(1, len(self.flushLoggedErrors()))
            lose(self.peer)
            self.assertEqual([], self.pair.clock.getDelayedCalls())

    def test_damaged_bytes(self) -> None:
        self.pair.client.connection.sendGlobalRequest(b"x", b"")
        data = bytearray(self.pair.client.tcp.take())
        data[-1] ^= 1
        self.peer.dataReceived(bytes(data))
        self.assertTrue(self.peer.tcp.closing)

    def test_idle(self) -> None:
        self.keep_alive(9)
        self.assertFalse(self.peer.tcp.closing)
        self.keep_alive(2)
        self.assertTrue(self.peer.tcp.closing)
        self.assertEqual([b"the connection has not been used for too long"], self.pair.client.errors)

    def test_idle_with_a_command(self) -> None:
        self.pair.run(b"annex this")
        self.keep_alive(30)
        self.assertFalse(self.peer.tcp.closing)
        self.pair.performed[0][0].finish(0)
        self.pair.turn()
        self.keep_alive(9)
        self.assertFalse(self.peer.tcp.closing)
        self.keep_alive(2)
        self.assertTrue(self.peer.tcp.closing)

    def keep_alive(self, rounds: int) -> None:
        """The client answers what it is asked."""
        for _ in range(rounds):
            self.pair.clock.advance(100)
            self.pair.turn()

    def test_silence(self) -> None:
        """Of a client that does not even answer."""
        self.pair.run(b"annex this")
        self.pair.clock.pump([50] * 3)
        self.assertFalse(self.peer.tcp.aborted)
        self.pair.clock.pump([50])
        self.assertTrue(self.peer.tcp.aborted)
        lose(self.peer)
        self.assertEqual([], self.pair.clock.getDelayedCalls())

    def test_a_peer_that_takes_nothing_is_asked(self) -> None:
        """Soon, for it may have slept; while it takes something it is not."""
        channel = self.pair.run(b"annex this", localWindow=1000)
        client = self.pair.client.connection
        asked = self.questions()
        grant = client.adjustWindow
        self.patch(client, "adjustWindow", lambda *_: None)  # Conch's is too good a reader
        self.pair.performed[0][0].write(bytes(5000))
        for _ in range(5):
            self.pair.clock.advance(2)
            grant(channel, 10)
            self.pair.turn()
        self.assertEqual([], asked)
        for _ in range(8):
            self.pair.clock.advance(2)
            self.pair.turn()
        self.assertEqual([b"keepalive@openssh.com"] * 2, asked)
        grant(channel, 10_000)
        self.pair.turn()
        self.pair.clock.pump([2] * 10)
        self.assertEqual(2, len(asked))
        lose(self.peer)
        self.assertEqual([], self.pair.clock.getDelayedCalls())

    def test_a_peer_that_spoke_and_is_silent_is_asked(self) -> None:
        """Once: OpenSSH's client may sleep before it says that the one who spoke has gone."""
        channel = self.pair.run(b"annex this")
        asked = self.questions()
        self.pass_time(20)
        self.assertEqual([], asked, "nothing was said in this channel")
        for _ in range(5):
            channel.write(b"something")
            self.pass_time(4)
        self.assertEqual([], asked)
        self.pass_time(30)
        self.assertEqual([b"keepalive@openssh.com"], asked)
        channel.write(b"more")
        self.pass_time(30)
        self.assertEqual(2, len(asked))

    def test_a_peer_without_a_command_is_not_asked(self) -> None:
        channel = self.pair.run(b"annex this")
        asked = self.questions()
        channel.write(b"something")
        self.pair.performed[0][0].finish(0)
        self.pass_time(30)
        self.assertEqual([], asked)

    def questions(self) -> list[bytes]:
        """What the client is asked from now on."""
        asked: list[bytes] = []
        client = self.pair.client.connection
        self.patch(client, "gotGlobalRequest", lambda kind, data: asked.append(kind) or 0)
        return asked

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.pair.turn()
            self.pair.clock.advance(1)
        self.pair.turn()

    def test_stopping(self) -> None:
        """Those who do nothing go at once, the others when they have done."""
        channel = self.pair.run(b"annex this")
        busy, served = self.peer, self.pair.performed[0][0]
        stranger = self.pair.accept()
        idle_pair = Pair(LIMITS)
        idle = idle_pair.join_as("bob")
        self.pair.server.peers[idle] = None
        self.pair.server.leave()
        self.assertEqual((True, True), (stranger.tcp.aborted, idle.tcp.closing))
        self.assertFalse(busy.tcp.closing)
        self.assertTrue(self.pair.run(b"another").refused)
        served.write(b"the end of it")
        served.finish(0)
        self.pair.turn()
        self.assertEqual((b"the end of it", 0), (bytes(channel.out), channel.code))
        self.assertTrue(busy.tcp.closing)

    def test_closing(self) -> None:
        self.pair.run(b"annex this")
        self.pair.server.close()
        self.assertTrue(self.peer.tcp.closing)

    def test_too_many_users(self) -> None:
        self.pair.server.limits = Limits(peers=1)
        peer = self.pair.join_as("bob")
        self.assertTrue(peer.tcp.closing)
        lose(peer)
        self.assertEqual(1, len(self.pair.server.peers))

    def test_other_host_keys(self) -> None:
        """For those who come from now on."""
        key = ecdsa_key()
        self.pair.server.use_keys([key])
        peer = self.pair.join_as("bob")
        self.assertEqual(b"ecdsa-sha2-nistp256", peer.keyAlg)
