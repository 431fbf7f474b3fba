"""A tor's control port, with one that is played."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from txtorcon import TorProtocolError
from txtorcon.torcontrolprotocol import TorDisconnectError

from annexd.errors import Unavailable
from annexd.transports.onion_control import ControlPort, Service, progress, speaker
from annexd.transports.onion_key import OnionKey

ADDRESS = "a" * 56
HOSTNAME = f"{ADDRESS}.onion"
SERVICE = Service(OnionKey(HOSTNAME, b"k" * 64), 7001, "/run/s")
PHASE = 'status/bootstrap-phase=NOTICE BOOTSTRAP PROGRESS=45 TAG=x SUMMARY="y"'


class Transport:
    aborted = 0

    def abortConnection(self) -> None:
        self.aborted += 1


class PlayedProtocol:
    """What `txtorcon.TorControlProtocol` has that we use."""

    def __init__(self) -> None:
        self.transport = Transport()
        self.asked: list[str] = []
        self.answers: list[Deferred[str]] = []
        self.hears: dict[str, Callable[[str], None]] = {}
        self.gone: Deferred[object] = Deferred()

    def queue_command(self, cmd: str) -> Deferred[str]:
        self.asked.append(cmd)
        self.answers.append(Deferred())
        return self.answers[-1]

    def add_event_listener(self, evt: str, callback: Callable[[str], None]) -> Deferred[str]:
        self.hears[evt] = callback
        return self.queue_command(f"SETEVENTS {evt}")

    def when_disconnected(self) -> Deferred[object]:
        return self.gone


class Told:
    def __init__(self) -> None:
        self.said: list[Any] = []

    def progress(self, percent: int) -> None:
        self.said.append(percent)

    def uploaded(self) -> None:
        self.said.append("uploaded")

    def lost(self, reason: str) -> None:
        self.said.append(reason)

    def adrift(self, reason: str) -> None:
        self.said.append("adrift")


class Case(SynchronousTestCase):
    service: Service | None = SERVICE

    def setUp(self) -> None:
        self.clock = Clock()
        self.protocol = PlayedProtocol()
        self.told = Told()
        self.port = ControlPort(self.clock, self.protocol, self.told, HOSTNAME, self.service)
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))
        self.addCleanup(self.port.close)

    def answer(self, text: str = "OK") -> None:
        self.protocol.answers[-1].callback(text)

    def refuse(self, code: int, text: str) -> None:
        self.protocol.answers[-1].errback(TorProtocolError(code, text))

    def follow(self) -> None:
        following = Deferred.fromCoroutine(self.port.follow())
        for _ in range(3):
            self.answer()
        self.answer(PHASE)
        self.successResultOf(following)


class Ports(Case):
    def publish(self) -> None:
        publishing = Deferred.fromCoroutine(self.port.publish())
        self.refuse(552, "Unknown Onion Service id")
        self.answer(f"ServiceID={ADDRESS}\nOK")
        self.successResultOf(publishing)

    def test_follow(self) -> None:
        self.follow()
        self.assertEqual(
            self.protocol.asked,
            [
                *(f"SETEVENTS {event}" for event in ("HS_DESC", "STATUS_CLIENT", "CIRC")),
                "GETINFO status/bootstrap-phase",
            ],
        )
        self.protocol.hears["STATUS_CLIENT"]("NOTICE CIRCUIT_ESTABLISHED")
        self.protocol.hears["STATUS_CLIENT"]("NOTICE BOOTSTRAP PROGRESS=100 TAG=done")
        self.assertEqual(self.told.said, [45, 100])

    def test_uploads(self) -> None:
        self.follow()
        hear = self.protocol.hears["HS_DESC"]
        hear(f"UPLOAD {ADDRESS} UNKNOWN $X~x")
        hear(f"UPLOADED {'b' * 56} UNKNOWN $X~x")
        hear(f"FAILED {ADDRESS} UNKNOWN $X~x REASON=UPLOAD_REJECTED")
        hear("")
        self.assertEqual(self.told.said, [45])
        hear(f"UPLOADED {ADDRESS} UNKNOWN $X~x")
        self.assertEqual(self.told.said, [45, "uploaded"])

    def test_publish(self) -> None:
        self.publish()
        self.assertEqual(
            self.protocol.asked,
            [f"DEL_ONION {ADDRESS}", f"ADD_ONION {SERVICE.key.for_control} Port=7001,unix:/run/s"],
        )

    def test_options(self) -> None:
        service = Service(SERVICE.key, 1, "/s", ("A" * 52, "B" * 52), proof_of_work=True)
        words = service.command.split()[2:]
        self.assertEqual(
            words,
            [
                "Flags=V3Auth",
                "PoWDefensesEnabled=1",
                "Port=1,unix:/s",
                f"ClientAuthV3={'A' * 52}",
                f"ClientAuthV3={'B' * 52}",
            ],
        )

    def test_more_ports(self) -> None:
        service = Service(SERVICE.key, 1, "/s", more=((22, "/ssh"),))
        self.assertEqual(service.command.split()[2:], ["Port=1,unix:/s", "Port=22,unix:/ssh"])

    def test_refused(self) -> None:
        """The reason is told, and the key is not."""
        for code, text, words in (
            (550, "Onion address collision", "tor has"),
            (512, "Invalid VIRTPORT/TARGET", "does not take the service: Invalid VIRTPORT"),
        ):
            publishing = Deferred.fromCoroutine(self.port.publish())
            self.answer()
            self.refuse(code, text)
            error = self.failureResultOf(publishing, Unavailable).value
            self.assertIn(words, str(error))
            self.assertNotIn("ED25519", str(error))

    def test_no_answer(self) -> None:
        publishing = Deferred.fromCoroutine(self.port.publish())
        self.clock.advance(30)
        error = self.failureResultOf(publishing, Unavailable).value
        self.assertEqual(str(error), "tor does not answer within 30 seconds")

    def test_lost(self) -> None:
        publishing = Deferred.fromCoroutine(self.port.publish())
        self.protocol.answers[-1].errback(TorDisconnectError("gone", None))
        self.failureResultOf(publishing, Unavailable)
        self.protocol.gone.errback(ValueError())
        self.assertEqual(self.told.said, ["tor has closed the control connection"])

    def test_heart_beats(self) -> None:
        self.follow()
        self.publish()
        for _ in range(2):
            self.clock.advance(60)
            self.answer(PHASE)
            self.assertEqual(self.protocol.asked[-1], "GETINFO onions/current")
            self.answer(f"onions/current={ADDRESS}")
        self.clock.advance(60)
        self.answer(PHASE)
        self.answer("onions/current=")
        self.assertEqual(self.told.said[-1], "tor does not have the service any more")

    def test_no_heart_beat(self) -> None:
        self.follow()
        self.clock.advance(60)
        self.clock.advance(30)
        self.assertEqual(self.told.said[-1], "tor does not answer within 30 seconds")

    def test_close(self) -> None:
        """Whenever it comes, nothing is told any more."""
        self.follow()
        self.clock.advance(60)
        self.port.close()
        self.protocol.gone.errback(ValueError())
        self.protocol.hears["HS_DESC"](f"UPLOADED {ADDRESS}")
        self.protocol.hears["STATUS_CLIENT"]("NOTICE BOOTSTRAP PROGRESS=100 TAG=done")
        self.assertEqual((self.told.said, self.protocol.transport.aborted), ([45], 1))

    def test_adrift(self) -> None:
        self.follow()
        for said in (
            f"7 CLOSED x PURPOSE=HS_SERVICE_INTRO HS_STATE=HSSI_ESTABLISHED REND_QUERY={ADDRESS}",
            "8 BUILT",
        ):
            self.protocol.hears["CIRC"](said)
        self.clock.advance(5)
        self.answer("circuit-status=")
        self.assertEqual(self.told.said[-1], "adrift")

    def test_progress(self) -> None:
        for said, percent in (
            (PHASE, 45),
            ("WARN BOOTSTRAP PROGRESS=5 TAG=x WARNING=y", 5),
            ("NOTICE BOOTSTRAP PROGRESS=x", None),
            ("NOTICE CIRCUIT_ESTABLISHED PROGRESS=5", None),
            ("", None),
        ):
            self.assertEqual(progress(said), percent)


class ByTorrc(Case):
    """A service that tor has in its own configuration."""

    service = None

    def publish(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.port.publish()))

    def test_publish(self) -> None:
        self.publish()
        self.assertEqual((self.protocol.asked, self.told.said), ([], []))

    def test_anew(self) -> None:
        """It is taken away first, or tor would go on as before."""
        self.publish()
        publishing = Deferred.fromCoroutine(self.port.publish())
        self.answer("HiddenServiceDir=/d\nHiddenServicePort=1 unix:/s\nHiddenServiceExportCircuitID=haproxy")
        self.answer()
        self.answer()
        self.successResultOf(publishing)
        self.assertEqual(
            self.protocol.asked,
            [
                "GETCONF HiddenServiceOptions",
                "RESETCONF HiddenServiceDir",
                'SETCONF HiddenServiceDir="/d" HiddenServicePort="1 unix:/s" '
                'HiddenServiceExportCircuitID="haproxy"',
            ],
        )

    def test_anew_but_tor_does_not_take_it(self) -> None:
        self.publish()
        publishing = Deferred.fromCoroutine(self.port.publish())
        self.refuse(513, "Unacceptable option value")
        error = self.failureResultOf(publishing, Unavailable).value
        self.assertIn("Unacceptable option value", str(error))

    def test_faster_than_we(self) -> None:
        self.follow()
        self.protocol.hears["HS_DESC"](f"UPLOADED {ADDRESS} UNKNOWN $X~x")
        self.publish()
        self.assertEqual(self.told.said, [45, "uploaded", "uploaded"])

    def test_heart_beats(self) -> None:
        """It is not asked for what it was not given."""
        self.follow()
        self.publish()
        for _ in range(2):
            self.clock.advance(60)
            self.answer(PHASE)
        self.clock.advance(60)
        self.refuse(552, "Unrecognized key")
        self.assertIn("Unrecognized key", self.told.said[-1])


class Speakers(SynchronousTestCase):
    """txtorcon itself, at the other end of a string."""

    def connect(self, password: str | None) -> tuple[Deferred[Any], Any, StringTransport]:
        reactor = MemoryReactorClock()
        endpoint = UNIXClientEndpoint(reactor, "/control")
        connecting: Deferred[Any] = Deferred.fromCoroutine(speaker(endpoint, password))
        factory = reactor.unixClients[0][1]
        protocol = factory.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        return connecting, protocol, transport

    def test_password(self) -> None:
        connecting, protocol, transport = self.connect("secret")
        protocol.dataReceived(
            b'250-PROTOCOLINFO 1\r\n250-AUTH METHODS=HASHEDPASSWORD\r\n250-VERSION Tor="0.4.9"\r\n250 OK\r\n'
        )
        self.assertTrue(transport.value().endswith(b"AUTHENTICATE 736563726574\r\n"))
        protocol.dataReceived(b"250 OK\r\n")
        for line in (b"250-signal/names=HUP", b"250-version=0.4.9", b"250-events/names=HS_DESC"):
            protocol.dataReceived(line + b"\r\n250 OK\r\n")
        protocol.dataReceived(b"250 OK\r\n")
        self.assertTrue(hasattr(self.successResultOf(connecting), "queue_command"))

    def test_wrong_password(self) -> None:
        connecting, protocol, transport = self.connect("secret")
        protocol.dataReceived(
            b'250-PROTOCOLINFO 1\r\n250-AUTH METHODS=HASHEDPASSWORD\r\n250-VERSION Tor="0.4.9"\r\n250 OK\r\n'
        )
        protocol.dataReceived(b"515 Authentication failed\r\n")
        error = self.failureResultOf(connecting, Unavailable).value
        self.assertIn("Authentication failed", str(error))
        self.assertTrue(transport.disconnected)

    def test_a_cookie_that_cannot_be_read(self) -> None:
        connecting, protocol, transport = self.connect(None)
        protocol.dataReceived(
            b'250-PROTOCOLINFO 1\r\n250-AUTH METHODS=COOKIE,SAFECOOKIE COOKIEFILE="/nonexistent/c"\r\n'
            b'250-VERSION Tor="0.4.9"\r\n250 OK\r\n'
        )
        error = self.failureResultOf(connecting, Unavailable).value
        self.assertIn("/nonexistent/c", str(error))

    def test_nobody_there(self) -> None:
        reactor = MemoryReactorClock()
        connecting: Deferred[Any] = Deferred.fromCoroutine(
            speaker(UNIXClientEndpoint(reactor, "/control"), None)
        )
        reactor.unixClients[0][1].clientConnectionFailed(None, Failure(ConnectError(string="refused")))
        self.assertIn("no control port", str(self.failureResultOf(connecting, Unavailable).value))

    def test_given_up(self) -> None:
        connecting, protocol, transport = self.connect(None)
        connecting.cancel()
        self.assertTrue(transport.disconnected)
        self.failureResultOf(connecting)
