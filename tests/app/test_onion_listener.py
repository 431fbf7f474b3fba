"""The onion service as a part of the daemon, without a tor."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from annexd.app import onion_listener
from annexd.app.listen import FrontEnds, Listen
from annexd.app.listen_tor import Tor
from annexd.app.onion_listener import OnionListener
from annexd.app.onion_places import obstacle, places
from annexd.errors import ConfigError, Unavailable
from annexd.transports.onion import Told
from tests.app.test_network import Reception
from tests.support.hand_reactor import HandReactor

ONION = "a" * 56 + ".onion"


class PlayedTor:
    """It is connected to when `connected` fires."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.connected: Deferred[None] = Deferred()
        self.ended = False

    async def connect(self, told: Told) -> PlayedTor:
        self.told.append(told)
        self.connected = Deferred()
        await self.connected
        return self

    async def follow(self) -> None: ...
    async def publish(self) -> None: ...
    async def dial(self) -> None: ...

    def close(self) -> None: ...

    async def end(self) -> None:
        self.ended = True


class PlayedSsh:
    """Counts who comes."""

    def __init__(self) -> None:
        self.came: list[bool] = []

    def arrived_by_onion(self, sock: socket.socket, announced: bool) -> None:
        sock.close()
        self.came.append(announced)


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = scratch.name
        self.state = os.path.join(scratch.name, "state")
        self.reactor = HandReactor()
        self.reception: Any = Reception()
        self.current: Any = SimpleNamespace(config=SimpleNamespace(listen=Listen()))
        self.tor = PlayedTor()
        self.patch(onion_listener, "tor_for", lambda *_: self.tor)
        self.ssh = PlayedSsh()
        self.listener = OnionListener(
            self.reactor,
            self.current,
            self.reception,
            self.ssh,
            self.state,
            os.path.join(scratch.name, "annexd.sock"),
        )
        self.addCleanup(self.stop)

    def stop(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.listener.stop()))
        self.successResultOf(Deferred.fromCoroutine(self.listener.close()))

    def start(self, **wanted: Any) -> str:
        """The path of its socket."""
        self.current.config.listen = Listen(tor=Tor(**wanted))
        self.listener.start()
        return places(Tor(**wanted), self.state, os.path.join(self.directory, "annexd.sock")).target

    def come(self, path: str) -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
        self.reactor.turn()

    @property
    def shown(self) -> str:
        [address] = self.listener.addresses
        return address


class Listeners(Case):
    def test_nothing(self) -> None:
        self.listener.start()
        self.listener.prepare(Listen()).commit()
        self.assertEqual((self.listener.addresses, self.reactor.getReaders()), ([], []))
        self.assertFalse(os.path.exists(self.state))

    def test_ssh(self) -> None:
        """At a socket of its own; annexd's own tor says by which circuit."""
        self.start(launch="tor", ssh=True)
        self.come(os.path.join(self.state, "tor", "annexd-tor-ssh.sock"))
        self.assertEqual((self.ssh.came, self.reception.came), ([True], []))
        self.assertIn(".onion:7001 and 22 (", self.shown)

    def test_several(self) -> None:
        """As where `git annex enable-tor` was run in several repositories."""
        paths = [os.path.join(self.directory, name) for name in "ab"]
        tors = [Tor(hidden_service="/h", hostname=ONION, socket=path, port=1) for path in paths]
        self.current.config.listen = Listen(tor=tors[0], more_tor=(tors[1],))
        second = OnionListener(self.reactor, self.current, self.reception, self.ssh, self.state, "/d", 1)
        self.addCleanup(lambda: self.successResultOf(Deferred.fromCoroutine(second.stop())))
        self.listener.start()
        second.start()
        for path in paths:
            self.come(path)
        self.assertEqual(len(self.reception.came), 2)

    def test_where_it_stands(self) -> None:
        """It is there before tor is."""
        with capturedLogs() as events:
            path = self.start(control="/run/tor/control")
            self.come(path)
            with open(os.path.join(self.state, "onion", "hostname")) as file:
                hostname = file.read().strip()
            shown = [self.shown]
            self.tor.connected.callback(None)
            for act in (
                lambda: self.tor.told[0].progress(45),
                lambda: self.tor.told[0].progress(46),
                lambda: self.tor.told[0].progress(100),
                lambda: self.tor.told[0].uploaded(),
                lambda: self.tor.told[0].lost("tor has gone home"),
            ):
                self.reactor.turns(3)
                act()
                self.reactor.turns(3)
                shown.append(self.shown)
            self.reactor.advance(1)
            shown.append(self.shown)
        self.assertEqual(self.reception.came, [("tor", False, FrontEnds())])
        self.assertTrue(all(text.startswith(f"tor:{hostname}:7001 (") for text in shown), shown)
        stands = [text.partition("(")[2].removesuffix(")") for text in shown]
        self.assertRegex(stands.pop(4), r"published since \d{4}-\d\d-\d\d \d\d:\d\d UTC")
        self.assertEqual(
            stands,
            [
                "connecting to tor",
                "bootstrapping 45 %",
                "bootstrapping 46 %",
                "publishing",
                "tor has gone home; annexd tries again",
                "connecting to tor; tor has gone home",
            ],
        )
        told = [str(formatEvent(event)) for event in events if event["log_level"].name in ("info", "warn")]
        self.assertEqual(len(told), 4, told)
        self.assertEqual(told[0], f"tor: {hostname}: bootstrapping 45 %")
        self.assertIn("published since", told[2])
        self.assertEqual(told[3], f"tor: {hostname} is not published: tor has gone home; annexd tries again")

    def test_what_goes_on_to_be_wrong_is_said_once(self) -> None:
        with capturedLogs() as events:
            self.start(control="/run/tor/control")
            for seconds in (1, 2, 4, 8):
                self.reactor.turn()
                self.tor.connected.errback(Unavailable("there is none"))
                self.reactor.turns(3)
                self.reactor.advance(seconds)
        levels = [e["log_level"].name for e in events if "is not published" in str(formatEvent(e))]
        self.assertEqual(levels, ["warn", "debug", "debug", "debug"])

    def test_the_same_address_each_time(self) -> None:
        self.start(control="/c")
        first = self.shown
        self.stop()
        self.start(control="/c")
        self.assertEqual(self.shown, first)

    def test_who_may_use_the_socket(self) -> None:
        """Tor is another user, but for the one that is ours."""
        path = self.start(control="/c")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o666)
        self.stop()
        path = self.start(launch="tor")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        self.assertTrue(path.startswith(self.state))

    def test_our_tor_tells_circuits(self) -> None:
        path = self.start(launch="tor")
        self.come(path)
        self.assertEqual(self.reception.came, [("tor", False, FrontEnds((), True))])

    def test_somebody_else_s(self) -> None:
        path = os.path.join(self.directory, "s")
        service = os.path.join(self.directory, "service")
        with capturedLogs() as events:
            self.start(hidden_service=service, socket=path, port=9)
        self.assertIn("set listen.tor.hostname", str(formatEvent(events[0])))
        self.assertEqual(
            self.shown,
            f"tor:unix:{path}:9 (its address is not known: {service}/hostname: No such file or directory)",
        )
        self.come(path)
        self.assertEqual(len(self.reception.came), 1)
        os.mkdir(service)
        with open(os.path.join(service, "hostname"), "w") as file:
            file.write(ONION)
        self.listener.prepare(Listen()).commit()
        self.assertEqual(self.shown, f"tor:{ONION}:9 (another tor publishes it)")
        self.assertFalse(os.path.exists(self.state))

    def test_a_directory_that_is_closed_to_tor(self) -> None:
        """Which is another user; where it is the same, or root, there is nothing to say."""
        control = os.path.join(self.directory, "control")
        with open(control, "w"):
            pass
        wanted, target = Tor(control=control), os.path.join(self.directory, "annexd-tor.sock")
        self.assertIsNone(obstacle(wanted, target))
        self.patch(os, "geteuid", lambda: 4711)
        self.patch(os, "stat", lambda path, stat=os.stat: _of_user(stat(path), 4712))
        self.assertIn(f"{self.directory} is closed to others", obstacle(wanted, target) or "")
        os.chmod(self.directory, 0o711)
        self.assertIsNone(obstacle(wanted, target))
        self.assertIsNone(obstacle(Tor(control="127.0.0.1:9051"), target))
        self.assertIsNone(obstacle(Tor(control="/nonexistent"), target))

    def test_stop(self) -> None:
        """Tor goes on until those inside have gone."""
        path = self.start(control="/c")
        self.reactor.turn()
        self.successResultOf(Deferred.fromCoroutine(self.listener.stop()))
        self.assertEqual((self.listener.addresses, self.reactor.getReaders()), ([], []))
        self.assertFalse(os.path.exists(path) or self.tor.ended)
        self.assertEqual(self.reception.told, ["send all away"])
        self.successResultOf(Deferred.fromCoroutine(self.listener.close()))
        self.assertEqual(self.reception.told, ["send all away", "close"])
        self.assertTrue(self.tor.ended)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_given_up_at_once(self) -> None:
        """Another listener could not be had: nothing has begun yet."""
        self.start(control="/c")
        self.successResultOf(Deferred.fromCoroutine(self.listener.stop()))
        self.reactor.advance(0)
        self.assertEqual((self.tor.told, self.reactor.getDelayedCalls()), ([], []))

    def test_no_room_for_the_socket(self) -> None:
        self.state = os.path.join(self.directory, "x" * 100)
        listener = OnionListener(
            self.reactor, self.current, self.reception, self.ssh, self.state, "/run/annexd.sock"
        )
        for wanted, words in (
            (Tor(launch="tor"), "107 bytes"),
            (Tor(control="/c"), "107 bytes"),
        ):
            self.current.config.listen = Listen(tor=wanted)
            if wanted.control:
                listener = OnionListener(
                    self.reactor, self.current, self.reception, self.ssh, self.directory, f"/{'x' * 110}"
                )
            self.assertIn(words, str(self.assertRaises(ConfigError, listener.start)))
        self.assertEqual(self.reactor.getReaders(), [])

    def test_a_key_that_is_none(self) -> None:
        os.makedirs(os.path.join(self.state, "onion"), mode=0o700)
        os.chmod(self.state, 0o700)
        with open(os.path.join(self.state, "onion", "hs_ed25519_secret_key"), "w") as file:
            os.fchmod(file.fileno(), 0o600)
        self.assertIn(
            "no key of an onion service",
            str(self.assertRaises(ConfigError, self.start, control="/c")),
        )

    def test_without_txtorcon(self) -> None:
        def missing(*_: object) -> None:
            raise ModuleNotFoundError("No module named 'txtorcon'")

        self.patch(onion_listener, "tor_for", missing)
        error = self.assertRaises(ConfigError, self.start, control="/c")
        self.assertIn("pip install 'annexd[tor]'", str(error))


def _of_user(status: os.stat_result, uid: int) -> Any:
    return SimpleNamespace(st_mode=status.st_mode, st_uid=uid)


class Imports(SynchronousTestCase):
    """A daemon needs nothing for what it is not asked to do."""

    def test_no_txtorcon(self) -> None:
        program = """
import sys
from annexd.app import assemble, cli, granting
from annexd.app.plan import Plan
from twisted.internet.testing import MemoryReactorClock
environ = {"ANNEXD_SOCKET": "/nowhere"}
made = assemble.gateway(MemoryReactorClock(), Plan(repositories=("/x",)), environ, None)
for listener in made._parts.listeners:
    listener.start()
print([name for name in ("txtorcon", "automat", "annexd.transports.tor") if name in sys.modules])
"""
        said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        self.assertEqual(said.stdout.strip(), "[]", said.stderr)
