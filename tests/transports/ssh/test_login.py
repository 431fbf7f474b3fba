"""Who is let in, and how those are refused who are not."""

from __future__ import annotations

import struct
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.keys import Key
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from annexd.transports.ssh.login import MOST_ATTEMPTS, Login
from tests.support.ssh_keys import ADDRESS, Doorman, User, ecdsa_key, ed25519_key, rsa_key

REQUEST, FAILURE, SUCCESS, PK_OK = 50, 51, 52, 60
REFUSED = (FAILURE, NS(b"publickey") + b"\0")
SESSION = b"the hash of the first exchange"


class LoginTests(SynchronousTestCase):
    sessionID = SESSION

    def setUp(self) -> None:
        self.clock = Clock()
        self.doorman = Doorman()
        self.login = Login(self.clock, self.doorman, ADDRESS)
        transport: Any = self
        self.login.transport = transport
        self.sent: list[tuple[int, bytes]] = []
        self.disconnected: list[bytes] = []
        self.visitors: list[User] = []
        self.key = ed25519_key()
        self.doorman.know(self.key, "alice")

    # as a transport

    def sendPacket(self, kind: int, payload: bytes) -> None:
        self.sent.append((kind, payload))

    def sendDisconnect(self, code: int, sentence: bytes) -> None:
        self.disconnected.append(sentence)

    def logged_in(self, visitor: User) -> None:
        self.visitors.append(visitor)
        self.login.serviceStopped()

    # as a client

    def ask(self, packet: bytes) -> None:
        self.sent.clear()
        self.login.packetReceived(REQUEST, packet)  # type: ignore[no-untyped-call]
        self.clock.advance(0)

    def request(self, key: Key, algorithm: bytes, *, signed: bool = True, **odd: Any) -> bytes:
        """A login with a key; ``odd`` is what is signed instead."""
        user, service = odd.get("user", b"git"), odd.get("service", b"ssh-connection")
        head = NS(user) + NS(service) + NS(b"publickey") + bytes((signed,)) + NS(algorithm)
        head += NS(odd.get("blob", key.public().blob()))
        if not signed:
            return head
        data = odd.get("data", NS(odd.get("session", SESSION)) + bytes((REQUEST,)) + head)
        return head + NS(key.sign(data, signatureType=odd.get("signature", algorithm)))

    def assert_refused(self, packet: bytes) -> None:
        self.ask(packet)
        self.assertEqual(([REFUSED], []), (self.sent, self.visitors))

    # what has to be so

    def test_kinds_of_keys(self) -> None:
        for key, algorithm in (
            (self.key, b"ssh-ed25519"),
            (ecdsa_key(), b"ecdsa-sha2-nistp256"),
            (ecdsa_key(ec.SECP384R1()), b"ecdsa-sha2-nistp384"),
            (ecdsa_key(ec.SECP521R1()), b"ecdsa-sha2-nistp521"),
            (rsa_key(), b"rsa-sha2-256"),
            (rsa_key(), b"rsa-sha2-512"),
        ):
            self.setUp()
            self.doorman.know(key, "bob")
            self.ask(self.request(key, algorithm, signed=False))
            self.assertEqual([(PK_OK, NS(algorithm) + NS(key.public().blob()))], self.sent)
            self.assertEqual([], self.visitors)
            self.ask(self.request(key, algorithm))
            self.assertEqual([(SUCCESS, b"")], self.sent)
            self.assertEqual([User("bob")], self.visitors)

    def test_none(self) -> None:
        """How clients ask what there is; no attempt is counted."""
        self.assert_refused(NS(b"git") + NS(b"ssh-connection") + NS(b"none"))
        self.assertEqual((0, ""), (self.login.attempts, self.login.reason))

    def test_unknown_key(self) -> None:
        """Nobody is asked to sign with it."""
        for signed in (False, True):
            self.assert_refused(self.request(ed25519_key(), b"ssh-ed25519", signed=signed))
        self.assertEqual((2, "no key was offered that is known"), (self.login.attempts, self.login.reason))

    def test_nothing_but_keys(self) -> None:
        for method in (b"password", b"keyboard-interactive", b"hostbased", b"gssapi-with-mic", b"\xff"):
            self.assert_refused(NS(b"git") + NS(b"ssh-connection") + NS(method) + b"\0" + NS(b"secret"))
        self.assertEqual("something else than a key was tried", self.login.reason)

    def test_signatures_of_something_else(self) -> None:
        for odd in ({"session": b"another"}, {"data": b"anything"}):
            self.assert_refused(self.request(self.key, b"ssh-ed25519", **odd))
            self.assertEqual("the signature is wrong", self.login.reason)
        # For another name, and as if it had been signed for nobody's use.
        signed = self.request(self.key, b"ssh-ed25519", user=b"git")
        self.assert_refused(signed.replace(NS(b"git"), NS(b"gut"), 1))
        for packet in (signed + b"x", signed + NS(b""), signed[:-1], signed[:-64], signed[:-68]):
            self.ask(packet)
            self.assertEqual([], self.visitors)

    def test_signature_of_another_key(self) -> None:
        other = ed25519_key()
        self.assert_refused(self.request(other, b"ssh-ed25519", blob=self.key.public().blob()))

    def test_no_sha1(self) -> None:
        key = rsa_key()
        self.doorman.know(key, "bob")
        self.assert_refused(self.request(key, b"ssh-rsa"))
        self.assert_refused(self.request(key, b"rsa-sha2-256", signature=b"ssh-rsa"))
        self.assert_refused(self.request(key, b"rsa-sha2-512", signature=b"rsa-sha2-256"))
        self.assertEqual("the signature is wrong", self.login.reason)

    def test_names_that_do_not_fit(self) -> None:
        for algorithm in (b"ecdsa-sha2-nistp256", b"rsa-sha2-256", b"ssh-dss", b"sk-ssh-ed25519@openssh.com"):
            self.assert_refused(self.request(self.key, algorithm, signature=b"ssh-ed25519"))
            self.assertEqual("the key is of a kind that is not accepted", self.login.reason)

    def test_other_services(self) -> None:
        self.ask(self.request(self.key, b"ssh-ed25519", service=b"ssh-userauth"))
        self.assertEqual(([], 1), (self.visitors, len(self.disconnected)))

    def test_damaged_packets(self) -> None:
        """Wherever they end."""
        whole = self.request(self.key, b"ssh-ed25519")
        for length in range(len(whole)):
            self.setUp()
            self.ask(whole[:length])
            self.assertEqual([], self.visitors)
            self.assertEqual(1, len(self.disconnected) + (self.sent[-1:] == [REFUSED]), length)
        self.assertEqual([], self.flushLoggedErrors())

    def test_too_many_attempts(self) -> None:
        for _ in range(MOST_ATTEMPTS):
            self.assert_refused(self.request(ed25519_key(), b"ssh-ed25519"))
        self.ask(self.request(self.key, b"ssh-ed25519"))
        self.assertEqual(([b"too many attempts"], []), (self.disconnected, self.visitors))

    def test_refusals_may_wait(self) -> None:
        self.doorman.seconds = 2.0
        self.ask(self.request(ed25519_key(), b"ssh-ed25519"))
        self.clock.advance(1.9)
        self.assertEqual([], self.sent)
        self.clock.advance(0.2)
        self.assertEqual([REFUSED], self.sent)

    def test_whoever_knows_the_way_does_not(self) -> None:
        self.doorman.seconds = 2.0
        self.ask(self.request(self.key, b"ssh-ed25519"))
        self.assertEqual([User("alice")], self.visitors)

    def test_one_after_the_other(self) -> None:
        """Clients need not wait for an answer, and each is about what was asked."""
        self.doorman.waiting = Deferred()
        for packet in (
            self.request(self.key, b"ssh-ed25519", signed=False),
            NS(b"bob") + NS(b"ssh-connection") + NS(b"none"),
            self.request(self.key, b"ssh-ed25519"),
            self.request(self.key, b"ssh-ed25519"),
        ):
            self.ask(packet)
        self.assertEqual([], self.sent)
        self.doorman.waiting.callback(None)
        self.clock.advance(0)
        self.assertEqual([PK_OK, FAILURE, SUCCESS], [kind for kind, _ in self.sent])
        self.assertEqual([User("alice")], self.visitors)

    def test_not_too_many_at_once(self) -> None:
        self.doorman.waiting = Deferred()
        for _ in range(100):
            self.ask(self.request(self.key, b"ssh-ed25519"))
        self.assertIn(b"one login at a time", self.disconnected)
        self.assertEqual(1, len(self.doorman.asked))

    def test_gone_meanwhile(self) -> None:
        for waiting in ("doorman", "delay"):
            self.setUp()
            self.doorman.seconds = 5.0
            if waiting == "doorman":
                self.doorman.waiting = Deferred()
            self.ask(self.request(ed25519_key(), b"ssh-ed25519"))
            self.login.serviceStopped()
            self.clock.advance(10)
            self.assertEqual(([], []), (self.sent, self.clock.getDelayedCalls()))

    def test_doorman_with_a_bug(self) -> None:
        self.doorman.waiting = Deferred()
        self.ask(self.request(self.key, b"ssh-ed25519"))
        self.doorman.waiting.errback(ZeroDivisionError())
        self.clock.advance(0)
        self.assertEqual(([], 1), (self.visitors, len(self.disconnected)))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_key_with_other_bytes(self) -> None:
        """What is compared with the known keys is all of what was sent."""
        blob = self.key.public().blob()
        for odd in (blob + b"\0", blob[:-1], NS(b"ssh-ed25519") + NS(bytes(32))):
            self.assert_refused(self.request(self.key, b"ssh-ed25519", blob=odd))
        self.assertEqual(struct.pack(">L", 11), blob[:4])
        self.assertEqual(b"ssh-ed25519", getNS(blob)[0])
