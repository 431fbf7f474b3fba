"""From a connection to a session: real sockets, a reactor turned by hand, a repository in memory."""

from __future__ import annotations

import configparser
import os
import re
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.access import Access, Operation, Rights, Rule
from annexd.app.admin import Sessions
from annexd.app.anteroom import Anteroom
from annexd.app.certificates import load
from annexd.app.guessing import Guessing
from annexd.app.hosting import Host, Seat
from annexd.app.listen import Address, FrontEnds, Tls, networks
from annexd.app.logs import Lines
from annexd.app.reception import Entrance, Reception
from annexd.errors import Refused
from annexd.sessions.deadlines import Deadlines
from tests.app.test_rights_table import REQUESTS, Table
from tests.app.test_shell import KEY, UUID, Directory, Repository
from tests.support.authorities import Authority
from tests.support.hand_reactor import HandReactor
from tests.support.memory_store import MemoryStore, Shelf
from tests.support.tls_in_memory import Peer, client_context

GOOD = b"ab" * 64
NODE = b"00000000-0000-4000-8000-00000000000a"
AUTH = b"AUTH client " + GOOD + b"\n"
WELCOME = b"AUTH-SUCCESS " + UUID + b"\n"
SOMEWHERE = ("203.0.113.7", 40_000)


@dataclass(frozen=True)
class Admission:
    principal: str = "token:bob"
    path: bytes = b"/srv/x"
    rights: Rights = Rights.READ_WRITE
    node: bytes | None = None


class Behind:
    """A repository that proxies one node."""

    async def seat(self, repository: Any, uuid: bytes, caller: Any) -> Seat | None:
        return Seat(MemoryStore(Shelf(uuid=NODE)), ("n1",)) if uuid == NODE else None


class Case(SynchronousTestCase):
    transport = "plain"
    rules: tuple[Rule, ...] = ()

    def setUp(self) -> None:
        self.reactor = HandReactor()
        self.repository = Repository()
        directory: Any = Directory(self.repository)
        self.directory = directory
        self.sessions = Sessions(self.reactor, 10)
        self.daemon = SimpleNamespace(max_unauthenticated=8)
        self.nodes = SimpleNamespace(git_through_nodes=True)
        deadlines = Deadlines(handshake=5, stall=10, idle=1000)
        self.current: Any = SimpleNamespace(
            access=Access(self.rules),
            deadlines=deadlines,
            config=SimpleNamespace(daemon=self.daemon, nodes=self.nodes),
        )
        host = Host(self.reactor, directory, self.sessions, self.current, Behind())
        self.known: dict[bytes, Admission | Refused] = {GOOD: Admission()}
        self.front_ends = FrontEnds()
        self.anteroom = Anteroom(lambda: self.daemon.max_unauthenticated)
        self.reception = Reception(host, self.admission, self.anteroom, Guessing(self.reactor))
        self.entrance = Entrance(self.transport, lambda: self.front_ends)
        captured = capturedLogs()
        self.events: list[LogEvent] = captured.__enter__()
        self.addCleanup(captured.__exit__, None, None, None)
        self.addCleanup(self.close)

    def close(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.reception.close()))
        self.reactor.advance(2)

    async def admission(self, secret: bytes) -> Admission:
        found = self.known.get(secret, Refused("there is no such token"))
        if isinstance(found, Refused):
            raise found
        return found

    def come(self, address: Any = SOMEWHERE) -> Caller:
        near, far = socket.socketpair()
        near.setblocking(False)
        self.addCleanup(far.close)
        self.reception.arrived(self.entrance, near, address)
        return Caller(self.reactor, far)

    def told(self, about: str = "") -> list[str]:
        """What the log has, of what concerns us."""
        lines = [formatEvent(event) for event in self.events if event["log_level"].name != "debug"]
        return [line for line in lines if about in line]


class Caller:
    """The other end."""

    def __init__(self, reactor: HandReactor, sock: socket.socket) -> None:
        self.socket = sock
        self._reactor = reactor
        sock.setblocking(False)

    def say(self, data: bytes) -> bytes:
        self.socket.send(data)
        return self.hear()

    def hear(self) -> bytes:
        self._reactor.turns(4)
        try:
            return self.socket.recv(1 << 16)
        except BlockingIOError:
            return b"..."
        except ConnectionResetError:
            return b""

    @property
    def gone(self) -> bool:
        """The connection has been closed."""
        return self.hear() == b""


class Login(Case):
    def test_good_token(self) -> None:
        caller = self.come()
        self.assertEqual(caller.say(AUTH), WELCOME)
        [session] = self.sessions
        self.assertEqual(
            (session.principal, session.repository, session.transport, session.address),
            ("token:bob", b"/srv/x", "plain", "203.0.113.7"),
        )
        self.assertEqual((len(self.anteroom), self.told()), (0, ["login of token:bob from 203.0.113.7"]))
        self.assertEqual(caller.say(b"CHECKPRESENT " + KEY + b"\n"), b"SUCCESS\n")
        self.assertEqual([store.uuid for store in self.repository.callers], [b"client"])
        caller.socket.close()
        self.reactor.turns(4)
        self.assertEqual((len(self.sessions), self.repository.flushed), (0, 1))

    def test_what_the_audit_gets(self) -> None:
        self.come().say(AUTH)
        self.come().say(b"AUTH x y\n")
        login, refused = [event for event in self.events if event["log_namespace"] == "annexd.audit"]
        wanted = {"event": "login", "principal": "token:bob", "address": "203.0.113.7", "transport": "plain"}
        self.assertEqual({name: login[name] for name in wanted}, wanted)
        wanted = {"event": "login-refused", "address": "203.0.113.7", "reason": "there is no such token"}
        self.assertEqual({name: refused[name] for name in wanted}, wanted)

    def test_all_in_one_piece(self) -> None:
        """Who knows the protocol need not wait for every answer."""
        caller = self.come()
        heard = caller.say(AUTH + b"VERSION 4\nCHECKPRESENT " + KEY + b"\n")
        self.assertEqual(heard, WELCOME + b"VERSION 4\nSUCCESS\n")

    def test_for_a_node(self) -> None:
        """The token alone says so."""
        self.known[GOOD] = Admission(node=NODE)
        caller = self.come()
        self.assertEqual(caller.say(AUTH), b"AUTH-SUCCESS " + NODE + b"\n")
        self.assertEqual([session.node for session in self.sessions], [NODE])
        self.assertEqual(caller.say(b"CHECKPRESENT " + KEY + b"\n"), b"FAILURE\n")
        self.nodes.git_through_nodes = False
        caller = self.come()
        caller.say(AUTH)
        said = caller.say(b"CONNECT git-upload-pack\n")
        self.assertRegex(said, rb"\ADATA \d+\n[0-9a-f]{4}ERR .*git.*CONNECTDONE 1\n\Z")

    def test_for_a_node_that_is_not_there_any_more(self) -> None:
        self.known[GOOD] = Admission(node=b"elsewhere")
        caller = self.come()
        self.assertIn(b"ERROR expected repository UUID elsewhere", caller.say(AUTH))
        self.assertTrue(caller.gone)

    def test_what_comes_before_is_answered(self) -> None:
        """As git-annex answers it."""
        caller = self.come()
        for line, answer in (
            (b"VERSION 4\n", b"ERROR unexpected command\n"),
            (b"CHECKPRESENT " + KEY + b"\n", b"ERROR unexpected command\n"),
            (b"AUTH-SUCCESS x\n", b"ERROR unexpected command\n"),
            (b"\n", b"ERROR unknown command\n"),
            (b"GET / HTTP/1.1\r\n", b"ERROR unknown command\n"),
            (AUTH, WELCOME),
            (AUTH, b"ERROR unexpected command\n"),
        ):
            self.assertEqual(caller.say(line), answer)

    def test_small_answers_go_at_once(self) -> None:
        """And a peer that is not there any more is found out."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            far = socket.create_connection(listener.getsockname())
            near, address = listener.accept()
        self.addCleanup(far.close)
        near.setblocking(False)
        self.reception.arrived(self.entrance, near, address)
        self.assertEqual(Caller(self.reactor, far).say(AUTH), WELCOME)
        with socket.socket(fileno=os.dup(self.reactor.readers[0].fileno())) as served:
            self.assertEqual(served.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 1)
            self.assertEqual(served.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1)

    def test_giving_up(self) -> None:
        caller = self.come()
        caller.say(b"ERROR no\n")
        self.assertTrue(caller.gone)
        self.assertEqual(self.told(), [])

    def test_no_room_inside(self) -> None:
        """Who has a good token is told what is the matter."""
        self.sessions.most = 0
        caller = self.come()
        self.assertEqual(caller.say(AUTH), b"ERROR annexd serves 0 sessions already, try again later\n")
        self.assertTrue(caller.gone)
        self.assertEqual(len(self.told("token:bob from 203.0.113.7: annexd serves 0 sessions")), 1)

    def test_a_repository_that_cannot_be_served(self) -> None:
        self.repository.parts.unserved = "annex.pidlock is set, which annexd does not do"
        caller = self.come()
        self.assertEqual(caller.say(AUTH), b"ERROR annex.pidlock is set, which annexd does not do\n")
        self.assertTrue(caller.gone)

    def test_a_reason_that_names_a_path_of_odd_bytes(self) -> None:
        self.repository.parts.unserved = os.fsdecode(b"/srv/caf\xe9 cannot be read")
        self.assertEqual(self.come().say(AUTH), b"ERROR /srv/caf\\udce9 cannot be read\n")

    def test_nonsense_from_one_who_is_inside(self) -> None:
        caller = self.come()
        caller.say(AUTH)
        self.assertEqual(caller.say(b"x" * 40_000), b"ERROR a line of more than 32767 bytes\n")
        self.assertTrue(caller.gone)
        self.assertEqual(self.told("bytes"), ["token:bob from 203.0.113.7: a line of more than 32767 bytes"])

    def test_revoked(self) -> None:
        """What is under way ends, too."""
        caller = self.come()
        caller.say(AUTH)
        caller.say(b"PUT  WORM-s9-m1--x\n")
        caller.say(b"DATA 9\nabc")
        self.sessions.stop("token:bob", "it was revoked")
        self.assertTrue(caller.gone)
        self.assertEqual((len(self.sessions), self.directory.visitors), (0, 0))


class Refusals(Case):
    rules = (Rule(("token:nobody",), ("*",), Rights.NONE, "f:1"),)

    def assert_refused(self, admission: Admission | Refused, reason: str) -> None:
        """The same answer, in the same time, whatever the reason."""
        self.known[b"secret"] = admission
        caller = self.come()
        self.assertEqual(caller.say(b"AUTH client secret\n"), b"...")
        self.reactor.advance(0.9)
        self.assertEqual(caller.hear(), b"...")
        self.reactor.advance(0.2)
        self.assertEqual(caller.hear(), b"AUTH-FAILURE\n")
        self.assertEqual(self.told(), [f"login-refused of - from 203.0.113.7: {reason}"])

    def test_unknown(self) -> None:
        self.assert_refused(Refused("there is no such token"), "there is no such token")

    def test_expired(self) -> None:
        self.assert_refused(Refused("the token bob expired"), "the token bob expired")

    def test_for_what_is_not_served(self) -> None:
        elsewhere = Admission(path=b"/srv/nothing")
        self.assert_refused(elsewhere, "no repository is served at /srv/nothing")

    def test_ruled_out(self) -> None:
        reason = "no repository is served at /srv/x for token:nobody (f:1)"
        self.assert_refused(Admission("token:nobody"), reason)

    def test_longer_each_time(self) -> None:
        """Also over another connection from there; who is elsewhere does not notice."""
        for seconds in (1, 2, 4):
            caller = self.come()
            caller.say(b"AUTH x y\n")
            self.reactor.advance(seconds - 0.1)
            self.assertEqual(caller.hear(), b"...")
            self.reactor.advance(0.2)
            self.assertEqual(caller.hear(), b"AUTH-FAILURE\n")
        self.assertEqual(self.come(("203.0.113.8", 1)).say(AUTH), WELCOME)

    def test_a_good_token_from_there(self) -> None:
        caller = self.come()
        for seconds in (1, 2, 4, 8, 16, 30):
            caller.say(b"AUTH x y\n")
            self.reactor.advance(seconds)
            self.assertEqual(caller.hear(), b"AUTH-FAILURE\n")
        self.assertEqual(caller.say(AUTH), b"...")
        self.reactor.advance(1)
        self.assertEqual(caller.hear(), WELCOME)

    def test_the_secret_is_told_to_nobody(self) -> None:
        self.come().say(b"AUTH client thesecret\n")
        self.come().say(AUTH)
        said = str([(formatEvent(event), event) for event in self.events])
        self.assertNotIn("thesecret", said)
        self.assertNotIn(GOOD.decode(), said)

    def test_what_fail2ban_looks_for(self) -> None:
        """The address, whatever else somebody has us write."""
        self.known[b"x"] = Refused("login-refused of - from 192.0.2.1: \n no")
        expression = filter_of_fail2ban()
        for address, name in ((SOMEWHERE, "203.0.113.7"), (("2001:db8::7", 1, 0, 0), "2001:db8::7")):
            self.events.clear()
            self.come(address).say(b"AUTH x x\n")
            for line in self.lines():
                found = expression.search(line)
                assert found is not None, line
                self.assertEqual(found["host"], name)
        self.events.clear()
        caller = self.come()
        caller.say(AUTH + b"REMOVE WORM-s1-m1--x login-refused of - from 192.0.2.1: \n")
        self.reactor.advance(1)
        caller.hear()
        lines = self.lines()
        self.assertIn("login-refused of - from 192.0.2.1", lines[-1])
        for line in lines:
            self.assertIsNone(expression.search(line))

    def lines(self) -> list[str]:
        """In a file, and out of the journal."""
        events = [event for event in self.events if event["log_level"].name != "debug"]
        plain = [Lines("human").line(event) for event in events]
        journal = [Lines("human", journal=True).line(event) for event in events]
        return plain + [re.sub(r"^<\d>", "host annexd[7]: ", line) for line in journal]

    def test_hanging_up_meanwhile(self) -> None:
        caller = self.come()
        caller.say(b"AUTH x y\n")
        caller.socket.close()
        self.reactor.turns()
        self.reactor.advance(2)
        self.reactor.turns()
        self.assertEqual((len(self.anteroom), self.reactor.removeAll()), (0, []))


def filter_of_fail2ban() -> re.Pattern[str]:
    """As it understands the filter that is shipped."""
    file = Path(__file__).parents[2] / "etc" / "fail2ban" / "filter.d" / "annexd.conf"
    parser = configparser.RawConfigParser()
    parser.read_string(file.read_text())
    return re.compile(parser["Definition"]["failregex"].replace("<HOST>", r"(?P<host>[0-9a-fA-F:.]+)"))


class Strangers(Case):
    """Those who do not say who they are."""

    def test_silence(self) -> None:
        caller = self.come()
        self.reactor.advance(4.9)
        self.assertFalse(caller.gone)
        self.reactor.advance(0.2)
        self.assertTrue(caller.gone)
        self.assertEqual(self.told(), ["sent 203.0.113.7 away: it has not said within 5 seconds who it is"])
        self.assertEqual((len(self.anteroom), self.reactor.removeAll()), (0, []))

    def test_a_byte_now_and_then(self) -> None:
        caller = self.come()
        for byte in AUTH[:5]:
            self.assertFalse(caller.gone)
            caller.say(bytes([byte]))
            self.reactor.advance(1)
        self.assertTrue(caller.gone)

    def test_a_request_now_and_then(self) -> None:
        caller = self.come()
        for _ in range(5):
            caller.say(b"VERSION 1\n")
            self.reactor.advance(1)
        self.assertTrue(caller.gone)

    def test_a_long_line(self) -> None:
        caller = self.come()
        caller.say(b"AUTH client " + b"a" * 4090)
        self.assertTrue(caller.gone)
        self.assertEqual(self.told(), ["sent 203.0.113.7 away: a line of more than 4096 bytes"])

    def test_many_lines(self) -> None:
        caller = self.come()
        self.assertEqual(caller.say(b"VERSION 1\n" * 30).count(b"ERROR"), 20)
        self.assertTrue(caller.gone)
        self.assertEqual(
            self.told(), ["sent 203.0.113.7 away: it said 20 lines without a good AUTH among them"]
        )

    def test_what_they_have_us_keep(self) -> None:
        """What comes behind an AUTH that is not decided yet stays outside."""
        caller = self.come()
        caller.say(b"AUTH x y\n")
        total = 0
        try:
            while True:
                total += caller.socket.send(bytes(1 << 16))
                self.reactor.turns(2)
        except BlockingIOError:
            pass
        wire = self.reactor.readers
        self.assertEqual(wire, [])
        self.assertLess(total, 1 << 20)

    def test_too_many(self) -> None:
        callers = [self.come((f"192.0.2.{number}", 1)) for number in range(10)]
        self.assertEqual([caller.gone for caller in callers], [True] * 2 + [False] * 8)
        self.assertEqual((len(self.anteroom), len(self.told("others need its place"))), (8, 2))
        self.assertEqual(callers[-1].say(AUTH), WELCOME)

    def test_too_many_from_one_place(self) -> None:
        other = self.come(("2001:db8:0:1::1", 1, 0, 0))
        callers = [self.come((f"2001:db8::{number}", 1, 0, 0)) for number in range(4)]
        self.assertEqual([caller.gone for caller in (other, *callers)], [False, True, True, False, False])

    def test_those_inside_do_not_count(self) -> None:
        callers = [self.come() for _ in range(2)]
        for caller in callers:
            self.assertEqual(caller.say(AUTH), WELCOME)
        for _ in range(20):
            self.come()
        self.assertEqual([caller.gone for caller in callers], [False, False])
        self.assertEqual(callers[0].say(b"CHECKPRESENT " + KEY + b"\n"), b"SUCCESS\n")

    def test_no_descriptors(self) -> None:
        caller = self.come()
        self.reception.make_room()
        self.assertTrue(caller.gone)

    def test_over_a_unix_socket(self) -> None:
        caller = self.come("")
        self.assertEqual(caller.say(AUTH), WELCOME)
        self.assertEqual(self.told(), ["login of token:bob from a unix socket"])


class Onion(Case):
    """Through tor: with the circuits that people come by, and without."""

    transport = "tor"

    def setUp(self) -> None:
        super().setUp()
        self.entrance = Entrance("tor", lambda: self.front_ends, nameless="an onion service")

    def by(self, circuit: int, said: bytes = b"") -> Caller:
        caller = self.come("")
        caller.say(b"PROXY TCP6 fc00:dead:beef:4dad::0:%x ::1 %d 7001\r\n" % (circuit, circuit) + said)
        return caller

    def test_without_circuits(self) -> None:
        self.assertEqual(self.come("").say(AUTH), WELCOME)
        self.assertEqual(self.told(), ["login of token:bob from an onion service"])

    def test_all_are_one_without_circuits(self) -> None:
        """And not one with those who come by another unix socket."""
        guesser = self.come("")
        guesser.say(b"AUTH x y\n")
        self.assertEqual(self.come("").say(AUTH), b"...")
        self.entrance = Entrance("plain", FrontEnds)
        self.assertEqual(self.come("").say(AUTH), WELCOME)

    def test_circuits(self) -> None:
        self.front_ends = FrontEnds((), True)
        self.by(0x1B4, AUTH)
        self.assertEqual(self.told(), ["login of token:bob from circuit 436"])

    def test_guesses_count_by_circuit(self) -> None:
        self.front_ends = FrontEnds((), True)
        self.by(1, b"AUTH x y\n")
        self.assertEqual(self.by(2).say(AUTH), WELCOME)
        self.assertEqual(self.by(1).say(AUTH), b"...")
        self.reactor.advance(1)
        self.assertEqual(len(self.told("login of token:bob from circuit 1")), 1)

    def test_places_count_by_circuit(self) -> None:
        self.front_ends = FrontEnds((), True)
        callers = [*(self.by(1) for _ in range(4)), self.by(2)]
        self.assertEqual([caller.gone for caller in callers], [True, True, False, False, False])


class FrontEndCase(Case):
    def setUp(self) -> None:
        super().setUp()
        self.front_ends = networks(["203.0.113.0/24", "unix"])

    def test_the_client_s_address(self) -> None:
        for address in (SOMEWHERE, ""):
            caller = self.come(address)
            self.assertEqual(caller.say(b"PROXY TCP4 192.0.2.9 10.0.0.1 4000 7001\r\n" + AUTH), WELCOME)
        self.assertEqual(self.told(), ["login of token:bob from 192.0.2.9"] * 2)

    def test_it_counts(self) -> None:
        header = b"PROXY TCP6 2001:db8::9 ::1 4000 7001\r\n"
        callers = [self.come() for _ in range(4)]
        for caller in callers:
            caller.say(header)
        self.assertEqual([caller.gone for caller in callers], [True, True, False, False])
        self.assertEqual(len(self.told("sent 2001:db8::9 away")), 2)

    def test_a_health_check(self) -> None:
        caller = self.come()
        self.assertEqual(caller.say(b"PROXY UNKNOWN\r\n" + AUTH), WELCOME)
        self.assertEqual(self.told(), ["login of token:bob from 203.0.113.7"])

    def test_without_a_header(self) -> None:
        caller = self.come()
        caller.say(AUTH)
        self.assertTrue(caller.gone)
        reason = "it may speak with a PROXY header only, and sent none"
        self.assertEqual(self.told(), [f"sent 203.0.113.7 away: {reason}"])

    def test_from_elsewhere(self) -> None:
        """What others say about themselves is believed by nobody."""
        caller = self.come(("192.0.2.1", 1))
        self.assertEqual(
            caller.say(b"PROXY TCP4 10.9.9.9 10.0.0.1 4000 7001\r\n"), b"ERROR unknown command\n"
        )

    def test_silence(self) -> None:
        caller = self.come()
        self.reactor.advance(6)
        self.assertTrue(caller.gone)


class Stopping(Case):
    def test_those_outside_first(self) -> None:
        inside, outside = self.come(), self.come()
        inside.say(AUTH)
        self.reception.send_all_away()
        self.assertEqual((inside.gone, outside.gone), (False, True))
        self.close()
        self.assertTrue(inside.gone)
        self.assertEqual((len(self.sessions), self.directory.visitors), (0, 0))
        self.assertEqual(self.told("annexd stops"), ["sent 203.0.113.7 away: annexd stops"] * 2)


class Secured(Case):
    """The same over TLS, and with certificates."""

    transport = "tls"
    kernel_tls = False
    rules = (
        Rule(("certificate:bob",), ("*",), Rights.APPEND_ONLY, "/etc/f:1"),
        Rule(("token:*",), ("*",), Rights.READ_WRITE, "/etc/f:2"),
    )

    def setUp(self) -> None:
        super().setUp()
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory_name = scratch.name
        self.authority = Authority(scratch.name, "ours")
        self.pem = self.authority.issue("server")
        self.entrance = Entrance("tls", lambda: self.front_ends, lambda: self.identity)
        self.ask_for_certificates("optional")

    def ask_for_certificates(self, certificates: str) -> None:
        self.identity = load(
            Tls(
                (Address("::", 7001),),
                certificate=self.pem,
                key=self.pem,
                client_ca=self.authority.file,
                client_certificates=certificates,
                kernel_tls=self.kernel_tls,
            ),
            self.directory_name,
        )

    def secure(self, certificate: str | None = None, preamble: bytes = b"") -> Peer:
        context = client_context()
        if certificate is not None:
            context.load_cert_chain(certificate)
        caller = self.come()
        if preamble:
            caller.say(preamble)
        peer = Peer(caller.socket, context)
        for _ in range(5):
            if peer.shake():
                break
            self.reactor.turns(2)
        self.reactor.turns(4)
        return peer

    def ask(self, peer: Peer, data: bytes) -> bytes:
        peer.say(data)
        self.reactor.turns(4)
        return peer.take()

    def test_good_token(self) -> None:
        peer = self.secure()
        self.assertEqual(self.ask(peer, AUTH), WELCOME)
        self.assertEqual(self.ask(peer, b"CHECKPRESENT " + KEY + b"\n"), b"SUCCESS\n")
        self.assertEqual([session.transport for session in self.sessions], ["tls"])
        peer.bid_farewell()
        self.reactor.turns(4)
        self.assertEqual(len(self.sessions), 0)

    def test_behind_a_front_end(self) -> None:
        """Which passes TLS on as it is."""
        self.front_ends = networks(["203.0.113.7"])
        peer = self.secure(preamble=b"PROXY TCP4 192.0.2.9 10.0.0.1 4000 7001\r\n")
        self.assertEqual(self.ask(peer, AUTH), WELCOME)
        self.assertEqual(self.told(), ["login of token:bob from 192.0.2.9"])

    def test_no_tls(self) -> None:
        caller = self.come()
        caller.say(AUTH)
        self.assertTrue(caller.gone)
        self.assertEqual(self.told(), ["sent 203.0.113.7 away: it does not speak TLS"])

    def test_no_certificate_where_one_is_needed(self) -> None:
        self.ask_for_certificates("required")
        self.secure()
        self.assertEqual(self.told(), ["sent 203.0.113.7 away: it showed no client certificate"])

    def test_a_certificate_of_somebody_else(self) -> None:
        self.secure(Authority(self.directory_name, "theirs").issue("bob"))
        [line] = self.told()
        self.assertIn("sent 203.0.113.7 away: its client certificate is not accepted: unable to get", line)

    def test_a_certificate_narrows(self) -> None:
        peer = self.secure(self.authority.issue("bob"))
        self.assertEqual(self.ask(peer, AUTH), WELCOME)
        self.assertEqual([session.principal for session in self.sessions], ["token:bob"])
        refusal = self.ask(peer, b"REMOVE " + KEY + b"\n")
        self.assertTrue(refusal.startswith(b"ERROR this repository is append-only"), refusal)

    def test_a_certificate_does_not_widen(self) -> None:
        self.known[GOOD] = Admission(rights=Rights.READ_ONLY)
        peer = self.secure(self.authority.issue("bob"))
        self.ask(peer, AUTH)
        refusal = self.ask(peer, b"PUT  WORM-s9-m1--x\n")
        self.assertTrue(refusal.startswith(b"ERROR this repository is read-only"), refusal)

    def test_a_certificate_that_no_rule_knows(self) -> None:
        peer = self.secure(self.authority.issue("eve"))
        self.assertEqual(self.ask(peer, AUTH), b"")
        self.reactor.advance(1)
        self.reactor.turns(2)
        self.assertEqual(peer.take(), b"AUTH-FAILURE\n")
        [line] = self.told()
        self.assertIn("for certificate:eve (no rule names certificate:eve)", line)


class SecuredBySystem(Secured):
    """By the OpenSSL that can have the kernel do it."""

    kernel_tls = True


class ByReception(Table, SynchronousTestCase):
    """Every cell of the table, with a token over a socket."""

    principals = ("token:t",)
    limits = (Rights.READ_ONLY, Rights.APPEND_ONLY, Rights.READ_WRITE)

    def hint(self, principal: str) -> bytes:
        return f" ({principal})".encode()

    def come(self, principal: str, limits: Rights, operation: Operation) -> bytes:
        async def admission(secret: bytes) -> Admission:
            return Admission(principal, b"/srv/x", limits)

        anteroom = Anteroom(lambda: 100)
        reception = Reception(self.host, admission, anteroom, Guessing(self.reactor))
        near, far = socket.socketpair()
        near.setblocking(False)
        with far, capturedLogs() as events:
            reception.arrived(Entrance("tls", FrontEnds), near, SOMEWHERE)
            caller = Caller(self.reactor, far)
            heard = caller.say(AUTH + b"VERSION 4\n" + REQUESTS[operation])
            self.repository.shelf.changed(b"abc")
            heard += caller.hear()
            far.shutdown(socket.SHUT_WR)
            heard += caller.hear()
            self.reactor.advance(1)
            heard += caller.hear()
        self.reactor.advance(2)
        refusals = [event["reason"] for event in events if event.get("event") == "login-refused"]
        return heard + b"".join(reason.partition(" for ")[0].encode() for reason in refusals)
